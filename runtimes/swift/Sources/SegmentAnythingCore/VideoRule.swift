import Foundation

/// Which memories are left out because they are alike (Surgical SAM 2).
struct Pruning: Sendable {
    /// With so many memories or more, some do not reach the graph.
    let listed: Int
    let dropped: Int

    init(_ fields: Fields) throws {
        try fields.only("listed", "dropped")
        listed = try fields.whole("listed", 0...4096)
        dropped = try fields.whole("dropped", 0...4096)
    }
}

/// How a host tracks objects through a video. The words and their meanings are those of exporter/bundle/video.py.
public struct VideoRule: Sendable {
    /// Memories in the graph's bank, and pointers.
    public let memorySlots: Int
    public let pointerSlots: Int
    /// Prompted frames of an object that have a place in the bank.
    public let promptedSlots: Int
    /// Tracked frames this far away and nearer are in the bank.
    public let memoryFrames: Int
    public let pointerFrames: Int
    /// How the graphs have fewer slots than the published code, in words; empty if they have not.
    public let departure: String
    let pointerScale: Double
    let memoryTokens: Int
    let memoryWidth: Int
    let pointerWidth: Int
    let grid: Int
    let pooled: Bool
    let pruning: Pruning?
    let minObjectScore: Float
    let absentLogit: Float
    let severalUpTo: Int
    let paddingPoints: Int
    let maskPromptLogit: Float
    let stored: Stored
    let hostData: String

    enum Stored: String, Sendable { case float32, float16 }

    init(_ fields: Fields) throws {
        try fields.only(
            "memory_slots", "pointer_slots", "prompted_slots", "memory_frames", "pointer_frames", "pointer_scale",
            "memory_tokens", "memory_width", "pointer_width", "grid", "published_memory_slots",
            "published_pointer_slots", "departure", "pointer_time", "pooled", "pruning", "min_object_score",
            "absent_logit", "several_up_to", "padding_points", "mask_prompt_logit", "stored", "host_data")
        let slots = 1...4096, frames = 0...4096
        func number(_ name: String, _ usual: Double) throws -> Float {
            Float(fields.has(name) ? try fields.number(name) : usual)
        }
        memorySlots = try fields.whole("memory_slots", slots)
        pointerSlots = try fields.whole("pointer_slots", slots)
        promptedSlots = try fields.whole("prompted_slots", slots)
        memoryFrames = try fields.whole("memory_frames", frames)
        pointerFrames = try fields.whole("pointer_frames", frames)
        pointerScale = try fields.number("pointer_scale")
        guard pointerScale > 0 else { throw fields.wrong("pointer_scale", "above 0") }
        memoryTokens = try fields.whole("memory_tokens", 1...1 << 20)
        memoryWidth = try fields.whole("memory_width", sides)
        pointerWidth = try fields.whole("pointer_width", sides)
        grid = try fields.whole("grid", sides)
        departure = fields.has("departure") ? try fields.text("departure") : ""
        pooled = fields.has("pooled") ? try fields.flag("pooled") : false
        pruning = fields.has("pruning") ? try Pruning(fields.object("pruning")) : nil
        minObjectScore = try number("min_object_score", 0)
        absentLogit = try number("absent_logit", -1024)
        severalUpTo = fields.has("several_up_to") ? try fields.whole("several_up_to", frames) : 1
        paddingPoints = fields.has("padding_points") ? try fields.whole("padding_points", slots) : 2
        maskPromptLogit = try number("mask_prompt_logit", 10)
        stored = fields.has("stored") ? try fields.word("stored", Stored.self) : .float32
        hostData = try safePath(fields.has("host_data") ? fields.text("host_data") : "video.npz")
    }
}

/// Names of a video bundle's graphs.
enum VideoGraph {
    static let encoder = "image_encoder", decoder = "mask_decoder", memory = "memory_encoder"
    /// Makes what objects share of a frame; not every bundle has it.
    static let query = "memory_query"
    static let attention = "memory_attention"
    /// Of pooled families: for an object with one memory.
    static let first = "memory_attention_first"
}

/// Numbers of the network that only the host of a video uses.
struct VideoHostData: Sendable {
    /// What stands for an object that is not there.
    let noPointer: [Float]
    /// By channel: what `image_embeddings` contains as long as there is no memory.
    let noMemory: [Float]
    /// The published 4 x 4 convolution of a mask given as the prompt.
    let downsampleWeight: [Float]
    let downsampleBias: Float

