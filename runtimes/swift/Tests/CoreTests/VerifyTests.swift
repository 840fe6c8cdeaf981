import Foundation
import Testing

@testable import SegmentAnythingCore

private let checked = Case.folder.appendingPathComponent("bundles/checked")
private let half = ["image_encoder": 1.0, "mask_decoder": 0.5]

/// Counts what happens on other threads.
private final class Counter: @unchecked Sendable {
    private let lock = NSLock()
    private var number = 0

    var count: Int { lock.withLock { number } }
    func add() { lock.withLock { number += 1 } }
}

@Suite struct VerifyTests {
    private let folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
    private var store: VerificationStore { VerificationStore(folder: folder, device: "toy", system: "1 (A)") }

    private func made(_ ways: [Placement: GainEngine.Way]) throws -> SegmentAnything {
        try SegmentAnything(bundle: checked, engine: GainEngine(ways: ways))
    }

    @Test(arguments: Case.all("parity")) func figuresAreThoseOfThePythonTwin(_ given: Case) async throws {
        let bundle = try ModelBundle(Case.folder.appendingPathComponent("bundles/\(given.fields.text("bundle"))"))
        let gains = try given.fields.object("gains")
        let names = ["image_encoder", "mask_decoder"]
        let way = GainEngine.Way(
            gains: Dictionary(uniqueKeysWithValues: try names.map { ($0, try gains.number($0)) }))
        let graphs = try await Graphs(bundle, GainEngine(ways: [.all: way]))
        let found = try await Parity.check(graphs, Goldens(bundle))
        let expected = try given.fields.objects("figures").map(Figure.init)
        #expect(found.count == expected.count)
        for wanted in expected {
            let figure = try #require(
                found.first { ($0.graph, $0.output, $0.measure) == (wanted.graph, wanted.output, wanted.measure) })
            #expect(abs(figure.value - wanted.value) <= 1e-9 * abs(wanted.value), "\(figure) \(wanted)")
            #expect(figure.floor == wanted.floor)
            #expect((figure.unit, figure.higherIsBetter) == (wanted.unit, wanted.higherIsBetter))
            #expect(figure.meetsFloor == wanted.meetsFloor)
        }
    }

    @Test func theFastestThatAgreesIsChosen() async throws {
        let engine = GainEngine(ways: [
            .all: .init(cost: 0.5), .preferGPU: .init(gains: half), .cpuOnly: .init(cost: 0.25),
        ])
        let sam = try SegmentAnything(bundle: checked, engine: engine)
        #expect(sam.placement == .all)
        let found = try await sam.verify(on: nil, again: false, store: store, clock: engine.clock.now)
        #expect(found.trials.map(\.seconds) == [1, 0, 0.5])  // of both graphs
        #expect(found.chosen == .cpuOnly)
        #expect(sam.placement == .cpuOnly)
        #expect(found.trials.map(\.placement) == [.all, .preferGPU, .cpuOnly])
        #expect(found.refused.map(\.placement) == [.preferGPU])
        guard case .differs(let figures) = found.refused[0].refusal else {
            Issue.record("\(found)")
            return
        }
        #expect(figures.map { "\($0.graph) \($0.output) \($0.measure)" } == [
            "mask_decoder iou_predictions psnr_db", "mask_decoder low_res_masks prompt_sensitivity",
            "mask_decoder low_res_masks psnr_db",
        ])
        #expect(found.refused[0].medians.isEmpty)  // a wrong answer's time is no one's business
        #expect(found.trials[0].medians.count == 2)
        #expect(found.trials[0].loads.map(\.wasKept) == [true, true])
        #expect(found.description.contains("preferGPU: refused: mask_decoder iou_predictions psnr_db 8.989 dB"))
        #expect(found.description.contains("cpuOnly (chosen): agrees"))
    }

    @Test func anEncoderThatIsWrongIsSeen() async throws {
        let gains = ["image_encoder": 0.5, "mask_decoder": 1.0]
        let found = try await made([.all: .init(gains: gains)]).verify(on: [.all], store: store)
        #expect(found.chosen == nil)
        #expect("\(found)".contains("image_encoder image_embeddings psnr_db 14.48 dB is under the floor 40 dB"))
    }

    @Test func whatFailsOrIsNotFiniteIsRefused() async throws {
        let lost = ["image_encoder": 1.0, "mask_decoder": Double.nan]
        let sam = try made([
            .all: .init(failure: "the engine\ncannot compile it"), .preferGPU: .init(gains: lost), .cpuOnly: .init(),
        ])
        let found = try await sam.verify(store: store)
        #expect(found.chosen == .cpuOnly)
        #expect(found.trials[0].refusal == .fails("the engine\\u{a}cannot compile it"))
        #expect(
            found.trials[1].refusal == .fails("4 of 4 values of mask_decoder iou_predictions are not finite"))
    }

    @Test func ifNoneAgreesNothingIsChanged() async throws {
        let ways: [Placement: GainEngine.Way] = [
            .all: .init(gains: half), .preferGPU: .init(gains: half), .cpuOnly: .init(gains: half),
        ]
        let sam = try made(ways)
        let found = try await sam.verify(store: store)
        #expect(found.chosen == nil)
        #expect(sam.placement == .all)
        let engine = GainEngine(ways: ways)
        #expect(throws: SegmentAnythingError.self) {
            try SegmentAnything(bundles: [checked], engines: [engine], store: store)
        }
        // Another system may compute otherwise.
        let other = VerificationStore(folder: folder, device: "toy", system: "2 (B)")
        #expect(try SegmentAnything(bundles: [checked], engines: [engine], store: other).placement == .all)
    }

    @Test func whatWasFoundIsRemembered() async throws {
        let opened = Counter()
        let ways: [Placement: GainEngine.Way] = [
            .all: .init(gains: half, opened: opened.add), .preferGPU: .init(opened: opened.add),
            .cpuOnly: .init(cost: 1, opened: opened.add),
        ]
        let engine = GainEngine(ways: ways)
        let first = try await SegmentAnything(bundle: checked, engine: engine)
            .verify(on: nil, again: false, store: store, clock: engine.clock.now)
        #expect((first.chosen, first.isRemembered) == (.preferGPU, false))
        #expect(opened.count == 6)
        let later = try made(ways)
        let second = try await later.verify(store: store)
        #expect((second.chosen, second.isRemembered, opened.count) == (.preferGPU, true, 6))
        #expect(second.trials == first.trials)
        #expect(later.placement == .preferGPU)
        let next = try SegmentAnything(bundle: checked, engines: [GainEngine(ways: ways)], store: store)
        #expect(next.placement == .preferGPU)
        for other in [("toy", "1 (B)"), ("other", "1 (A)")] {
            let elsewhere = VerificationStore(folder: folder, device: other.0, system: other.1)
            #expect(elsewhere.verification(of: later.bundle.manifest) == nil)
        }
        _ = try await later.verify(again: true, store: store)
        #expect(opened.count == 12)
    }

    /// What lies on the disk while a placement is tried is what a crash leaves.
    @Test func aPlacementThatEndsTheAppIsNotTriedForEver() async throws {
        let tries = Counter(), others = Counter(), place = folder
        func crash(_ from: URL, _ left: URL) async throws {
            let crashing: @Sendable () -> Void = {
                tries.add()
                try? FileManager.default.copyItem(at: from, to: left)
            }
            let sam = try made([.all: .init(opened: others.add), .preferGPU: .init(opened: crashing)])
            _ = try await sam.verify(
                on: [.all, .preferGPU], store: VerificationStore(folder: from, device: "toy", system: "1"))
        }
        let (one, two) = (place.appendingPathComponent("1"), place.appendingPathComponent("2"))
        try await crash(place.appendingPathComponent("0"), one)
        #expect((tries.count, others.count) == (2, 2))  // two graphs each
        try await crash(one, two)
        #expect((tries.count, others.count) == (4, 2))  // goes on where it was
        let sam = try made([.all: .init(opened: others.add), .preferGPU: .init(opened: tries.add)])
        let left = VerificationStore(folder: two, device: "toy", system: "1")
        let found = try await sam.verify(on: [.all, .preferGPU], store: left)
        #expect((tries.count, others.count) == (4, 2))
        #expect(found.chosen == .all)
        #expect(found.refused.map(\.refusal) == [.ended(times: 2)])
    }

    @Test(.timeLimit(.minutes(1))) func aCancelledCheckIsTakenUpLater() async throws {
        let opened = Counter()
        let ways: [Placement: GainEngine.Way] = [
            .all: .init(opened: opened.add), .preferGPU: .init(delay: .seconds(600)), .cpuOnly: .init(),
        ]
        let (store, sam) = (store, try made(ways))
        let checking = Task { try await sam.verify(store: store) }
        while store.record(of: sam.bundle.manifest)?.trying != .preferGPU {
            try await Task.sleep(for: .milliseconds(5))
        }
        checking.cancel()
        await #expect(throws: CancellationError.self) { try await checking.value }
        #expect(store.verification(of: sam.bundle.manifest) == nil)
        #expect(store.record(of: sam.bundle.manifest)?.trying == nil)  // no crash
        let found = try await sam.verify(on: [.all, .cpuOnly], store: store)
        #expect((found.trials.count, opened.count) == (2, 2))
    }

    @Test func fewThatAreRefusedSayNothingOfTheOthers() async throws {
        let opened = Counter()
        let ways: [Placement: GainEngine.Way] = [
            .all: .init(gains: half), .preferGPU: .init(cost: 0.5, opened: opened.add), .cpuOnly: .init(cost: 1),
        ]
        let (store, sam) = (store, try made(ways))
        #expect(try await sam.verify(on: [.all], store: store).chosen == nil)
        #expect(store.verification(of: sam.bundle.manifest) == nil)
        #expect(try await sam.verify(on: [.cpuOnly], store: store).chosen == .cpuOnly)
        #expect(store.verification(of: sam.bundle.manifest)?.chosen == .cpuOnly)
        #expect(try await sam.verify(store: store).trials.map(\.placement) == [.all, .cpuOnly, .preferGPU])
        let again = try await sam.verify(on: [.cpuOnly], store: store)
        #expect((again.isRemembered, again.trials.count, opened.count) == (true, 1, 2))
        #expect(sam.placement == .cpuOnly)
    }

    @Test func clicksAfterwardsAreOnTheChosenPlacement() async throws {
        let sam = try made([.all: .init(gains: half), .preferGPU: .init(gains: half), .cpuOnly: .init()])
        try await sam.setImage(Picture(width: 4, height: 4, rgb: [UInt8](repeating: 9, count: 48)))
        try await sam.verify(store: store)
        await #expect(throws: SegmentAnythingError.request("no image: call setImage before predict")) {
            try await sam.predict(points: [CGPoint(x: 1, y: 1)], labels: [1])
        }
        #expect(try await sam.load().map(\.graph) == ["image_encoder", "mask_decoder"])
    }

    @Test func theBestBundleIsTaken() throws {
        let good = Case.folder.appendingPathComponent("bundles/good")
        let other = Case.folder.appendingPathComponent("bundles/other_target")  // of tflite
        func taken(_ urls: [URL], _ engines: [any Engine]) throws -> String {
            try SegmentAnything(bundles: urls, engines: engines, store: store).bundle.url.lastPathComponent
        }
        let (onnx, tflite) = (StandingEngine(target: "onnx"), StandingEngine(target: "tflite"))
        #expect(try taken([good, other], [tflite, onnx]) == "other_target")
        #expect(try taken([good, other], [onnx, tflite]) == "good")
        #expect(try taken([other, good], [onnx]) == "good")
        #expect(throws: SegmentAnythingError.request("this system runs onnx bundles, not tflite")) {
            try taken([other], [onnx])
        }
        #expect(throws: SegmentAnythingError.request("this system runs onnx bundles, not none")) {
            try taken([], [onnx])
        }
    }

    @Test func aWrongRequestIsRefused() async throws {
        let sam = try made([.all: .init()])
        await #expect(throws: SegmentAnythingError.request(
            "onnx has no placement 'preferGPU'; choose from all, preferGPU, cpuOnly")
        ) { try await sam.verify(on: [.preferGPU], store: store) }
        let good = try SegmentAnything(
            bundle: Case.folder.appendingPathComponent("bundles/good"), engine: StandingEngine(target: "onnx"))
        await #expect(throws: SegmentAnythingError.bundle(
            "the manifest has no floors to verify against: export it again")
        ) { try await good.verify(store: store) }
    }
}
