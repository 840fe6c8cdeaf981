import Foundation

/// Follows objects through a video, frame by frame, with a bundle of `sam-export --video`.
///
///     let tracker = try Tracker(bundle: url, engine: engine)
///     try await tracker.start(first)
///     try await tracker.addObject("dog", points: [tap], labels: [1])
///     let dog = try await tracker.track(next)["dog"]           // .mask(), .score, .present
///
/// Safe to use from any task: calls are taken one at a time, in the order they came, and nothing runs on the main
/// thread. Nothing but a bounded bank is kept of frames, so a camera may run for ever; of one that is faster than
/// the network, give the newest frame when `track` returns, and `number` if ages should count those left out.
public final class Tracker: @unchecked Sendable {
    private let session: SegmentAnything
    private let rule: VideoRule
    private let host: VideoHostData
    private let turns: Bool
    private let maxObjects: Int
    private let line = Turnstile()  // guards what follows but the last two
    private var followed: [FollowedObject] = []
    private var view: View?
    private var picture: Picture?
    private var scene: TrackingScene?
    private var size: Size?
    private let lock = NSLock()  // guards `shown`
    private var shown: (objects: [String], frame: Int?) = ([], nil)

    /// Reads and verifies a bundle; its graphs are loaded by the first prompt, or by `load`.
    ///
    /// - Parameters:
    ///   - turns: whether frames will be tracked both ways from the first prompt; costs memory.
    ///   - maxObjects: more are refused: each has a bank of its own.
    /// - Throws: `SegmentAnythingError.bundle` if the bundle is not as it was exported, or has no memory;
    ///   `.request` if it is for another engine.
    public convenience init(
        bundle url: URL, engine: any Engine, turns: Bool = false, maxObjects: Int = 16, verify: Bool = true
    ) throws {
        let bundle = try ModelBundle(url, verify: verify)
        let host = try VideoHostData(bundle, bundle.videoRule())
        try self.init(bundle, host, engine, turns: turns, maxObjects: maxObjects)
    }

    init(
        _ bundle: ModelBundle, _ host: VideoHostData, _ engine: any Engine, turns: Bool, maxObjects: Int
    ) throws {
        session = try SegmentAnything(bundle, engine)
        rule = try bundle.videoRule()
        (self.host, self.turns, self.maxObjects) = (host, turns, maxObjects)
    }

    public var bundle: ModelBundle { session.bundle }

    /// Where the graphs run.
    public var placement: Placement { session.placement }

    /// Names of the objects that are followed, in the order in which they came.
    public var objects: [String] { lock.withLock { shown.objects } }

    /// Number of the current frame; nil before `start`.
    public var frame: Int? { lock.withLock { shown.frame } }

    /// Bytes that one object's bank grows to with one prompted frame.
    public var bankBytes: Int {
        let memory = rule.memoryTokens * rule.memoryWidth
        let kept = (rule.memoryFrames + 2) * memory + (rule.pointerFrames + 2) * rule.pointerWidth
        return kept * (rule.stored == .float16 ? 2 : 4) * (turns ? 2 : 1)
    }

    /// Loads the graphs ahead of the first prompt; see `SegmentAnything.load`.
    @discardableResult
    public func load() async throws -> [Load] { try await session.load() }

    /// Runs the bundle's goldens on each placement; see `SegmentAnything.verify`. Call `start` afterwards.
    @discardableResult
    public func verify(
        on placements: [Placement]? = nil, again: Bool = false, store: VerificationStore = .init()
    ) async throws -> Verification {
        try await session.verify(on: placements, again: again, store: store)
    }

    /// Forgets every object and frame; the graphs stay loaded.
    public func reset() async { await line.pass { forget() } }

    /// Begins a video: forgets what was before, and makes its first frame the current one.
    ///
    /// - Parameters:
    ///   - number: of the frame; later ones count from it.
    ///   - frames: in the whole video, which some networks know the age of pointers by; nil for a camera.
    /// - Throws: `SegmentAnythingError.request` if the video has no frame.
    public func start(_ frame: Picture, number: Int = 0, frames: Int? = nil) async throws {
        try await line.pass {
            if let frames, frames < 1 {
                throw SegmentAnythingError.request("a video has a frame at least, not \(frames)")
            }
            forget()
            take(frame, View(frame: number, frames: frames))
        }
    }

    /// Shows a new object on the current frame; the others are untouched.
    ///
    /// - Parameters:
    ///   - points: in pixels of the frame.
    ///   - labels: 1 foreground, 0 background, one for each point.
    ///   - box: in pixels of the frame.
    /// - Throws: `SegmentAnythingError.request` before `start`; `.prompt` if the name is taken, there are too
    ///   many objects, or the bundle cannot take the prompt.
    @discardableResult
    public func addObject(
        _ name: String, points: [CGPoint] = [], labels: [Int] = [], box: CGRect? = nil
    ) async throws -> Tracked {
        try await addObject(name, ObjectPrompt(points: points, labels: labels, box: box))
    }

