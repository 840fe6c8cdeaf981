package segmentanything

/**
 * One mask of a picture, as the published generators record it.
 *
 * [runs] are lengths of clear and set pixels by turns, down the columns: COCO's counts. [area] counts set
 * pixels. [bbox] reaches from the first set column and row to the last: as published, its width and height
 * are one less than the number of columns and rows. [predictedIou] is the network's own estimate, of a
 * detector its score; [stabilityScore] the share that stays when the threshold rises, null of a detector.
 * [pointCoords] is the click, null if it was none; [cropBox] the crop that was asked.
 */
class Segment internal constructor(
    val runs: IntArray,
    val size: Size,
    val area: Int,
    val bbox: Rectangle,
    val predictedIou: Float,
    val stabilityScore: Float?,
    val pointCoords: Point?,
    val cropBox: Rectangle,
) {
    /** The pixels; made anew at each call. */
    val mask: Mask get() = Mask(size.width, size.height, pixelsOf(runs, size), predictedIou, null, null)

    /** [runs] as COCO's compressed text, which pycocotools reads. */
    val cocoCounts: String get() = cocoText(runs)

    /** Sets [value] in a picture's numbers wherever the mask is. */
    internal fun paint(value: Int, numbers: IntArray) = eachSpan(runs, size.height) { column, low, high ->
        for (row in low until high) numbers[row * size.width + column] = value
    }
}

/** How far a run is: prompts asked, prompts in all as far as is known, and seconds since it began. */
class EverythingProgress internal constructor(val done: Int, val planned: Int, val seconds: Double)

/** Runs of the encoder, calls of the decoder, prompts in these calls, and prompts that were planned. */
data class Asked(val images: Int, val calls: Int, val prompts: Int, val planned: Int)

/**
 * How many masks each filter left: of the [candidates] those [afterIou], [afterStability] and [afterEdges]
 * of a crop; [nms] before and after each suppression, one a crop, one between crops, one after small regions
 * were removed.
 */
data class Left(
    val candidates: Int,
    val afterIou: Int,
    val afterStability: Int,
    val afterEdges: Int,
    val nms: List<Pair<Int, Int>>,
)

/** The masks of a picture of [size], in the order of the published code, and how they came about. */
class Everything internal constructor(
    val segments: List<Segment>,
    val size: Size,
    val asked: Asked,
    val left: Left,
    /** Seconds by stage: `encode`, `decode`, `measure`, `suppress`, `encode_masks`, `clean`, `detect`, `propose`. */
    val seconds: Map<String, Double>,
    /** Whether it was cancelled before all was asked; only with `keepPartial`. */
    val partial: Boolean,
    /** Sentences for the reader, such as what `fast` cost; mostly none. */
    val notes: List<String>,
) {
    /** One number a pixel, row by row: 0 for none, i + 1 for mask i; smaller masks lie on larger. */
    fun labels(): IntArray {
        val numbers = IntArray(size.width * size.height)
        for (at in segments.indices.sortedByDescending { segments[it].area }) {
            segments[at].paint(at + 1, numbers)
        }
        return numbers
    }
}
