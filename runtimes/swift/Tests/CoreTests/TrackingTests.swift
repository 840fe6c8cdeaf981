import Foundation
import Testing

@testable import SegmentAnythingCore

private let vectors = TrackingVectors()

@Suite struct TrackingTests {
    @Test func thereAreCases() {
        #expect(vectors.cases.count >= 15)
    }

    @Test(arguments: vectors.cases)
    func tracking(_ given: Case) async throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
        defer { try? FileManager.default.removeItem(at: folder) }
        let engine = StandInEngine(
            salt: UInt32(try given.fields.whole("salt", 0...1 << 30)), broken: try given.fields.text("broken"))
        let tracker = try vectors.tracker(given, engine, in: folder)
        let size = try vectors.size(try given.fields.text("network"))
        for step in try given.fields.objects("steps") {
            let says = step.has("says") ? try step.text("says") : ""
            do {
                let found = try await take(tracker, step, size).map(told).joined(separator: "; ")
                #expect(found == (step.has("found") ? try step.text("found") : ""), "\(step.place)")
                #expect(says == "", "\(step.place)")
            } catch let error as SegmentAnythingError {
                #expect(kind(error) == (step.has("error") ? try step.text("error") : ""), "\(step.place): \(error)")
                #expect(error.message.contains(says) && says != "", "\(step.place): \(error)")
            }
            #expect(engine.log.taken() == (step.has("calls") ? try step.text("calls") : ""), "\(step.place)")
        }
    }

    @Test func aBankDoesNotGrowWithTheVideo() throws {
        let rule = try videoRule(#""memory_frames":6,"pointer_frames":15"#)
        for turns in [false, true] {
            var bank = Bank(rule, turns: turns)
            for frame in 0..<2000 {
                bank.keep(frame, memory: [1], pointer: [1], prompted: frame % 100 == 0)
                #expect(bank.frames.count <= (turns ? 40 : 20) + 7)
            }
        }
    }

    @Test(arguments: [
        (0, 0), (1, 0x3c00), (-2, 0xc000), (65_504, 0x7bff), (65_520, 0x7c00), (1e9, 0x7c00), (-.infinity, 0xfc00),
        (1 + 1 / 2048, 0x3c00), (1 + 3 / 2048, 0x3c02), (6e-8, 1), (2.9e-8, 0), (6.1035156e-5, 0x400),
        (6.097555e-5, 0x3ff), (1.00049, 0x3c01),
    ] as [(Float, UInt16)])
    func halvesAreRoundedAsNumpyDoes(_ value: Float, _ bits: UInt16) {
        #expect(halfBits(value) == bits)
    }

    @Test func everyHalfComesBack() {
        for bits in UInt16.min...UInt16.max where !half(bits).isNaN { #expect(halfBits(half(bits)) == bits) }
    }

    @Test func eachKindOfBundleIsRefusedByTheOther() throws {
        let good = Case.folder.appendingPathComponent("bundles/good"), engine = StandInEngine(salt: 1)
        let error = try #require(throws: SegmentAnythingError.self) { try Tracker(bundle: good, engine: engine) }
        #expect(error.message.contains("has no memory of earlier frames: open it with SegmentAnything"))
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
        defer { try? FileManager.default.removeItem(at: folder) }
        _ = try vectors.tracker(vectors.cases[0], engine, in: folder)
        let other = try #require(throws: SegmentAnythingError.self) {
            try SegmentAnything(bundle: folder, engine: engine)
        }
        #expect(other.message.hasSuffix("follows objects through a video: open it with Tracker(bundle:engine:)"))
    }

    /// Calls that come at once are taken one by one; none is lost and none sees half a frame.
    @Test(.timeLimit(.minutes(1))) func manyTasksMayCall() async throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
        defer { try? FileManager.default.removeItem(at: folder) }
        let tracker = try vectors.tracker(vectors.cases[0], StandInEngine(salt: 1), in: folder)
        try await tracker.start(try .standIn(0, Size(width: 16, height: 12)))
        try await withThrowingTaskGroup(of: Void.self) { group in
            for name in ["a", "b", "c"] {
                group.addTask { try await tracker.addObject(name, vectors.prompt("click")) }
            }
            try await group.waitForAll()
        }
        #expect(Set(tracker.objects) == ["a", "b", "c"])
        let numbers = try await withThrowingTaskGroup(of: [Int].self) { group in
            for _ in 0..<8 {
                group.addTask {
                    try await tracker.track(.standIn(1, Size(width: 16, height: 12))).map(\.frame)
                }
            }
            return try await group.reduce(into: [Int]()) { $0 += $1 }
        }
        #expect(numbers.sorted() == (1...8).flatMap { [$0, $0, $0] })
        #expect(tracker.frame == 8)
    }
}

/// Takes a step of a case; gives what was found.
private func take(_ tracker: Tracker, _ step: Fields, _ size: Size) async throws -> [Tracked] {
    let name = step.has("name") ? try step.text("name") : ""
    let frame = step.has("frame") ? try step.whole("frame", 0...999) : 0
    switch try step.text("do") {
    case "start":
        let frames = step.has("frames") ? try step.whole("frames", 0...999) : nil
        try await tracker.start(try .standIn(frame, size), number: frame, frames: frames)
        return []
    case "add": return [try await tracker.addObject(name, vectors.prompt(try step.text("prompt")))]
    case "correct": return [try await tracker.correct(name, vectors.prompts(try step.text("prompt")))]
    case "remove":
        try await tracker.remove(name)
        return []
    case "reset":
        await tracker.reset()
        return []
    default:
        let sides = step.has("size") ? try step.wholes("size", 1...999) : [size.width, size.height]
        let picture = try Picture.standIn(frame, Size(width: sides[0], height: sides[1]))
        let only = try step.has("objects") ? step.list("objects").compactMap { $0.asText } : nil
        let prompts = try step.has("prompts") ? step.texts("prompts").mapValues(vectors.prompt) : [:]
        return try await tracker.track(picture, number: frame, prompts: prompts, objects: only)
    }
}

/// Writes what was found as the golden vectors do.
private func told(_ found: Tracked) -> String {
    func signed(_ value: Float) -> Int32 { Int32(bitPattern: whole(value)) }
    let low = String(format: "%08x", digest(found.lowResMask.values.map(whole)))
    let there = found.present ? "present" : "absent", how = found.prompted ? "prompted" : "tracked"
    let numbers = "\(signed(found.score)) \(signed(found.iouPrediction)) \(low) \(found.mask().area)"
    return "\(found.name) \(there) \(how) \(numbers)"
}

extension JSON {
    fileprivate var asText: String? { if case .text(let text) = self { text } else { nil } }
}

private func videoRule(_ changes: String) throws -> VideoRule {
    let text = #"{"memory_slots":7,"pointer_slots":16,"prompted_slots":1,"pointer_scale":15,"memory_tokens":1,"#
        + #""memory_width":1,"pointer_width":1,"grid":2,"published_memory_slots":7,"published_pointer_slots":16,"#
        + changes + "}"
    return try VideoRule(Fields(JSON.parse(Data(text.utf8)), at: "video"))
}
