/// One object on one frame, as the decoder and the rules have it.
struct FoundObject: Sendable {
    /// Of its mask; `absent_logit` everywhere if it is not there.
    let logits: [Float]
    /// What later frames know it by.
    let pointer: [Float]
    let score: Float
    let iou: Float
    let present: Bool
    /// Whether the user said where it is on this frame, by a prompt or a correction.
    let prompted: Bool

    /// Chooses a frame's mask and pointer.
    ///
    /// - Parameter points: that prompted it, a box counting as two; 0 if it is tracked.
    init(_ decoded: DecodedObject, points: Int, prompted: Bool, _ graphs: TrackingGraphs, _ host: VideoHostData) {
        let rule = graphs.rule, single = graphs.mask.single, several = points <= rule.severalUpTo
        let tokens = decoded.masks.tokens(graphs.mask, multimask: several)
        var token = tokens[0]
        for each in tokens where decoded.masks.iou[each] > decoded.masks.iou[token] { token = each }
        // Even if the mask of several clicks is another token's, the pointer is not.
        let pointing = several || single < 0 ? token : single
        let width = rule.pointerWidth
        let present = decoded.score > rule.minObjectScore
        let logits = Array(decoded.masks.logits(token))
        self.init(
            logits: present ? logits : [Float](repeating: rule.absentLogit, count: logits.count),
            pointer: present ? Array(decoded.pointers[(pointing * width)..<((pointing + 1) * width)]) : host.noPointer,
            score: decoded.score, iou: decoded.masks.iou[token], present: present, prompted: prompted)
    }

    init(logits: [Float], pointer: [Float], score: Float, iou: Float, present: Bool, prompted: Bool) {
        (self.logits, self.pointer, self.score, self.iou) = (logits, pointer, score, iou)
        (self.present, self.prompted) = (present, prompted)
    }
}

/// The frame that is current, as every object sees it.
final class TrackingScene {
    let view: View
    let frame: Frame
    var encoded: [String: Value]

    init(_ view: View, _ frame: Frame, _ encoded: [String: Value]) {
        (self.view, self.frame, self.encoded) = (view, frame, encoded)
    }

    func embeddings() throws -> Value {
        guard let value = encoded["image_embeddings"] else {
            throw SegmentAnythingError.bundle("image_encoder gives no image_embeddings")
        }
        return value
    }
}

/// One object's frames: prompted, tracked, corrected, remembered.
final class FollowedObject {
    let name: String
    private(set) var bank: Bank
    /// What was found on the current frame; nil if it was not looked for there.
    private(set) var latest: FoundObject?
    private let host: VideoHostData
    private var embeddings: Value?
    private var prompts = Prompts()
    private var asPrompt = false

    init(_ name: String, _ bank: Bank, _ host: VideoHostData) {
        (self.name, self.bank, self.host) = (name, bank, host)
    }

    /// Finds the object by prompts alone, without memory: the frame becomes a prompted one.
    func prompt(_ scene: TrackingScene, _ given: Prompts, _ graphs: TrackingGraphs) async throws {
        embeddings = try scene.embeddings()
        (prompts, asPrompt) = (Prompts(), true)
        try await click(scene, given, nil, graphs)
    }

    /// Takes a mask as the object: nothing is predicted but the pointer.
    func draw(_ scene: TrackingScene, _ mask: DrawnMask, _ graphs: TrackingGraphs) async throws {
        let rule = graphs.rule, logit = rule.maskPromptLogit
        embeddings = try scene.embeddings()
        (prompts, asPrompt) = (Prompts(), true)
        let square = mask.inSquare(scene.frame), present = square.contains(1)
        let pointer = try await drawnPointer(scene, square, graphs)
        try settle(
            FoundObject(
                logits: lowResLogits(square, from: scene.frame.side, to: 4 * rule.grid, logit: logit),
                pointer: present ? pointer : host.noPointer, score: present ? logit : -logit, iou: 1,
                present: present, prompted: true), scene)
    }

    /// Finds the object by what is remembered of it.
    func track(_ scene: TrackingScene, _ graphs: TrackingGraphs) async throws {
        let memories = bank.memories(scene.view), pointers = bank.pointers(scene.view)
        let seen = try await graphs.attend(&scene.encoded, memories, pointers)
        embeddings = seen
        (prompts, asPrompt) = (Prompts(), false)
        let decoded = try await graphs.decode(scene.encoded, seen, padding(graphs), nil)
        try settle(FoundObject(decoded, points: 0, prompted: false, graphs, host), scene)
    }

