import Foundation

/// A bundle as an app uses it: an image once, then prompts.
///
/// Safe to use from any task. An image is encoded once and clicked many times; a click while an image is
/// being encoded waits for it, and a new image cancels the one before. Nothing runs on the main thread.
public final class SegmentAnything: @unchecked Sendable {
    public let bundle: ModelBundle
    let line = Turnstile()  // the graphs are loaded and run by one caller at a time
    private let state = NSLock()  // guards what follows
    private var engine: any Engine
    private var graphs: Graphs?
    private var scene: Scene?
    private var turn = 0
    private var pending = 0

    /// Reads and verifies a bundle; its graphs are loaded by the first `setImage`, or by `load`. Its files are
    /// hashed on the thread that calls this: not the main one for a large bundle.
    ///
    /// - Throws: `SegmentAnythingError.bundle` if the bundle is not as it was exported, `.request` if it is
    ///   for another engine, or follows objects through a video.
    public convenience init(bundle url: URL, engine: any Engine, verify: Bool = true) throws {
        let bundle = try ModelBundle(url, verify: verify)
        guard bundle.manifest.video == nil else {
            throw SegmentAnythingError.request(
                "\(printable(url.path)) follows objects through a video: open it with Tracker(bundle:engine:)")
        }
        try self.init(bundle, engine)
    }

    init(_ bundle: ModelBundle, _ engine: any Engine) throws {
        guard bundle.manifest.target == engine.target else {
            throw SegmentAnythingError.request(
                "this engine runs \(engine.target) bundles, not \(printable(bundle.manifest.target)): "
                    + "export with --target \(engine.target)")
        }
        (self.bundle, self.engine) = (bundle, engine)
    }

    /// Where the graphs run.
    public var placement: Placement { current.placement }

    /// Loads the graphs ahead of the first image.
    ///
    /// - Returns: how long each took: the first load on a device makes its form for it, later ones find it.
    @discardableResult
    public func load() async throws -> [Load] { try await line.pass { try await loaded().loads } }

    /// Takes an image; every later prompt is on it.
    ///
    /// - Throws: `CancellationError` if a later image replaced it, or its task was cancelled;
    ///   `SegmentAnythingError.bundle` if a graph cannot be loaded or run.
    public func setImage(_ picture: Picture) async throws { try await setImage { picture } }

    /// Does as the other `setImage`, for a picture that takes time to decode: it is waited for, and replaces
    /// the one before, from the call on and not from when it is decoded.
    ///
    /// - Parameter decode: is not called for an image that was replaced meanwhile.
    public func setImage(_ decode: () throws -> Picture) async throws {
        let turn = begin()
        try await withTaskCancellationHandler {
            try await line.pass {
                defer { state.withLock { pending -= 1 } }
                try demand(turn)
                let made = try await loaded().encode(decode())
                try demand(turn) { scene = made }
            }
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
    /// - Throws: `SegmentAnythingError.request` if no image was set; `.prompt` if the bundle cannot take
    ///   these prompts; `CancellationError` if its task was cancelled while it waited.
    public func predict(
        points: [CGPoint] = [], labels: [Int] = [], box: CGRect? = nil, mask: Tensor? = nil,
        multimask: Bool = false
    ) async throws -> [Mask] {
        try await predict(
            Prompts(points: points, labels: labels, rectangle: box), mask: mask, multimask: multimask)
    }

    /// Does as the other `predict`, for prompts that are already a `Prompts`.
    public func predict(
        _ prompts: Prompts, mask: Tensor? = nil, multimask: Bool = false
    ) async throws -> [Mask] {
        while true {
            try Task.checkCancellation()
            let masks = try await line.pass { () async throws -> [Mask]? in
                // An image that was begun meanwhile comes first.
                guard let scene = try seen() else { return nil }
                return try await loaded().decode(scene, prompts, mask, multimask: multimask)
            }
            if let masks { return masks }
        }
    }

    /// Finds everything in a picture: many calls of the decoder, seconds on a phone, and a run of the encoder for the
    /// picture and each crop. The image that was set stays, and clicks on it are answered in between.
    ///
    /// One mask at a time is at the picture's size; what waits to be chosen takes 64 MB at most, beyond that a
    /// temporary file.
    ///
    /// - Parameters:
    ///   - method: with its options.
    ///   - keepPartial: whether what was found is returned when the task is cancelled, as a result that is
    ///     `partial`; otherwise `CancellationError` is thrown.
    ///   - progress: called after each call of the decoder, not on the main thread.
    /// - Throws: `SegmentAnythingError.request` if the bundle cannot be asked this way, or an option cannot be;
    ///   `CancellationError` at the next call after its task was cancelled, if nothing is kept: before a detector
    ///   has found the boxes there is nothing.
    public func everything(
        in picture: Picture, method: EverythingMethod = .grid(), keepPartial: Bool = false,
        progress: @escaping @Sendable (EverythingProgress) -> Void = { _ in }
    ) async throws -> Everything {
        try await findEverything(
            try BundlePredictor(self), picture, method, keepPartial: keepPartial, progress)
    }

    /// Runs something on the loaded graphs, when nobody else does.
    func withGraphs<T>(_ work: (Graphs) async throws -> T) async throws -> T {
        try await line.pass {
            try Task.checkCancellation()
            return try await work(try await loaded())
        }
    }

    /// Size of the image that was set, nil before.
    public var imageSize: Size? { state.withLock { scene?.frame.original } }

    /// Images that were begun.
    var turns: Int { state.withLock { turn } }

    var current: any Engine { state.withLock { engine } }

    /// Loads the graphs once; for who is alone in `line`.
    private func loaded() async throws -> Graphs {
        if let kept = state.withLock({ graphs }) { return kept }
        let made = try await Graphs(bundle, current)
        state.withLock { self.graphs = made }
        return made
    }

    /// Lets go of the loaded graphs; for who is alone in `line`.
    func unload() { state.withLock { graphs = nil } }

    /// Computes elsewhere from here on; the image has to be set again. For who is alone in `line`.
    func move(to engine: any Engine) {
        state.withLock {
            guard engine.placement != self.engine.placement else { return }
            (self.engine, graphs, scene) = (engine, nil, nil)
        }
    }

    private func begin() -> Int {
        state.withLock {
            turn += 1
            pending += 1
            scene = nil
            return turn
        }
    }

    /// Throws if the image was replaced or given up.
    private func demand(_ turn: Int, _ then: () -> Void = {}) throws {
        try state.withLock {
            guard self.turn == turn else { throw CancellationError() }
            then()
        }
    }

    /// The image's task was cancelled: whatever comes of it is not taken.
    private func cancel(_ turn: Int) {
        state.withLock { if self.turn == turn { self.turn += 1 } }
    }

    /// The image that was set; nil while one is waited for.
    private func seen() throws -> Scene? {
        try state.withLock {
            guard scene != nil || pending > 0 else {
                throw SegmentAnythingError.request("no image: call setImage before predict")
            }
            return scene
        }
    }
}