    /// Does as the other `addObject`, for a mask that is taken as it is, or prompts.
    @discardableResult
    public func addObject(_ name: String, _ prompt: ObjectPrompt) async throws -> Tracked {
        try await passed { graphs in
            let view = try requireView()
            if followed.contains(where: { $0.name == name }) {
                throw SegmentAnythingError.prompt(
                    "object \(quoted(name)) is followed already: correct(...) changes its mask, "
                        + "remove(...) forgets it")
            }
            try check([name: prompt], graphs)
            let one = try await prompted(name, prompt, graphs)
            return try await show(one, view, graphs)
        }
    }

    /// Makes a frame the current one and finds every object on it.
    ///
    /// - Parameters:
    ///   - frame: of the same size as the first.
    ///   - number: of the frame; nil for the next one in the direction of the last step. Frames may be left out,
    ///     and a lower number than the current one goes backward.
    ///   - prompts: objects, known or new, that are found by a prompt on this frame alone instead of by memory;
    ///     later frames remember it as they do the first. New ones come in the order of their names.
    ///   - objects: the known ones to find by memory; nil for all. The others do not see this frame and will not
    ///     remember it.
    /// - Returns: what was found, in the order of `objects`; `["dog"]` picks one.
    /// - Throws: `SegmentAnythingError.request` before `start`, or if the number is the current frame's; `.image`
    ///   if the frame has another size; `.prompt` for a prompt that the bundle cannot take, or too many objects;
    ///   `.bundle` if a graph gave values that are not finite.
    @discardableResult
    public func track(
        _ frame: Picture, number: Int? = nil, prompts: [String: ObjectPrompt] = [:],
        objects: [String]? = nil
    ) async throws -> [Tracked] {
        try await passed { graphs in
            let view = try nextView(number), given = prompts.sorted { $0.key < $1.key }
            try requireSize(frame, view)
            try check(prompts, graphs)
            for name in objects ?? [] { _ = try find(name) }
            for one in followed where one.latest != nil { try await one.leave(encoded(graphs), graphs) }
            take(frame, view)
            for one in followed where prompts[one.name] == nil {
                if objects?.contains(one.name) ?? true { try await one.track(encoded(graphs), graphs) }
            }
            for (name, prompt) in given { _ = try await prompted(name, prompt, graphs) }
            var found: [Tracked] = []
            for one in followed where one.latest != nil { found.append(try await show(one, view, graphs)) }
            return found
        }
    }

    /// Improves an object's mask on the current frame; earlier clicks on the frame count again. A tracked frame
    /// stays a tracked one: it is remembered as corrected, and forgotten as it gets old.
    ///
    /// - Throws: `SegmentAnythingError.request` before `start`; `.prompt` if there is no such object, or the
    ///   bundle cannot take the prompts.
    @discardableResult
    public func correct(
        _ name: String, points: [CGPoint] = [], labels: [Int] = [], box: CGRect? = nil
    ) async throws -> Tracked {
        try await correct(name, Prompts(points: points, labels: labels, rectangle: box))
    }

    /// Does as the other `correct`, for prompts that are already a `Prompts`.
    @discardableResult
    public func correct(_ name: String, _ prompts: Prompts) async throws -> Tracked {
        try await passed { graphs in
            let view = try requireView(), one = try find(name)
            try await one.correct(encoded(graphs), prompts, graphs)
            return try await show(one, view, graphs)
        }
    }

    /// Forgets an object. Throws `SegmentAnythingError.prompt` if there is none of that name.
    public func remove(_ name: String) async throws {
        try await line.pass {
            _ = try find(name)
            followed.removeAll { $0.name == name }
            publish()
        }
    }
}

/// What the calls are made of; for who is alone in `line`.
extension Tracker {
    private func passed<T>(_ work: (TrackingGraphs) async throws -> T) async throws -> T {
        try await line.pass {
            _ = try requireView()  // before graphs are loaded
            return try await session.withGraphs { graphs in
                defer { publish() }
                return try await work(TrackingGraphs(graphs))
            }
        }
    }

    private func forget() {
        (followed, view, picture, scene, size) = ([], nil, nil, nil, nil)
        publish()
    }

    /// Lets others see the names and the frame.
    private func publish() {
        let now = (followed.map(\.name), view?.frame)
        lock.withLock { shown = now }
    }

    private func take(_ picture: Picture, _ view: View) {
        (self.picture, self.view, scene) = (picture, view, nil)
        size = size ?? Size(width: picture.width, height: picture.height)
        publish()
    }

