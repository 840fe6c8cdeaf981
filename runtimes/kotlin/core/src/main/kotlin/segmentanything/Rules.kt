package segmentanything

// The host's work before, between and after the graphs, as the manifest states it. The words and their
// meanings are those of exporter/bundle/rules.py.

enum class Resize(override val word: String) : Word {
    LONGEST_SIDE("longest_side"),
    LETTERBOX("letterbox"),
    STRETCH("stretch"),
}

enum class Interpolation(override val word: String) : Word {
    PILLOW_BILINEAR("pillow_bilinear"),
    PILLOW_BICUBIC("pillow_bicubic"),
    FLOAT_BILINEAR("float_bilinear"),
    FLOAT_BILINEAR_PLAIN("float_bilinear_plain"),
    BILINEAR_PLAIN("bilinear_plain"),
    OPENCV_BILINEAR("opencv_bilinear"),
    SPLINE_CUBIC("spline_cubic"),
}

enum class Scale(override val word: String) : Word {
    FIXED("fixed"),
    PICTURE("picture"),
}

enum class Channels(override val word: String) : Word {
    RGB("rgb"),
    GREY("grey"),
}

enum class Rounding(override val word: String) : Word {
    HALF_UP("half_up"),
    TRUNCATE("truncate"),
}

enum class PaddedBy(override val word: String) : Word {
    HOST("host"),
    GRAPH("graph"),
}

enum class PromptScale(override val word: String) : Word {
    EACH_SIDE("each_side"),
    LONGEST_SIDE("longest_side"),
}

enum class Upscale(override val word: String) : Word {
    BILINEAR("bilinear"),
    BILINEAR_ONCE("bilinear_once"),
    SIGMOID_BILINEAR_ONCE("sigmoid_bilinear_once"),
    BICUBIC_ONCE("bicubic_once"),
    CROP_BILINEAR("crop_bilinear"),
    LETTERBOX_BILINEAR("letterbox_bilinear"),
}

enum class Score(override val word: String) : Word {
    IOU_PREDICTIONS("iou_predictions"),
    STABILITY("stability"),
}

internal val SIDES = 1..16_384

/** From an RGB picture of 8 bits to the `image` input. */
class Preprocess internal constructor(fields: Fields) {
    init {
        fields.only(
            "resize", "size", "interpolation", "pad_value", "mean", "std", "frame_size", "rounding",
            "prompt_scale", "padded_by", "scale", "channels", "sides", "limits",
        )
        if (fields.has("sides") || fields.has("limits")) {
            throw SegmentAnythingError.Bundle(
                "${fields.place}.resize is 'within', for an input that is no square (RAP-SAM): " +
                    "this module prepares squares alone; sam-run runs the bundle"
            )
        }
    }

    val resize = fields.word("resize", Resize.entries)

    /** Side of the square input, in pixels. */
    val size = fields.whole("size", SIDES)
    val interpolation = fields.word("interpolation", Interpolation.entries)

    /** RGB of the padding, 0..255. */
    val padValue = fields.numbers("pad_value", 3)

    /** Side of the square of the published code's prompts and masks; null if that is the input. */
    val frameSize = if (fields.has("frame_size")) fields.whole("frame_size", SIDES) else null
    val rounding =
        if (fields.has("rounding")) fields.word("rounding", Rounding.entries) else Rounding.HALF_UP
    val promptScale =
        if (fields.has("prompt_scale")) fields.word("prompt_scale", PromptScale.entries)
        else PromptScale.EACH_SIDE
    val paddedBy =
        if (fields.has("padded_by")) fields.word("padded_by", PaddedBy.entries) else PaddedBy.HOST
    val scale = if (fields.has("scale")) fields.word("scale", Scale.entries) else Scale.FIXED
    val channels = if (fields.has("channels")) fields.word("channels", Channels.entries) else Channels.RGB

