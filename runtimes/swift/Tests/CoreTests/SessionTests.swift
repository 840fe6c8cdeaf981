import Foundation
import Testing

@testable import SegmentAnythingCore

/// Answers at once, or when it is told to: the encoder gives the picture's first number, and the decoder
/// draws it everywhere.
struct StandingEngine: Engine {
    let target: String
    var gate: Gate?

    func open(_ graph: GraphFile, at url: URL, of manifest: Manifest) async throws -> any LoadedGraph {
        StandingGraph(graph: graph, gate: graph.name == "image_encoder" ? gate : nil)
    }
}

struct StandingGraph: LoadedGraph {
    let graph: GraphFile
    let gate: Gate?

    func run(_ inputs: [String: Value]) async throws -> [String: Value] {
        await gate?.pass()
        #expect(Set(inputs.keys) == Set(graph.inputs.map(\.name)))
        let seen = try (inputs["image"] ?? inputs["image_embeddings"])?.tensor().values[0] ?? 0
        let earlier = try inputs["mask_input"]?.tensor().values[0] ?? 0
        return Dictionary(
            uniqueKeysWithValues: graph.outputs.map { spec in
                (spec.name, .floats(Tensor(shape: spec.shape, filledWith: seen + earlier)))
            })
    }
}

/// Holds an encoder until it is opened, cancelled or not, and counts who came. It holds no thread.
final class Gate: @unchecked Sendable {
    private let lock = NSLock()
    private var opened = false
    private var came = 0

    func pass() async {
        lock.withLock { came += 1 }
        await Task.detached { [self] in
            while !lock.withLock({ opened }) { try? await Task.sleep(for: .milliseconds(2)) }
        }.value
    }

    func open() { lock.withLock { opened = true } }

    func waitForSomeone() async throws {
        while count == 0 { try await Task.sleep(for: .milliseconds(2)) }
    }

    var count: Int { lock.withLock { came } }
}

private let good = Case.folder.appendingPathComponent("bundles/good")
private let click = Prompts(points: [CGPoint(x: 1, y: 1)], labels: [1])

private func picture(_ level: UInt8, width: Int = 4, height: Int = 3) throws -> Picture {
    try Picture(
        width: width, height: height, rgb: [UInt8](repeating: level, count: width * height * 3))
}

