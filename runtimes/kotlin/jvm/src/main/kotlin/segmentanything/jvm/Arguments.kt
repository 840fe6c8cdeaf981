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
           sam-segment BUNDLE PICTURE --everything [METHOD] [options of everything] [--mask OUT.png]
                       [--onnxruntime LIBRARY] [--threads N]
           sam-segment BUNDLE --frames FOLDER [--point X,Y[,LABEL]]... [--box X0,Y0,X1,Y1] [--mask OUT.png]
                       [--onnxruntime LIBRARY] [--threads N]

    Segments a picture (PNG or PPM) with an ONNX bundle. Prompts are in pixels of the picture; a point's
    LABEL is 1 (foreground) or 0 (background). With --multimask, masks are OUT_0.png, OUT_1.png, ...
    --frames follows an object through a folder of frames (PNG or PPM, in the order of the numbers in their names)
    with a bundle of sam-export --video; prompts are on the first, and OUT_0.png, OUT_1.png, ... are its masks.
    --times repeats both steps and prints their median times: of this computer, not of a phone.
    --everything finds every object; OUT_0.png, OUT_1.png, ... are their masks, and Ctrl-C keeps what is done. METHOD:
      grid          (default) a click on every point of a grid
      hierarchical  a coarse grid, then the points that no sure mask covers
      proposed      clicks where a head in the bundle proposes them; the demo's of sam-export --everything has one
      object-aware  one mask for --box, or for each box that --detector, a FastSAM bundle, finds
      detector      what a FastSAM bundle itself finds
    Options of everything, with the published names and defaults; the method says if it does not take one:
      --points-per-side N                  of the grid (32)
      --points-per-batch N                 prompts between two looks at the clock (64; changes no mask)
      --pred-iou-thresh X                  least predicted IoU, itself left out (0.88; SAM 2: 0.8); 0 keeps all
      --stability-score-thresh X           least stability (0.95); 0 keeps all
      --stability-score-offset X           how far the threshold moves for it (1)
      --box-nms-thresh X                   IoU of boxes above which the worse mask goes (0.7)
      --crop-n-layers N                    layers of crops that are asked as well (0)
      --crop-nms-thresh X                  as --box-nms-thresh, between crops (0.7)
      --crop-overlap-ratio X               overlap of the first layer's crops (0.341)
      --crop-n-points-downscale-factor X   layer i has fewer points a side by this to the power i (1)
      --min-mask-region-area X             holes and islands below so many pixels are removed from masks (0)
      --mask-threshold X                   of logits (the bundle's)
      --high-score-thresh X                hierarchical: logit that covers a pixel (8.5)
      --proposal-thresh X                  proposed: least score of a point, itself left out (0.1)
      --max-proposals N                    proposed: points at most, the best first (64)
      --detector BUNDLE                    object-aware: finds the boxes
      --rules sam|sam2                     whose generator (the bundle's)
      --refine                             each mask again by its own logits (SAM 2's use_m2m)
      --single-mask                        one mask a point instead of three
      --leave-small-regions                as SAM 2 without its CUDA extension
      --fast                               stability and boxes from the network's own pixels: other masks may be
                                           kept, and a line says how far the boxes are off
""".trimIndent()

/** What the command was asked for. Throws [SegmentAnythingError.Request], which names the wrong word. */
internal class Arguments(words: List<String>) {
    val bundle: File

    /** Of a run on one picture. */
    val picture: File
    var frames: File? = null
        private set
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
        everything?.check(prompts)
        if (everything != null) refuseSingle("--everything asks for all objects")
        if (frames != null) {
            refuseSingle("--frames follows one object")
            if (everything != null) throw wrong("--frames follows one object: leave out --everything")
            if (places.size != 1) throw wrong("give a BUNDLE alone and its --frames")
        } else if (places.size != 2) {
            throw wrong("give a BUNDLE and a PICTURE")
        }
        bundle = File(places[0])
        picture = File(places.last())
    }

    private fun take(option: String, waiting: ArrayDeque<String>) {
        val value = { waiting.removeFirstOrNull() ?: throw wrong("$option needs a value") }
        when (option) {
            "--point" -> addPoint(value())
            "--box" -> addBox(value())
            "--multimask" -> multimask = true
            "--mask-input" -> maskInput = File(value())
            "--frames" -> frames = File(value())
            "--mask" -> mask = File(value())
            "--onnxruntime" -> library = value()
            "--threads" -> threads = value().toIntOrNull() ?: throw wrong("--threads takes a number")
            "--everything" -> {
                val method = waiting.firstOrNull()?.takeUnless { it.startsWith("--") }
                if (method != null) waiting.removeFirst()
                everything = asked().copy(asked = true, method = method ?: asked().method)
            }
            in EverythingArguments.OPTIONS -> everything = asked().with(option, value)
            "--times" -> times = value().toIntOrNull()?.takeIf { it in 1..10_000 }
                ?: throw wrong("--times takes a number from 1 to 10000")
            else -> throw wrong("there is no option $option")
        }
    }

    /** Throws if an option was given that only prompts on one picture take. */
    private fun refuseSingle(reason: String) {
        val odd = when {
            multimask -> "--multimask"
            maskInput != null -> "--mask-input"
            times > 0 -> "--times"
            else -> return
        }
        throw wrong("$reason: leave out $odd")
    }

    private fun asked() = everything ?: EverythingArguments()

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

internal fun one(text: String) = split(text).singleOrNull() ?: throw wrong("$text is not one number")

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
