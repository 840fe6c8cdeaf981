package segmentanything

import kotlin.math.ceil

/** One object that a detector found; outside its box its mask is empty. */
internal class Piece(
    val score: Float, val left: Int, val top: Int, val width: Int, val height: Int, val pixels: ByteArray,
) {
    val area = pixels.sumOf { it.toInt() }

    fun holds(column: Int, row: Int): Boolean {
        val x = column - left
        val y = row - top
        return x in 0 until width && y in 0 until height && pixels[y * width + x].toInt() != 0
    }

    /** Counts pixels of the mask in a rectangle of the picture. */
    fun area(x: IntRange, y: IntRange): Int {
        val columns = maxOf(x.first, left)..minOf(x.last, left + width - 1)
        val rows = maxOf(y.first, top)..minOf(y.last, top + height - 1)
        return rows.sumOf { row -> columns.sumOf { pixels[(row - top) * width + it - left].toInt() } }
    }

    /** Sets the mask's pixels in a whole picture. */
    fun put(value: Byte, picture: ByteArray, size: Size) {
        for (y in 0 until height) {
            for (x in 0 until width) {
                if (pixels[y * width + x].toInt() != 0) picture[(y + top) * size.width + x + left] = value
            }
        }
    }
}

private class Edges(val x0: Float, val y0: Float, val x1: Float, val y1: Float) {
    private val area get() = (x1 - x0) * (y1 - y0)

    fun iou(other: Edges): Float {
        val wide = maxOf(minOf(x1, other.x1) - maxOf(x0, other.x0), 0f)
        val tall = maxOf(minOf(y1, other.y1) - maxOf(y0, other.y0), 0f)
        val both = wide * tall
        val either = area + other.area - both
        return both / (if (either == 0f) 1f else either)
    }
}

/** Does all steps of the manifest's detection rule: every object's mask, the highest score first. */
internal fun findPieces(
    outputs: Map<String, Tensor>, rule: DetectionRule, mask: MaskRule, frame: Frame,
): List<Piece> {
    fun output(name: String) = outputs[name]
        ?: throw SegmentAnythingError.Bundle("no graph gives $name; export the bundle again")
    val boxes = output("boxes").values
    val scores = output("scores").values
    val coefficients = output("coefficients")
    val prototypes = output("prototypes")
    val kinds = coefficients.shape.last()
    val fit = boxes.size == 4 * scores.size && coefficients.values.size == kinds * scores.size &&
        prototypes.shape.size == 4 && prototypes.shape[1] == kinds
    if (!fit) throw SegmentAnythingError.Bundle("the detector's outputs do not fit each other")
    // An accelerator that is silently wrong gives boxes that are no numbers.
    fun isFinite(row: Int) = (row * 4 until row * 4 + 4).all { boxes[it].isFinite() }
    val order = scores.indices.filter { scores[it] > rule.confidence.toFloat() && isFinite(it) }
        .sortedByDescending { scores[it] }
    fun edges(row: Int) = Edges(boxes[row * 4], boxes[row * 4 + 1], boxes[row * 4 + 2], boxes[row * 4 + 3])
    val making = Making(prototypes, frame, mask.threshold.toFloat())
    return suppressed(order, rule, ::edges).map { row ->
        val placed = toOriginal(snapped(edges(row), rule, frame.side), frame)
        making.piece(placed, coefficients.values.copyOfRange(row * kinds, (row + 1) * kinds), scores[row])
    }
}

private fun suppressed(order: List<Int>, rule: DetectionRule, edges: (Int) -> Edges): List<Int> {
    val kept = mutableListOf<Int>()
    var left = order
    while (left.isNotEmpty() && kept.size < rule.maxDetections) {
        kept += left[0]
        val taken = edges(left[0])
        left = left.drop(1).filter { taken.iou(edges(it)) <= rule.nmsIou.toFloat() }
    }
    return kept
}

/** Moves edges near the input's border onto it; a box that nearly fills the input becomes it. */
private fun snapped(box: Edges, rule: DetectionRule, side: Int): Edges {
    val most = side.toFloat()
    val near = rule.border.toFloat()
    val far = most - near
    val whole = Edges(0f, 0f, most, most)
    val moved = Edges(
        if (box.x0 < near) 0f else box.x0, if (box.y0 < near) 0f else box.y0,
        if (box.x1 > far) most else box.x1, if (box.y1 > far) most else box.y1,
    )
    return if (whole.iou(moved) > rule.fullBoxIou.toFloat()) whole else moved
}

