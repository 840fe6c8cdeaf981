package segmentanything.jvm

import java.io.File
import java.io.IOException
import java.nio.ByteBuffer
import java.nio.ByteOrder
import segmentanything.Box
import segmentanything.Point
import segmentanything.Prompts
import segmentanything.SegmentAnythingError
import segmentanything.Tensor
import segmentanything.printable

internal val USAGE = """
    usage: sam-segment BUNDLE PICTURE [--point X,Y[,LABEL]]... [--box X0,Y0,X1,Y1] [--multimask]
                       [--mask-input LOGITS.npy] [--mask OUT.png] [--onnxruntime LIBRARY] [--threads N]
                       [--times N]
           sam-segment BUNDLE PICTURE --everything METHOD [--points-per-side N] [--pred-iou-thresh X]
                       [--stability-score-thresh X] [--detector BUNDLE] [--fast] [--mask OUT.png] ...

    Segments a picture (PNG or PPM) with an ONNX bundle. Prompts are in pixels of the picture; a point's
    LABEL is 1 (foreground) or 0 (background). With --multimask, masks are OUT_0.png, OUT_1.png, ...
    --times repeats both steps and prints their median times: of this computer, not of a phone.
    --everything finds every object: METHOD is grid, hierarchical, object-aware (of a --box, or those that the
    --detector finds, a FastSAM bundle), proposed (clicks where a head in the bundle proposes them; the demo's of
    sam-export --everything has one), or detector (of a FastSAM bundle itself). --fast takes stability and boxes
    from the network's own pixels: other masks may be kept, and a line says how far the boxes are off. Ctrl-C keeps
    what is done.
""".trimIndent()

/** What the command was asked for. Throws [SegmentAnythingError.Request], which names the wrong word. */
internal class Arguments(words: List<String>) {
    val bundle: File
    val picture: File
    var prompts = Prompts()
        private set
    var multimask = false
        private set
    var maskInput: File? = null
        private set
    var mask: File? = null
        private set
    var library: String? = null
        private set
    var threads = 2
        private set
    var times = 0
        private set
    var everything: EverythingArguments? = null
        private set

    init {
        val places = mutableListOf<String>()
        val waiting = ArrayDeque(words)
        while (waiting.isNotEmpty()) {
            val word = waiting.removeFirst()
            if (word.startsWith("--")) take(word, waiting) else places += word
        }
        if (places.size != 2) throw wrong("give a BUNDLE and a PICTURE")
        everything?.check(prompts)
        bundle = File(places[0])
        picture = File(places[1])
    }

    private fun take(option: String, waiting: ArrayDeque<String>) {
        val value = { waiting.removeFirstOrNull() ?: throw wrong("$option needs a value") }
        when (option) {
            "--point" -> addPoint(value())
            "--box" -> addBox(value())
            "--multimask" -> multimask = true
            "--mask-input" -> maskInput = File(value())
            "--mask" -> mask = File(value())
            "--onnxruntime" -> library = value()
            "--threads" -> threads = value().toIntOrNull() ?: throw wrong("--threads takes a number")
            "--everything" -> everything = asked().copy(method = value())
            "--points-per-side" -> everything = asked().copy(pointsPerSide = value().toIntOrNull() ?: 0)
            "--pred-iou-thresh" -> everything = asked().copy(predIouThresh = one(value()))
            "--stability-score-thresh" -> everything = asked().copy(stabilityScoreThresh = one(value()))
            "--detector" -> everything = asked().copy(detector = File(value()))
            "--fast" -> everything = asked().copy(fast = true)
            "--times" -> times = value().toIntOrNull()?.takeIf { it in 1..10_000 }
                ?: throw wrong("--times takes a number from 1 to 10000")
            else -> throw wrong("there is no option $option")
        }
    }

    private fun asked() = everything ?: EverythingArguments()

    private fun one(text: String) = split(text).singleOrNull() ?: throw wrong("$text is not one number")

    private fun addPoint(text: String) {
        val numbers = split(text)
        if (numbers.size !in 2..3 || numbers.getOrElse(2) { 1.0 } !in setOf(0.0, 1.0)) {
            throw wrong("a point is X,Y or X,Y,LABEL with a LABEL of 0 or 1, not $text")
        }
        val label = numbers.getOrElse(2) { 1.0 }.toInt()
        val point = Point(numbers[0], numbers[1])
        prompts = prompts.copy(points = prompts.points + point, labels = prompts.labels + label)
    }

    private fun addBox(text: String) {
        val numbers = split(text)
        if (numbers.size != 4 || prompts.box != null) {
            throw wrong("a box is X0,Y0,X1,Y1, given once, not $text")
        }
        prompts = prompts.copy(box = Box(numbers[0], numbers[1], numbers[2], numbers[3]))
    }
}

private fun split(text: String): List<Double> = text.split(",").map { part ->
    part.toDoubleOrNull()?.takeIf { it.isFinite() } ?: throw wrong("$text is not numbers")
}

internal fun wrong(text: String) =
    SegmentAnythingError.Request("${printable(text, 1000)}; see sam-segment --help")

/** How an array that numpy saved begins; its version is 1. */
private val NUMPY = byteArrayOf(0x93.toByte()) + "NUMPY\u0001".toByteArray()

/** Reads an array of float32 that numpy saved, (h, w) or (1, h, w): one mask of `sam-run --save-logits`. */
internal fun readLogits(file: File): Tensor {
    val fault = SegmentAnythingError.Prompt(
        "${printable(file.path, 1000)} is no array of numpy: float32, (1, h, w)"
    )
    val buffer = try {
        ByteBuffer.wrap(file.readBytes()).order(ByteOrder.LITTLE_ENDIAN)
    } catch (_: IOException) {
        throw fault
    }
    if (buffer.limit() < 10 || !NUMPY.contentEquals(buffer.array().copyOf(NUMPY.size))) throw fault
    val end = 10 + (buffer.getShort(8).toInt() and 0xffff)
    if (end > buffer.limit()) throw fault
    val header = buffer.array().decodeToString(10, end)
    if ("'<f4'" !in header || "'fortran_order': False" !in header) throw fault
    val sides = header.substringAfter("(").substringBefore(")").split(",").map(String::trim)
        .filter(String::isNotEmpty).map { it.toIntOrNull() ?: throw fault }
    if (sides.any { it !in 1..MOST_SIDE }) throw fault
    val count = sides.fold(1L) { count, side -> minOf(count, MOST_PIXELS) * side }
    if (sides.size !in 1..3 || (buffer.limit() - end) / 4 < count) throw fault
    buffer.position(end)
    return Tensor(sides, FloatArray(count.toInt()).also(buffer.asFloatBuffer()::get))
}