    /// Encodes the current frame when the first object asks for it.
    private func encoded(_ graphs: TrackingGraphs) async throws -> TrackingScene {
        if let scene { return scene }
        guard let picture, let view else { throw noFrame() }
        let (encoded, frame) = try await graphs.encode(picture)
        let made = TrackingScene(view, frame, encoded)
        (scene, self.picture) = (made, nil)
        return made
    }

    /// Finds an object by a prompt; it is not known as new until that worked.
    private func prompted(
        _ name: String, _ prompt: ObjectPrompt, _ graphs: TrackingGraphs
    ) async throws -> FollowedObject {
        let known = followed.first { $0.name == name }
        let one = known ?? FollowedObject(name, Bank(rule, turns: turns), host)
        let scene = try await encoded(graphs)
        switch prompt.given {
        case .prompts(let prompts): try await one.prompt(scene, prompts, graphs)
        case .mask(let mask): try await one.draw(scene, mask, graphs)
        }
        if known == nil { followed.append(one) }
        return one
    }

    /// Throws, before a graph runs, if a prompt cannot be taken.
    private func check(_ prompts: [String: ObjectPrompt], _ graphs: TrackingGraphs) throws {
        if prompts.keys.contains("") {
            throw SegmentAnythingError.prompt("an object's name is a text, not ''")
        }
        let count = Set(followed.map(\.name)).union(prompts.keys).count
        guard count <= maxObjects else {
            let each = String(format: "%.1f", Double(bankBytes) / 1_048_576)
            throw SegmentAnythingError.prompt(
                "\(count) objects, and at most \(maxObjects) are followed: each keeps \(each) MB; raise maxObjects "
                    + "if there is room")
        }
        for prompt in prompts.values {
            if case .prompts(let given) = prompt.given, let size { _ = try given.checked(size, graphs.slots) }
        }
    }

    private func find(_ name: String) throws -> FollowedObject {
        if let found = followed.first(where: { $0.name == name }) { return found }
        let names = followed.map { printable($0.name) }.joined(separator: ", ")
        throw SegmentAnythingError.prompt(
            "no object \(quoted(name)) is followed: \(followed.isEmpty ? "there is none yet" : "there are \(names)")")
    }

    private func requireView() throws -> View {
        guard let view else { throw noFrame() }
        return view
    }

    private func noFrame() -> SegmentAnythingError { .request("no frame: call start before") }

    /// Says how the next frame looks back. Throws if it is the current one.
    private func nextView(_ number: Int?) throws -> View {
        let view = try requireView(), number = number ?? view.frame + view.step
        guard number != view.frame else {
            throw SegmentAnythingError.request(
                "frame \(number) is the current one: correct(...) changes its masks")
        }
        return View(frame: number, step: number > view.frame ? 1 : -1, frames: view.frames)
    }

    private func requireSize(_ picture: Picture, _ view: View) throws {
        guard let size, size != Size(width: picture.width, height: picture.height) else { return }
        throw SegmentAnythingError.image(
            "frame \(view.frame) is \(picture.width) x \(picture.height), and the video began with "
                + "\(size.width) x \(size.height): frames of one video have one size")
    }

    private func show(_ one: FollowedObject, _ view: View, _ graphs: TrackingGraphs) async throws -> Tracked {
        guard let found = one.latest else {
            throw SegmentAnythingError.request("object \(quoted(one.name)) was not found on any frame yet")
        }
        return Tracked(one.name, view.frame, found, try await encoded(graphs).frame, graphs.mask)
    }
}

extension Tracker {
    /// Reads and verifies a bundle of any of the engines' formats.
    ///
    /// - Parameters:
    ///   - engines: one for each format.
    ///   - placement: nil for what `verify` chose on this device, or the usual one.
    ///   - store: what `verify` found.
    /// - Throws: as the other `init`; `.request` if no engine runs such a bundle.
    public convenience init(
        bundle url: URL, engines: [any Engine], placement: Placement? = nil, turns: Bool = false,
        maxObjects: Int = 16, store: VerificationStore = .init(), verify: Bool = true
    ) throws {
        let engine = try chosenEngine(for: url, of: engines, placement, store)
        try self.init(bundle: url, engine: engine, turns: turns, maxObjects: maxObjects, verify: verify)
    }
}

extension ModelBundle {
    /// How the bundle tracks. Throws `SegmentAnythingError.bundle` if it has no memory.
    func videoRule() throws -> VideoRule {
        guard let rule = manifest.video else {
            throw SegmentAnythingError.bundle(
                "\(printable(url.path)) segments pictures and has no memory of earlier frames: open it with "
                    + "SegmentAnything, or export it with --video to track")
        }
        return rule
    }
}