    init {
        if (padValue.any { it !in 0.0..255.0 }) throw fields.refuse("pad_value", "three numbers from 0 to 255")
    }
}

/** How prompts fill the decoder's static slots. */
class PromptRule internal constructor(fields: Fields) {
    init {
        fields.only(
            "batch", "slots", "labels", "pad_without_box", "order", "pad_with_box", "most_slots", "point_or_box",
        )
    }

    /** Prompt sets in one call of the decoder. */
    val batch = fields.whole("batch", 1..4096)

    /** Slots of a prompt set. */
    val slots = fields.whole("slots", 2..4096)
    val padWithoutBox = fields.flag("pad_without_box")
    val padWithBox = fields.has("pad_with_box") && fields.flag("pad_with_box")

    /** Slots that the network can have, however it is exported; null for any number. */
    val mostSlots = if (fields.has("most_slots")) fields.whole("most_slots", 1..4096) else null

    init {
        val labels = fields.obj("labels")
        for ((name, label) in Label.MEANINGS) {
            if (labels.whole(name, -16..16) != label.toInt()) throw labels.refuse(name, "${label.toInt()}")
        }
    }
}

/** What a slot holds. */
internal object Label {
    const val FOREGROUND = 1f
    const val BACKGROUND = 0f
    const val TOP_LEFT = 2f
    const val BOTTOM_RIGHT = 3f
    const val NOT_A_POINT = -1f
    const val EMPTY = -2f
    val MEANINGS = mapOf(
        "foreground" to FOREGROUND, "background" to BACKGROUND, "box_top_left" to TOP_LEFT,
        "box_bottom_right" to BOTTOM_RIGHT, "not_a_point" to NOT_A_POINT, "empty" to EMPTY,
    )
}

/** Whether a mask keeps its area when the threshold moves a little. */
class Stability internal constructor(fields: Fields) {
    init {
        fields.only("delta", "least")
    }

    val delta = fields.number("delta")
    val least = fields.number("least")
}

/** From the decoder's outputs to masks. */
class MaskRule internal constructor(fields: Fields) {
    init {
        fields.only(
            "threshold", "single", "multi", "upscale", "low_res_size", "stability", "logit_limit", "score",
            "score_offset",
        )
    }

    val threshold = fields.number("threshold")

    /** Mask token for a single mask; -1 if the best of [multi] is taken. */
    val single = fields.whole("single", -1..255)
    val multi = fields.wholes("multi", 0..255)
    val upscale = fields.word("upscale", Upscale.entries)
    val lowResSize = fields.whole("low_res_size", SIDES)
    val stability = fields.optional("stability", ::Stability)
    val logitLimit = if (fields.has("logit_limit")) fields.number("logit_limit") else null
    val score = if (fields.has("score")) fields.word("score", Score.entries) else Score.IOU_PREDICTIONS
    val scoreOffset = if (fields.has("score_offset")) fields.number("score_offset") else 1.0
}

/** From a graph that takes no prompt to the masks of everything in the image. */
class DetectionRule internal constructor(fields: Fields) {
    init {
        fields.only(
            "confidence", "nms_iou", "max_detections", "border", "full_box_iou", "strides", "prototypes"
        )
    }

    val confidence = fields.number("confidence")
    val nmsIou = fields.number("nms_iou")
    val maxDetections = fields.whole("max_detections", 1..10_000)

    /** In pixels of the input. */
    val border = fields.number("border")
    val fullBoxIou = fields.number("full_box_iou")
}

/** How prompts are drawn into `prompt_masks`. */
class DrawnPrompts internal constructor(fields: Fields) {
    init {
        fields.only("box_channel", "point_channel", "radius", "background_points")
    }

    val boxChannel = fields.whole("box_channel", 0..1)
    val pointChannel = fields.whole("point_channel", 0..1)

    /** In pixels of the input. */
    val radius = fields.number("radius")
    val backgroundPoints = fields.flag("background_points")
}