@Suite struct SessionTests {
    @Test func aClickBeforeAnImageIsRefused() async throws {
        let sam = try SegmentAnything(bundle: good, engine: StandingEngine(target: "onnx"))
        await #expect(throws: SegmentAnythingError.request("no image: call setImage before predict")) {
            try await sam.predict(click)
        }
    }

    @Test func manyClicksOnOneImage() async throws {
        let gate = Gate()
        gate.open()
        let sam = try SegmentAnything(bundle: good, engine: StandingEngine(target: "onnx", gate: gate))
        try await sam.setImage(picture(9))
        for _ in 0..<3 {
            let masks = try await sam.predict(points: [CGPoint(x: 1, y: 1)], labels: [1])
            #expect(masks.count == 1)
            #expect(masks[0].pixels == [UInt8](repeating: 1, count: 12))
            #expect(masks[0].iouPrediction == 9)
        }
        #expect(try await sam.predict(box: CGRect(x: 0, y: 0, width: 2, height: 2), multimask: true).count == 3)
        #expect(gate.count == 1)
        #expect(sam.imageSize == Size(width: 4, height: 3))
    }

    @Test func anEarlierMaskGoesBackIn() async throws {
        let sam = try SegmentAnything(bundle: good, engine: StandingEngine(target: "onnx"))
        try await sam.setImage(picture(9))
        let first = try #require(try await sam.predict(click)[0].lowResMasks)
        #expect(try await sam.predict(click, mask: first)[0].iouPrediction == 18)
        await #expect(throws: SegmentAnythingError.self) {
            try await sam.predict(click, mask: Tensor(shape: [2, 2], filledWith: 0))
        }
        let side = first.shape[1]
        await #expect(throws: SegmentAnythingError.prompt("mask_input holds values that are not finite")) {
            try await sam.predict(click, mask: Tensor(shape: [side, side], filledWith: .nan))
        }
    }

    @Test(.timeLimit(.minutes(1))) func aClickWaitsForTheEncoder() async throws {
        let gate = Gate()
        let sam = try SegmentAnything(bundle: good, engine: StandingEngine(target: "onnx", gate: gate))
        let setting = Task { try await sam.setImage(picture(7)) }
        let clicking = Task.detached {
            try await gate.waitForSomeone()
            return try await sam.predict(click)
        }
        try await gate.waitForSomeone()
        gate.open()
        try await setting.value
        #expect(try await clicking.value[0].iouPrediction == 7)
    }

    /// More clicks wait than the pool of tasks has threads; the image has to come all the same.
    @Test(.timeLimit(.minutes(1))) func manyWaitingClicksHoldNothingUp() async throws {
        let gate = Gate()
        let sam = try SegmentAnything(bundle: good, engine: StandingEngine(target: "onnx", gate: gate))
        try await sam.load()
        let setting = Task { try await sam.setImage(picture(6)) }
        try await gate.waitForSomeone()
        let clicks = (0..<64).map { _ in Task.detached { try await sam.predict(click)[0].iouPrediction } }
        try await Task.sleep(for: .milliseconds(100))
        gate.open()
        for each in clicks { #expect(try await each.value == 6) }
        try await setting.value
    }

    @Test(.timeLimit(.minutes(1))) func aNewImageCancelsTheOldOne() async throws {
        let gate = Gate()
        let sam = try SegmentAnything(bundle: good, engine: StandingEngine(target: "onnx", gate: gate))
        let old = Task { try await sam.setImage(picture(7)) }
        try await gate.waitForSomeone()
        let new = Task { try await sam.setImage(picture(8)) }
        while sam.turns < 2 { try await Task.sleep(for: .milliseconds(5)) }
        gate.open()
        await #expect(throws: CancellationError.self) { try await old.value }
        try await new.value
        #expect(try await sam.predict(click)[0].iouPrediction == 8)
    }

    @Test(.timeLimit(.minutes(1))) func aCancelledImageIsNotTaken() async throws {
        let gate = Gate()
        let sam = try SegmentAnything(bundle: good, engine: StandingEngine(target: "onnx", gate: gate))
        let setting = Task { try await sam.setImage(picture(7)) }
        try await gate.waitForSomeone()
        setting.cancel()
        gate.open()
        await #expect(throws: CancellationError.self) { try await setting.value }
        await #expect(throws: SegmentAnythingError.self) { try await sam.predict(click) }
    }

    @Test(.timeLimit(.minutes(1))) func aClickWaitsForAnImageThatIsBeingDecoded() async throws {
        let sam = try SegmentAnything(bundle: good, engine: StandingEngine(target: "onnx"))
        try await sam.setImage(picture(5))
        let decoded = DispatchSemaphore(value: 0)
        let setting = Task {
            try await sam.setImage {
                decoded.wait()
                return try picture(7)
            }
        }
        while sam.turns < 2 { try await Task.sleep(for: .milliseconds(2)) }
        let clicking = Task { try await sam.predict(click)[0].iouPrediction }
        try await Task.sleep(for: .milliseconds(20))
        decoded.signal()
        #expect(try await clicking.value == 7)
        try await setting.value
    }

    @Test(.timeLimit(.minutes(1))) func aReplacedImageIsNotDecoded() async throws {
        let gate = Gate()
        let sam = try SegmentAnything(bundle: good, engine: StandingEngine(target: "onnx", gate: gate))
        let first = Task { try await sam.setImage(picture(1)) }
        try await gate.waitForSomeone()
        let second = Task {
            try await sam.setImage {
                Issue.record("it was decoded")
                return try picture(2)
            }
        }
        while sam.turns < 2 { try await Task.sleep(for: .milliseconds(2)) }
        let third = Task { try await sam.setImage { try picture(3) } }
        while sam.turns < 3 { try await Task.sleep(for: .milliseconds(2)) }
        gate.open()
        for old in [first, second] { await #expect(throws: CancellationError.self) { try await old.value } }
        try await third.value
        #expect(try await sam.predict(click)[0].iouPrediction == 3)
    }

    @Test func anImageThatCannotBeDecodedIsNoImage() async throws {
        let sam = try SegmentAnything(bundle: good, engine: StandingEngine(target: "onnx"))
        try await sam.setImage(picture(5))
        await #expect(throws: SegmentAnythingError.image("torn")) {
            try await sam.setImage { throw SegmentAnythingError.image("torn") }
        }
        await #expect(throws: SegmentAnythingError.request("no image: call setImage before predict")) {
            try await sam.predict(click)
        }
    }

    @Test func aManifestThatIsTooLargeIsNone() throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
        defer { try? FileManager.default.removeItem(at: folder) }
        try FileManager.default.copyItem(at: good, to: folder)
        let manifest = folder.appendingPathComponent("manifest.json")
        try (Data(contentsOf: manifest) + Data(repeating: 0x20, count: 4 << 20)).write(to: manifest)
        let error = try #require(throws: SegmentAnythingError.self) { try ModelBundle(folder) }
        #expect(error.message.hasSuffix("manifest.json has more than 4 MB: it is no manifest"))
        try Data().write(to: manifest)
        #expect(throws: SegmentAnythingError.bundle("manifest.json is not JSON: copy the bundle again")) {
            try ModelBundle(folder)
        }
    }

    @Test(.timeLimit(.minutes(1))) func clicksFromManyThreadsAgree() async throws {
        let sam = try SegmentAnything(bundle: good, engine: StandingEngine(target: "onnx"))
        try await sam.setImage(picture(5))
        let scores = try await withThrowingTaskGroup(of: Float.self) { group in
            for _ in 0..<32 { group.addTask { try await sam.predict(click)[0].iouPrediction } }
            return try await group.reduce(into: Set<Float>()) { $0.insert($1) }
        }
        #expect(scores == [5])
    }
}

@Suite struct HashTests {
    @Test(arguments: [
        ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (
            "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
        ),
    ])
    func publishedExamples(_ text: String, _ hash: String) {
        #expect(sha256(Data(text.utf8)) == hash)
    }

    @Test func aMillionLettersInUnevenParts() {
        var hash = Sha256()
        var left = 1_000_000
        for size in (1...2000).map({ min($0, 1000) }) where left > 0 {
            hash.update(Data(repeating: 0x61, count: min(size, left)))
            left -= min(size, left)
        }
        #expect(hash.finish() == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0")
    }
}