    /// Adds clicks, or a box, to what was found on this frame; all clicks on it count again.
    func correct(_ scene: TrackingScene, _ given: Prompts, _ graphs: TrackingGraphs) async throws {
        guard let latest, embeddings != nil else {
            throw SegmentAnythingError.prompt("object \(quoted(name)) has no mask on this frame to correct")
        }
        // As the published predictor limits it.
        let limit = Float(graphs.mask.logitLimit ?? 32)
        try await click(scene, given, latest.logits.map { min(max($0, -limit), limit) }, graphs)
    }

    /// Remembers the current frame, for nothing more is said about it.
    func leave(_ scene: TrackingScene, _ graphs: TrackingGraphs) async throws {
        guard let found = latest else { return }
        latest = nil
        let memory = try await graphs.remember(scene.encoded, found)
        try requireFinite("memory", memory, scene)
        bank.keep(scene.view.frame, memory: memory, pointer: found.pointer, prompted: asPrompt)
    }

    private func click(
        _ scene: TrackingScene, _ given: Prompts, _ earlier: [Float]?, _ graphs: TrackingGraphs
    ) async throws {
        guard prompts.box == nil || given.box == nil else {
            throw SegmentAnythingError.prompt(
                "object \(quoted(name)) has a box on this frame already: correct it by points")
        }
        guard let embeddings else {
            throw SegmentAnythingError.prompt("object \(quoted(name)) has no frame")
        }
        let together = Prompts(
            points: prompts.points + given.points, labels: prompts.labels + given.labels, box: prompts.box ?? given.box)
        let slots = try together.packed(scene.frame, graphs.slots)
        let decoded = try await graphs.decode(scene.encoded, embeddings, slots, earlier)
        let points = together.points.count + (together.box == nil ? 0 : 2)
        prompts = together
        try settle(FoundObject(decoded, points: points, prompted: true, graphs, host), scene)
    }

    /// Asks the decoder for the pointer of a drawn mask, on embeddings without what stands for no memory.
    private func drawnPointer(
        _ scene: TrackingScene, _ square: [Float], _ graphs: TrackingGraphs
    ) async throws -> [Float] {
        let seen = try scene.embeddings().tensor(), channels = host.noMemory.count
        // One shape has the channels first, the other last.
        let step = seen.shape.last == channels && seen.shape[1] != channels ? 1 : seen.values.count / channels
        var bare = seen.values
        for at in bare.indices { bare[at] -= host.noMemory[at / step % channels] }
        let input = host.maskInput(square, from: scene.frame.side, to: 4 * graphs.rule.grid)
        let value = Value.floats(Tensor(shape: seen.shape, values: bare))
        let decoded = try await graphs.decode(scene.encoded, value, padding(graphs), input)
        guard decoded.score > graphs.rule.minObjectScore else { return host.noPointer }
        let width = graphs.rule.pointerWidth, token = max(0, graphs.mask.single)
        return Array(decoded.pointers[(token * width)..<((token + 1) * width)])
    }

    /// Fills the slots of a frame that has no prompt.
    private func padding(_ graphs: TrackingGraphs) -> (coords: [Float], labels: [Float]) {
        let slots = graphs.slots.slots, padded = graphs.rule.paddingPoints
        let labels = (0..<slots).map { $0 < padded ? Label.notAPoint : Label.empty }
        return ([Float](repeating: 0, count: 2 * slots), labels)
    }

    private func settle(_ found: FoundObject, _ scene: TrackingScene) throws {
        try requireFinite("object_score_logits", [found.score], scene)
        try requireFinite("low_res_masks", found.logits, scene)
        try requireFinite("object_pointers", found.pointer, scene)
        latest = found
    }

    /// Checks what later frames will see: one NaN would make all of them NaN.
    private func requireFinite(_ what: String, _ values: [Float], _ scene: TrackingScene) throws {
        guard values.allSatisfy(\.isFinite) else {
            throw SegmentAnythingError.bundle(
                "\(what) of object \(quoted(name)) on frame \(scene.view.frame) is not finite, and so would be "
                    + "every frame after it; see whether fp32 is finite: if so, the precision is the cause")
        }
    }
}

/// Spells a name from outside as one short text.
func quoted(_ name: String) -> String { "'\(printable(name))'" }