    /// Reads a bundle's `video.npz`. Throws `SegmentAnythingError.bundle` if it is not as the rule says.
    init(_ bundle: ModelBundle, _ rule: VideoRule) throws {
        let path = bundle.url.appendingPathComponent(rule.hostData)
        let outputs = try bundle.manifest.graph(VideoGraph.encoder).outputs
        let channels = outputs.first { $0.name == "image_embeddings" }?.canonicalShape[1] ?? 0
        let arrays = try Npz(path)
        func read(_ name: String, _ shape: [Int]) throws -> [Float] {
            guard arrays.names.contains(name) else {
                throw SegmentAnythingError.bundle(
                    "\(printable(path.path)) has no \(name); export the bundle again")
            }
            let found = try? arrays.array(name, most: shape.reduce(1, *))
            guard let found, found.shape == shape, found.values.allSatisfy(\.isFinite) else {
                throw SegmentAnythingError.bundle(
                    "\(printable(path.path)): \(name) is not finite float32 of \(shape); export it again")
            }
            return found.values
        }
        self.init(
            noPointer: try read("no_object_pointer", [rule.pointerWidth]),
            noMemory: try read("no_memory_embedding", [channels]),
            downsampleWeight: try read("mask_downsample_weight", [1, 1, 4, 4]),
            downsampleBias: try read("mask_downsample_bias", [1])[0])
    }

    init(noPointer: [Float], noMemory: [Float], downsampleWeight: [Float], downsampleBias: Float) {
        (self.noPointer, self.noMemory) = (noPointer, noMemory)
        (self.downsampleWeight, self.downsampleBias) = (downsampleWeight, downsampleBias)
    }
}

extension Manifest {
    /// What does not agree with a rule for videos, in words; nil if everything does.
    func videoFault(_ rule: VideoRule) -> String? {
        guard case .slots(let prompts) = kind, prompts.batch == 1 else {
            return "video needs a decoder with slots for one prompt set"
        }
        if prompts.slots < rule.paddingPoints { return "video.padding_points is more than prompts.slots" }
        if mask.lowResSize != 4 * rule.grid {
            return "video.grid is \(rule.grid), and masks have a side of \(mask.lowResSize)"
        }
        if rule.promptedSlots > min(rule.memorySlots, rule.pointerSlots) {
            return "video.prompted_slots is more than there are slots"
        }
        let first = rule.pooled ? [VideoGraph.first] : []
        let needed = [VideoGraph.encoder, VideoGraph.decoder, VideoGraph.memory, VideoGraph.attention] + first
        for name in needed where !graphs.contains(where: { $0.name == name }) {
            return "video needs a graph \(name)"
        }
        if !rule.pooled, graphs.contains(where: { $0.name == VideoGraph.first }) {
            return "video.pooled is false, and there is a graph \(VideoGraph.first)"
        }
        if !files.isEmpty, files[rule.hostData] == nil { return "it holds no \(rule.hostData)" }
        return graphs.lazy.compactMap { shapeFault($0, rule) }.first
    }

    /// What is not of the shape that the host makes or reads, of a graph that runs once a frame or prompt.
    private func shapeFault(_ graph: GraphFile, _ rule: VideoRule) -> String? {
        guard graph.runs != .image else { return nil }
        let slots = graph.name == VideoGraph.first ? 1 : rule.memorySlots, side = 4 * rule.grid
        let given = [
            "mask_logits": [1, 1, side, side], "from_prompt": [1], "object_present": [1],
            "memories": [1, slots, rule.memoryTokens, rule.memoryWidth], "memory_age": [1, slots],
            "object_pointers": [1, rule.pointerSlots, rule.pointerWidth], "pointer_age": [1, rule.pointerSlots],
        ]
        let made = [
            VideoGraph.decoder: [
                "object_score_logits": [1, 1], "object_pointers": [1, tokens(), rule.pointerWidth],
            ],
            VideoGraph.memory: ["memory": [1, rule.memoryTokens, rule.memoryWidth]],
            VideoGraph.attention: ["conditioned_embeddings": []], VideoGraph.first: ["conditioned_embeddings": []],
        ]
        for tensor in graph.inputs {
            if let wanted = given[tensor.name], wanted != tensor.canonicalShape {
                return "\(tensor.name) is \(tensor.shape), and the rules say \(wanted)"
            }
        }
        for (name, wanted) in made[graph.name, default: [:]].sorted(by: { $0.key < $1.key }) {
            guard let tensor = graph.outputs.first(where: { $0.name == name }) else {
                return "\(graph.name) gives no \(name)"
            }
            if !wanted.isEmpty, wanted != tensor.canonicalShape {
                return "\(name) is \(tensor.shape), and the rules say \(wanted)"
            }
        }
        return nil
    }
}
