package segmentanything

import kotlin.math.abs

/** Pixels from a crop's side within which a mask may be cut off by it. */
private const val NEAR_EDGE = 20f

/** First and last set column and row of a mask; zeros if it is empty. */
internal data class Extent(val x0: Int, val y0: Int, val x1: Int, val y1: Int) {
    val floats get() = floatArrayOf(x0.toFloat(), y0.toFloat(), x1.toFloat(), y1.toFloat())
}

/** Tells whether a box in a crop lies near a side of it that is not near the picture's own. */
internal fun nearCropEdge(box: Extent, crop: Crop, size: Size): Boolean {
    val moved = intArrayOf(box.x0 + crop.x0, box.y0 + crop.y0, box.x1 + crop.x0, box.y1 + crop.y0)
    val ofCrop = intArrayOf(crop.x0, crop.y0, crop.x1, crop.y1)
    val ofPicture = intArrayOf(0, 0, size.width, size.height)
    fun near(sides: IntArray, at: Int) = abs(moved[at].toFloat() - sides[at].toFloat()) <= NEAR_EDGE
    return moved.indices.any { near(ofCrop, it) && !near(ofPicture, it) }
}

/** IoU of two boxes of pixels, both ends inclusive. */
internal fun pixelIou(a: Extent, b: Extent): Double {
    val wide = minOf(a.x1, b.x1) + 1 - maxOf(a.x0, b.x0)
    val tall = minOf(a.y1, b.y1) + 1 - maxOf(a.y0, b.y0)
    val both = maxOf(wide, 0).toLong() * maxOf(tall, 0)
    val areas = listOf(a, b).sumOf { (it.x1 - it.x0 + 1).toLong() * (it.y1 - it.y0 + 1) }
    return both.toDouble() / (areas - both)
}

/**
 * Keeps the best of boxes (x0, y0, x1, y1) that overlap, as torchvision's suppression does on a CPU: a side is
 * a difference without "+ 1", all in float32; equal scores keep their order. Returns the indices of those that
 * stay, best first: an IoU above [most] with a better one that stays is too much.
 */
internal fun suppress(boxes: List<FloatArray>, scores: FloatArray, most: Double): List<Int> {
    val areas = FloatArray(boxes.size) { (boxes[it][2] - boxes[it][0]) * (boxes[it][3] - boxes[it][1]) }
    val kept = mutableListOf<Int>()
    val limit = most.toFloat()
    // Every box is compared with those that stay. 0 / 0 is not above anything.
    for (at in scores.indices.sortedByDescending { scores[it] }) {
        val isClear = kept.none { better ->
            val both = shared(boxes[better], boxes[at])
            both / (areas[better] + areas[at] - both) > limit
        }
        if (isClear) kept += at
    }
    return kept
}

private fun shared(a: FloatArray, b: FloatArray): Float {
    val wide = minOf(a[2], b[2]) - maxOf(a[0], b[0])
    val tall = minOf(a[3], b[3]) - maxOf(a[1], b[1])
    return maxOf(wide, 0f) * maxOf(tall, 0f)
}
