package segmentanything

private val FRAMES = 0..4096
private val SLOTS = 1..4096

/** In which type memories and pointers are kept between frames. */
enum class Stored(override val word: String) : Word {
    FLOAT32("float32"),
    FLOAT16("float16"),
}

/** Which memories are left out because they are alike (Surgical SAM 2). */
class Pruning internal constructor(fields: Fields) {
    init {
        fields.only("listed", "dropped")
    }

    /** With so many memories or more, some do not reach the graph. */
    val listed = fields.whole("listed", FRAMES)
    val dropped = fields.whole("dropped", FRAMES)
}

/** How a host tracks objects through a video. The words and their meanings are those of exporter/bundle/video.py. */
class VideoRule internal constructor(fields: Fields) {
    init {
        fields.only(
            "memory_slots", "pointer_slots", "prompted_slots", "memory_frames", "pointer_frames", "pointer_scale",
            "memory_tokens", "memory_width", "pointer_width", "grid", "published_memory_slots",
            "published_pointer_slots", "departure", "pointer_time", "pooled", "pruning", "min_object_score",
            "absent_logit", "several_up_to", "padding_points", "mask_prompt_logit", "stored", "host_data",
        )
    }

    /** Memories in the graph's bank. */
    val memorySlots = fields.whole("memory_slots", SLOTS)

    /** Pointers in the graph's bank. */
    val pointerSlots = fields.whole("pointer_slots", SLOTS)

    /** Prompted frames of an object that have a place in the bank. */
    val promptedSlots = fields.whole("prompted_slots", SLOTS)

    /** Tracked frames this far away and nearer are in the bank. */
    val memoryFrames = fields.whole("memory_frames", FRAMES)

    /** The same of pointers. */
    val pointerFrames = fields.whole("pointer_frames", FRAMES)
    val pointerScale = fields.number("pointer_scale")
    val memoryTokens = fields.whole("memory_tokens", 1..(1 shl 20))
    val memoryWidth = fields.whole("memory_width", SIDES)
    val pointerWidth = fields.whole("pointer_width", SIDES)

    /** Side of `image_embeddings`, in cells. */
    val grid = fields.whole("grid", SIDES)

    /** How the graphs have fewer slots than the published code, in words; empty if they have not. */
    val departure = if (fields.has("departure")) fields.text("departure") else ""
    val pooled = fields.has("pooled") && fields.flag("pooled")
    val pruning = fields.optional("pruning", ::Pruning)
    val minObjectScore = fields.number("min_object_score", 0.0)
    val absentLogit = fields.number("absent_logit", -1024.0).toFloat()
    val severalUpTo = if (fields.has("several_up_to")) fields.whole("several_up_to", FRAMES) else 1
    val paddingPoints = if (fields.has("padding_points")) fields.whole("padding_points", SLOTS) else 2
    val maskPromptLogit = fields.number("mask_prompt_logit", 10.0).toFloat()
    val stored = if (fields.has("stored")) fields.word("stored", Stored.entries) else Stored.FLOAT32
    val hostData = safePath(if (fields.has("host_data")) fields.text("host_data") else "video.npz")

    init {
        if (pointerScale <= 0) throw fields.refuse("pointer_scale", "above 0")
    }
}

private fun Fields.number(name: String, usual: Double) = if (has(name)) number(name) else usual

/** Names of a video bundle's graphs. */
internal object VideoGraph {
    const val ENCODER = "image_encoder"
    const val DECODER = "mask_decoder"
    const val MEMORY = "memory_encoder"

    /** Makes what objects share of a frame; not every bundle has it. */
    const val QUERY = "memory_query"
    const val ATTENTION = "memory_attention"

    /** Of pooled families: for an object with one memory. */
    const val FIRST = "memory_attention_first"
}

/** Says how the bundle tracks. Throws [SegmentAnythingError.Bundle] if it has no memory. */
internal fun Bundle.videoRule(): VideoRule = manifest.video ?: throw SegmentAnythingError.Bundle(
    "${printable(folder.path)} segments pictures and has no memory of earlier frames: open it with " +
        "SegmentAnything, or export it with --video to track"
)