private fun toOriginal(box: Edges, frame: Frame): Edges {
    val side = frame.side.toDouble()
    val width = frame.original.width.toDouble()
    val height = frame.original.height.toDouble()
    val gain = minOf(side / width, side / height)
    val left = Math.rint((side - width * gain) / 2 - 0.1).toFloat()
    val top = Math.rint((side - height * gain) / 2 - 0.1).toFloat()
    fun moved(value: Float, pad: Float, most: Double) =
        ((value - pad) / gain.toFloat()).coerceIn(0f, most.toFloat())
    return Edges(
        moved(box.x0, left, width), moved(box.y0, top, height), moved(box.x1, left, width),
        moved(box.y1, top, height),
    )
}

/** Makes detections' masks of the cells of the prototypes that the picture covers. */
private class Making(private val prototypes: Tensor, frame: Frame, private val threshold: Float) {
    private val rows: IntRange
    private val columns: IntRange
    private val upscaling: Upscaling

    init {
        val tall = prototypes.shape[2].toDouble()
        val wide = prototypes.shape[3].toDouble()
        val width = frame.original.width.toDouble()
        val height = frame.original.height.toDouble()
        val gain = minOf(wide / width, tall / height)
        val padX = (wide - width * gain) / 2
        val padY = (tall - height * gain) / 2
        columns = padX.toInt() until (wide - padX).toInt()
        rows = padY.toInt() until (tall - padY).toInt()
        upscaling = Upscaling(
            Taps.bilinear(rows.size, frame.original.height),
            Taps.bilinear(columns.size, frame.original.width),
        )
    }

    /** A pixel counts if x0 <= x < x1: from the first whole number up to before the last. */
    fun piece(box: Edges, parts: FloatArray, score: Float): Piece {
        val x0 = ceil(box.x0).toInt()
        val y0 = ceil(box.y0).toInt()
        val x1 = maxOf(x0, ceil(box.x1).toInt())
        val y1 = maxOf(y0, ceil(box.y1).toInt())
        val pixels = upscaling.mask(
            logits(parts), 0, columns.size, rows.size, threshold, y0 until y1, x0 until x1
        )
        return Piece(score, x0, y0, x1 - x0, y1 - y0, pixels)
    }

    private fun logits(parts: FloatArray): FloatArray {
        val line = prototypes.shape[3]
        val plane = prototypes.shape[2] * line
        val wide = columns.size
        val sums = FloatArray(rows.size * wide)
        for ((kind, part) in parts.withIndex()) {
            for ((y, row) in rows.withIndex()) {
                val from = kind * plane + row * line + columns.first
                for (x in 0 until wide) sums[y * wide + x] += part * prototypes.values[from + x]
            }
        }
        return sums
    }
}

/** Chooses among a picture's masks: by points or a box, or all of them without a prompt. */
internal fun choose(pieces: List<Piece>, prompts: Prompts, size: Size): List<Mask> = when {
    prompts.points.isNotEmpty() -> listOf(atPoints(pieces, prompts, size))
    prompts.box != null -> listOf(mask(inBox(pieces, prompts.box, size), size))
    else -> pieces.map { mask(it, size) }
}

private fun detected(pixels: ByteArray, size: Size, score: Float) =
    Mask(size.width, size.height, pixels, score, null, null)

private fun mask(piece: Piece?, size: Size): Mask {
    val pixels = ByteArray(size.width * size.height)
    piece?.put(1, pixels, size)
    return detected(pixels, size, piece?.score ?: 0f)
}

/**
 * Larger masks first, so that the smallest around a point decides; of several points that a mask holds the
 * last one does.
 */
private fun atPoints(pieces: List<Piece>, prompts: Prompts, size: Size): Mask {
    val merged = ByteArray(size.width * size.height)
    var score = 0f
    for (piece in pieces.sortedByDescending { it.area }) {
        for ((point, label) in prompts.points.zip(prompts.labels)) {
            val column = minOf(point.x.toInt(), size.width - 1)
            val row = minOf(point.y.toInt(), size.height - 1)
            if (!piece.holds(column, row)) continue
            piece.put(if (label == 1) 1 else 0, merged, size)
            if (label == 1) score = maxOf(score, piece.score)
        }
    }
    return detected(merged, size, score)
}

/** The mask of the highest IoU with a box, rounded to whole pixels; null if none meets it. */
private fun inBox(pieces: List<Piece>, box: Box, size: Size): Piece? {
    fun whole(value: Double) = Math.rint(value).toInt()
    val x0 = maxOf(whole(box.x0), 0)
    val x1 = maxOf(x0, minOf(whole(box.x1), size.width))
    val y0 = maxOf(whole(box.y0), 0)
    val y1 = maxOf(y0, minOf(whole(box.y1), size.height))
    var best: Piece? = null
    var most = 0.0
    for (piece in pieces) {
        val both = piece.area(x0 until x1, y0 until y1)
        val either = (x1 - x0) * (y1 - y0) + piece.area - both
        val iou = both.toDouble() / maxOf(either, 1)
        if (iou > most) {
            best = piece
            most = iou
        }
    }
    return best
}
