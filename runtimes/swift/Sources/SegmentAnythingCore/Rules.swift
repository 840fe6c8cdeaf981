// The host's work before, between and after the graphs, as the manifest states it. The words and their
// meanings are those of exporter/bundle/rules.py.

public enum Resize: String, Sendable {
    case longestSide = "longest_side"
    case letterbox, stretch
}

public enum Interpolation: String, Sendable {
    case pillowBilinear = "pillow_bilinear"
    case pillowBicubic = "pillow_bicubic"
    case floatBilinear = "float_bilinear"
    case floatBilinearPlain = "float_bilinear_plain"
    case bilinearPlain = "bilinear_plain"
    case opencvBilinear = "opencv_bilinear"
    case splineCubic = "spline_cubic"
}

public enum Scale: String, Sendable { case fixed, picture }

public enum Channels: String, Sendable { case rgb, grey }

public enum Rounding: String, Sendable {
    case halfUp = "half_up"
    case truncate
}

public enum PaddedBy: String, Sendable { case host, graph }

public enum PromptScale: String, Sendable {
    case eachSide = "each_side"
    case longestSide = "longest_side"
}

public enum Upscale: String, Sendable {
    case bilinear
    case bilinearOnce = "bilinear_once"
    case sigmoidBilinearOnce = "sigmoid_bilinear_once"
    case bicubicOnce = "bicubic_once"
    case cropBilinear = "crop_bilinear"
    case letterboxBilinear = "letterbox_bilinear"
}

public enum Score: String, Sendable {
    case iouPredictions = "iou_predictions"
    case stability
}

/// From an RGB picture of 8 bits to the `image` input.
public struct Preprocess: Sendable {
    public let resize: Resize
    /// Side of the square input, in pixels.
    public let size: Int
    public let interpolation: Interpolation
    /// RGB of the padding, 0...255.
    public let padValue: [Double]
    /// Side of the square of the published code's prompts and masks; nil if that is the input.
    public let frameSize: Int?
    public let rounding: Rounding
    public let promptScale: PromptScale
    public let paddedBy: PaddedBy
    public let scale: Scale
    public let channels: Channels

    init(_ fields: Fields) throws {
        try fields.only(
            "resize", "size", "interpolation", "pad_value", "mean", "std", "frame_size", "rounding",
            "prompt_scale", "padded_by", "scale", "channels", "sides", "limits")
        guard !fields.has("sides"), !fields.has("limits") else {
            throw SegmentAnythingError.bundle(
                "\(fields.place).resize is 'within', for an input that is no square (RAP-SAM): "
                    + "this package prepares squares alone; sam-run runs the bundle")
        }
        resize = try fields.word("resize", Resize.self)
        size = try fields.whole("size", sides)
        interpolation = try fields.word("interpolation", Interpolation.self)
        padValue = try fields.numbers("pad_value", count: 3)
        guard padValue.allSatisfy({ 0...255 ~= $0 }) else {
            throw fields.wrong("pad_value", "three numbers from 0 to 255")
        }
        frameSize = fields.has("frame_size") ? try fields.whole("frame_size", sides) : nil
        rounding = fields.has("rounding") ? try fields.word("rounding", Rounding.self) : .halfUp
        promptScale =
            fields.has("prompt_scale") ? try fields.word("prompt_scale", PromptScale.self) : .eachSide
        paddedBy = fields.has("padded_by") ? try fields.word("padded_by", PaddedBy.self) : .host
        scale = fields.has("scale") ? try fields.word("scale", Scale.self) : .fixed
        channels = fields.has("channels") ? try fields.word("channels", Channels.self) : .rgb
    }
}

let sides = 1...16_384

/// How prompts fill the decoder's static slots.
public struct PromptRule: Sendable {
    /// Prompt sets in one call of the decoder.
    public let batch: Int
    /// Slots of a prompt set.
    public let slots: Int
    public let padWithoutBox: Bool
    public let padWithBox: Bool
    /// Slots that the network can have, however it is exported; nil for any number.
    public let mostSlots: Int?

