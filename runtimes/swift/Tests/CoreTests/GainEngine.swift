import Foundation
import Testing

@testable import SegmentAnythingCore

/// A device as the golden vectors make it up: graphs answer with the goldens, times their gain.
struct GainEngine: Engine {
    /// What happens on a placement.
    struct Way: Sendable {
        var gains = ["image_encoder": 1.0, "mask_decoder": 1.0]
        /// Seconds of the engine's clock that a call takes.
        var cost = 0.0
        /// How long a call really takes.
        var delay: Duration = .zero
        var failure: String?
        /// Called when a graph is opened.
        var opened: @Sendable () -> Void = {}
    }

    var target = "onnx"
    var placement = Placement.all
    var ways: [Placement: Way]
    var placements: [Placement] = [.all, .preferGPU, .cpuOnly]
    var clock = ToyClock()

    func placed(on placement: Placement) throws -> any Engine {
        guard ways[placement] != nil else {
            throw SegmentAnythingError.unknown(placement, of: target, choose: placements)
        }
        var moved = self
        moved.placement = placement
        return moved
    }

    func open(_ graph: GraphFile, at url: URL, of manifest: Manifest) async throws -> any LoadedGraph {
        let way = ways[placement] ?? Way()
        way.opened()
        if let failure = way.failure { throw SegmentAnythingError.bundle(failure) }
        let bundle = try ModelBundle(url.deletingLastPathComponent(), verify: false)
        return GainGraph(graph: graph, goldens: try Goldens(bundle), way: way, clock: clock)
    }
}

/// Goes on when it is told to.
final class ToyClock: @unchecked Sendable {
    private let lock = NSLock()
    private var seconds = 0.0

    @Sendable func now() -> Double { lock.withLock { seconds } }
    func pass(_ more: Double) { lock.withLock { seconds += more } }
}

private struct GainGraph: LoadedGraph {
    let graph: GraphFile
    let goldens: Goldens
    let way: GainEngine.Way
    let clock: ToyClock
    let wasKept: Bool? = true

    func run(_ inputs: [String: Value]) async throws -> [String: Value] {
        try await Task.sleep(for: way.delay)
        clock.pass(way.cost)
        let inputs = try inputs.mapValues { try $0.tensor() }
        let asked = inputs["point_coords"]
        let name = try #require(
            try goldens.cases(graph).first { try asked == nil || goldens.array(graph, $0, "point_coords") == asked })
        var gain = Float(try #require(way.gains[graph.name]))
        if let given = inputs["image_embeddings"] {
            let stored = try goldens.array(graph, name, "image_embeddings")
            gain *= given.values[0] / stored.values[0]
        }
        var outputs: [String: Value] = [:]
        for spec in graph.outputs {
            let stored = try goldens.array(graph, name, spec.name)
            outputs[spec.name] = .floats(Tensor(shape: stored.shape, values: stored.values.map { $0 * gain }))
        }
        return outputs
    }
}
