package segmentanything

import java.security.MessageDigest

/** One input or output of a graph. */
class TensorSpec internal constructor(fields: Fields) {
    init {
        fields.only("name", "shape", "dtype", "layout")
    }

    val name = fields.text("name")
    val shape = fields.wholes("shape", 1..MOST_NUMBERS)

    /** `float32`, or `uint8` for an image input of bytes. */
    val dtype = fields.text("dtype")

    /** Axis letters such as `NCHW`, or `RGB image`. */
    val layout = fields.text("layout")

    /** The shape with channels first, whatever the graph's own layout. */
    val canonicalShape: List<Int>
        get() = if (isChannelsLast) listOf(shape[0], shape[3], shape[1], shape[2]) else shape

    internal val isChannelsLast get() = layout == "NHWC" && shape.size == 4

    init {
        val count = shape.fold(1L) { count, side -> minOf(count, MOST_NUMBERS.toLong()) * side }
        if (shape.size !in 1..8 || count > MOST_NUMBERS) {
            throw fields.refuse("shape", "one to eight sides of $MOST_NUMBERS numbers at most")
        }
        if (dtype !in setOf("float32", "uint8") || (dtype == "uint8") != (layout == "RGB image")) {
            throw fields.refuse("dtype", "float32, or uint8 of an RGB image")
        }
    }

    private companion object {
        const val MOST_NUMBERS = 268_435_456
    }
}

/** A lowered graph in the bundle. */
class GraphFile internal constructor(fields: Fields) {
    val name: String
    val inputs: List<TensorSpec>
    val outputs: List<TensorSpec>

    /** Its name in the bundle. */
    val file: String

    /** The TFLite signature to call, else empty. */
    val signature: String

    /** How often it runs: once an image, once a prompt on it, or once a frame of a video. */
    val runs: Runs

    enum class Runs(override val word: String) : Word {
        IMAGE("image"),
        PROMPT("prompt"),
        FRAME("frame"),
    }

    init {
        fields.only("spec", "file", "bytes", "signature", "multiply_accumulates")
        val spec = fields.obj("spec")
        spec.only("name", "inputs", "outputs", "runs")
        name = spec.text("name")
        inputs = spec.objects("inputs").map(::TensorSpec)
        outputs = spec.objects("outputs").map(::TensorSpec)
        runs = spec.word("runs", Runs.entries)
        file = safePath(fields.text("file"))
        signature = if (fields.has("signature")) fields.text("signature") else ""
    }

    /** Whether the graph takes an input of that name. */
    fun takes(name: String): Boolean = inputs.any { it.name == name }
}

/** Those that run as often as [runs] says, each after the ones that feed it. */
internal fun List<GraphFile>.inOrder(runs: GraphFile.Runs): List<GraphFile> {
    val waiting = filter { it.runs == runs }.toMutableList()
    val ordered = mutableListOf<GraphFile>()
    while (waiting.isNotEmpty()) {
        val next = waiting.firstOrNull { graph ->
            waiting.none { other -> other !== graph && other.outputs.any { graph.takes(it.name) } }
        } ?: throw SegmentAnythingError.Bundle("the graphs feed each other in a ring; export the bundle again")
        waiting -= next
        ordered += next
    }
    return ordered
}

/** How a bundle is prompted: in a decoder's slots, not at all, or with pictures. */
sealed interface Kind {
    class Slots(val rule: PromptRule) : Kind

    class Detections(val rule: DetectionRule) : Kind

    class Drawn(val rule: DrawnPrompts) : Kind
}

/**
 * What is needed to use a bundle rightly, of its `manifest.json`.
 *
 * Throws [SegmentAnythingError.Bundle], which names the faulty field.
 */
class Manifest(content: ByteArray) {
    val variant: String

    /** The format of the graphs: `coreml`, `tflite` or `onnx`. */
    val target: String
    val precision: String

    /** Name of the licence of the weights. */
    val licence: String
    val graphs: List<GraphFile>
    val preprocess: Preprocess
    val mask: MaskRule
    val kind: Kind

    /** How objects are followed through a video; null if the bundle has no memory. */
    val video: VideoRule?

    /** File -> sha256 in hex. */
    val files: Map<String, String>

    /** sha256 of the manifest's own content, in hex: no two exports share it. */
    val contentHash: String

    init {
        val text = content.toString(Charsets.UTF_8)
        val fields = Fields(parseJson(text, "manifest.json"), "manifest")
        val version = fields.number("schema_version")
        if (version != SCHEMA_VERSION.toDouble()) {
            throw SegmentAnythingError.Bundle(
                "manifest.json has schema version ${plain(version)}; this release reads " +
                    "$SCHEMA_VERSION: export the bundle again"
            )
        }
        variant = fields.text("variant")
        if (fields.has("volume")) {
            throw SegmentAnythingError.Bundle(
                "${printable(variant)} segments a volume, and this package pictures: run it with sam-run"
            )
        }
        target = fields.text("target")
        precision = fields.text("precision")
        licence = fields.obj("licence").text("name")
        preprocess = Preprocess(fields.obj("preprocess"))
        graphs = fields.objects("graphs").map(::GraphFile)
        mask = MaskRule(fields.obj("mask"))
        kind = kind(fields)
        video = fields.optional("video", ::VideoRule)
        files = fields.texts("files")
        files.keys.forEach(::safePath)
        contentHash = fields.text("content_sha256")
        checkAgreement()
        if (contentHash != hash(text)) {
            throw SegmentAnythingError.Bundle(
                "manifest.json was changed after the export: copy or export the bundle again"
            )
        }
    }

    /** Finds a graph. Throws [SegmentAnythingError.Bundle] if there is none of that name. */
    fun graph(name: String): GraphFile =
        graphs.firstOrNull { it.name == name }
            ?: throw SegmentAnythingError.Bundle("this bundle has no graph '$name'")

    companion object {
        const val SCHEMA_VERSION = 3
        private const val OWN_HASH = "  \"content_sha256\": "

        private fun kind(fields: Fields): Kind {
            val kinds = listOfNotNull(
                fields.optional("prompts") { Kind.Slots(PromptRule(it)) },
                fields.optional("detections") { Kind.Detections(DetectionRule(it)) },
                fields.optional("drawn_prompts") { Kind.Drawn(DrawnPrompts(it)) },
            )
            return kinds.singleOrNull() ?: throw SegmentAnythingError.Bundle(
                "manifest.json has to have one of prompts, detections and drawn_prompts, not ${kinds.size}"
            )
        }

        /** Hashes a manifest's text without the line of its own hash, as the export did. */
        private fun hash(text: String): String {
            val lines = text.replace("\r\n", "\n").split("\n").filter { !it.startsWith(OWN_HASH) }
            val digest = MessageDigest.getInstance("SHA-256")
            return hex(digest.digest(lines.joinToString("\n").toByteArray()))
        }
    }
}

internal fun hex(bytes: ByteArray): String = bytes.joinToString("") { "%02x".format(it) }

/** Accepts a name that is plainly inside the bundle. */
internal fun safePath(name: String): String {
    val inside = name.split("/").none { it in setOf("", ".", "..") }
    if (!inside || name.any { it in "\\:\u0000" }) {
        throw SegmentAnythingError.Bundle(
            "manifest.json names '${printable(name)}', which is not a path inside the bundle"
        )
    }
    return name
}