    init(_ fields: Fields) throws {
        try fields.only(
            "batch", "slots", "labels", "pad_without_box", "order", "pad_with_box", "most_slots",
            "point_or_box")
        batch = try fields.whole("batch", 1...4096)
        slots = try fields.whole("slots", 2...4096)
        padWithoutBox = try fields.flag("pad_without_box")
        padWithBox = fields.has("pad_with_box") ? try fields.flag("pad_with_box") : false
        mostSlots = fields.has("most_slots") ? try fields.whole("most_slots", 1...4096) : nil
        let labels = try fields.object("labels")
        for (name, label) in Label.meanings where try labels.whole(name, -16...16) != Int(label) {
            throw labels.wrong(name, "\(Int(label))")
        }
    }
}

/// What a slot holds.
enum Label {
    static let foreground: Float = 1, background: Float = 0
    static let topLeft: Float = 2, bottomRight: Float = 3
    static let notAPoint: Float = -1, empty: Float = -2
    static let meanings: KeyValuePairs = [
        "foreground": foreground, "background": background, "box_top_left": topLeft,
        "box_bottom_right": bottomRight, "not_a_point": notAPoint, "empty": empty,
    ]
}

/// Whether a mask keeps its area when the threshold moves a little.
public struct Stability: Sendable {
    public let delta: Double
    public let least: Double

    init(_ fields: Fields) throws {
        try fields.only("delta", "least")
        delta = try fields.number("delta")
        least = try fields.number("least")
    }
}

/// From the decoder's outputs to masks.
public struct MaskRule: Sendable {
    public let threshold: Double
    /// Mask token for a single mask; -1 if the best of `multi` is taken.
    public let single: Int
    public let multi: [Int]
    public let upscale: Upscale
    public let lowResSize: Int
    public let stability: Stability?
    public let logitLimit: Double?
    public let score: Score
    public let scoreOffset: Double

    init(_ fields: Fields) throws {
        try fields.only(
            "threshold", "single", "multi", "upscale", "low_res_size", "stability", "logit_limit", "score",
            "score_offset")
        threshold = try fields.number("threshold")
        single = try fields.whole("single", -1...255)
        multi = try fields.wholes("multi", 0...255)
        upscale = try fields.word("upscale", Upscale.self)
        lowResSize = try fields.whole("low_res_size", sides)
        stability = fields.has("stability") ? try Stability(fields.object("stability")) : nil
        logitLimit = fields.has("logit_limit") ? try fields.number("logit_limit") : nil
        score = fields.has("score") ? try fields.word("score", Score.self) : .iouPredictions
        scoreOffset = fields.has("score_offset") ? try fields.number("score_offset") : 1
    }
}

/// From a graph that takes no prompt to the masks of everything in the image.
public struct DetectionRule: Sendable {
    public let confidence: Double
    public let nmsIou: Double
    public let maxDetections: Int
    /// In pixels of the input.
    public let border: Double
    public let fullBoxIou: Double

    init(_ fields: Fields) throws {
        try fields.only(
            "confidence", "nms_iou", "max_detections", "border", "full_box_iou", "strides", "prototypes")
        confidence = try fields.number("confidence")
        nmsIou = try fields.number("nms_iou")
        maxDetections = try fields.whole("max_detections", 1...10_000)
        border = try fields.number("border")
        fullBoxIou = try fields.number("full_box_iou")
    }
}

/// How prompts are drawn into `prompt_masks`.
public struct DrawnPrompts: Sendable {
    public let boxChannel: Int
    public let pointChannel: Int
    /// In pixels of the input.
    public let radius: Double
    public let backgroundPoints: Bool

    init(_ fields: Fields) throws {
        try fields.only("box_channel", "point_channel", "radius", "background_points")
        boxChannel = try fields.whole("box_channel", 0...1)
        pointChannel = try fields.whole("point_channel", 0...1)
        radius = try fields.number("radius")
        backgroundPoints = try fields.flag("background_points")
    }
}
