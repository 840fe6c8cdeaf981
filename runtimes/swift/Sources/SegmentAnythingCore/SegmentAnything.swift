import Foundation

/// A bundle as an app uses it: an image once, then prompts.
///
/// Safe to use from any thread. An image is encoded once and clicked many times; a click while an image is
/// being encoded waits for it, and a new image cancels the one before.
public final class SegmentAnything: @unchecked Sendable {
    public let bundle: Bundle
    private let engine: any Engine
    private let encoder = DispatchQueue(label: "SegmentAnything.encoder", qos: .userInitiated)
    private let running = NSLock()  // the graphs run one at a time
    private let changed = NSCondition()  // guards what follows
    private var scene: Scene?
    private var graphs: Graphs?
    private var turn = 0
    private var pending = 0

    /// Reads and verifies a bundle; its graphs are loaded by the first `setImage`, or by `load`.
    ///
    /// - Throws: `SegmentAnythingError.bundle` if the bundle is not as it was exported, `.request` if it is
    ///   for another engine.
    public init(bundle url: URL, engine: any Engine, verify: Bool = true) throws {
        bundle = try Bundle(url, verify: verify)
        guard bundle.manifest.target == engine.target else {
            throw SegmentAnythingError.request(
                "this engine runs \(engine.target) bundles, not \(printable(bundle.manifest.target)): "
                    + "export with --target \(engine.target)")
        }
        self.engine = engine
    }

    /// Loads the graphs ahead of the first image.
    public func load() async throws { _ = try await loaded() }

    /// Takes an image; every later prompt is on it.
    ///
    /// - Throws: `CancellationError` if a later image replaced it, or its task was cancelled;
    ///   `SegmentAnythingError.bundle` if a graph cannot be loaded or run.
    public func setImage(_ picture: Picture) async throws {
        let turn = begin()
        let graphs = try await loaded()
        try await withTaskCancellationHandler {
            try await encode(picture, graphs, turn)
        } onCancel: {
            cancel(turn)
        }
    }

    /// Predicts the masks of one prompt set on the image that was set; waits while one is being encoded.
    ///
    /// - Parameters:
    ///   - points: in pixels of the image. A pixel outside is taken to the edge.
    ///   - labels: 1 foreground, 0 background, one for each point.
    ///   - box: in pixels of the image; cut to it.
    ///   - mask: an earlier mask's `lowResMasks`.
    ///   - multimask: every candidate in token order, instead of one.
    /// - Throws: `SegmentAnythingError.request` if no image was set, or the graphs are still being loaded;
    ///   `.prompt` if the bundle cannot take these prompts.
    public func predict(
        points: [CGPoint] = [], labels: [Int] = [], box: CGRect? = nil, mask: Tensor? = nil,
        multimask: Bool = false
    ) throws -> [Mask] {
        let corners = box.map { box in
            let (x, y) = (Double(box.origin.x), Double(box.origin.y))
            return Prompts.Box(
                x0: x, y0: y, x1: x + Double(box.size.width), y1: y + Double(box.size.height))
        }
        return try predict(
            Prompts(points: points, labels: labels, box: corners), mask: mask, multimask: multimask)
    }

    /// Does as the other `predict`, for prompts that are already a `Prompts`.
    public func predict(
        _ prompts: Prompts, mask: Tensor? = nil, multimask: Bool = false
    ) throws -> [Mask] {
        let (scene, graphs) = try current()
        return try running.withLock {
            try graphs.decode(scene, prompts, mask, multimask: multimask)
        }
    }

    /// Size of the image that was set, nil before.
    public var imageSize: Size? { changed.withLock { scene?.frame.original } }

    /// Images that were begun.
    var turns: Int { changed.withLock { turn } }

    private func loaded() async throws -> Graphs {
        if let graphs = changed.withLock({ graphs }) { return graphs }
        let made = try await Graphs(bundle, engine)
        return changed.withLock {
            // Two first images at once load twice, and share what came first.
            graphs = graphs ?? made
            return graphs ?? made
        }
    }

    private func begin() -> Int {
        changed.withLock {
            turn += 1
            scene = nil
            return turn
        }
    }

    /// Encodes on a thread of its own, which also hands over the scene: clicks that wait may hold every
    /// thread of the tasks' pool.
    private func encode(_ picture: Picture, _ graphs: Graphs, _ turn: Int) async throws {
        try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
            changed.withLock { pending += 1 }
            encoder.async { [self] in
                let made = Result {
                    guard changed.withLock({ self.turn == turn }) else { throw CancellationError() }
                    return try running.withLock { try graphs.encode(picture) }
                }
                continuation.resume(with: Result { try finish(turn, made) })
            }
        }
    }

    private func finish(_ turn: Int, _ made: Result<Scene, any Error>) throws {
        try changed.withLock {
            pending -= 1
            defer { changed.broadcast() }
            let made = try made.get()
            guard self.turn == turn else { throw CancellationError() }
            scene = made
        }
    }

    /// The image's task was cancelled: whatever comes of it is not taken.
    private func cancel(_ turn: Int) {
        changed.withLock { if self.turn == turn { self.turn += 1 } }
    }

    private func current() throws -> (Scene, Graphs) {
        try changed.withLock {
            while scene == nil && pending > 0 { changed.wait() }
            if let scene, let graphs { return (scene, graphs) }
            let loading = turn > 0 && graphs == nil
            throw SegmentAnythingError.request(
                loading
                    ? "the graphs are being loaded: await setImage before predict"
                    : "no image: call setImage before predict")
        }
    }
}
