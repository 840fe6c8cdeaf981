package segmentanything

/** A rectangle of whole pixels. */
data class Rectangle(val x: Int, val y: Int, val width: Int, val height: Int)

/** A corner between pixels. */
data class Corner(val x: Int, val y: Int)

/**
 * One mask at the picture's size.
 *
 * [pixels] are 1 inside, 0 outside, row by row. [iouPrediction] is the network's own estimate of the mask's
 * quality; of a detection its score. [stability] is what ranks masks, if the bundle ranks them by it.
 * [lowResMasks] are logits (1, h, w), a later `mask`; null if the bundle gives none.
 */
class Mask internal constructor(
    val width: Int,
    val height: Int,
    val pixels: ByteArray,
    val iouPrediction: Float,
    val stability: Float?,
    val lowResMasks: Tensor?,
) {
    /** What ranks masks. */
    val score: Float get() = stability ?: iouPrediction

    /** Pixels inside. */
    val area: Int get() = pixels.sumOf { it.toInt() }

    /** The smallest rectangle around the mask, in pixels of the picture; null for an empty mask. */
    val boundingBox: Rectangle?
        get() {
            var left = width
            var right = -1
            var top = -1
            var bottom = -1
            for (y in 0 until height) {
                val row = y * width
                val first = (0 until width).firstOrNull { pixels[row + it].toInt() != 0 } ?: continue
                left = minOf(left, first)
                right = maxOf(right, (width - 1 downTo first).first { pixels[row + it].toInt() != 0 })
                if (top < 0) top = y
                bottom = y
            }
            return if (bottom < 0) null else Rectangle(left, top, right - left + 1, bottom - top + 1)
        }

    /**
     * Traces the outline, as rings of corners of pixels that are not closed; it may deviate by [tolerance]
     * pixels, 0 keeps every corner.
     *
     * The mask is on the right of every step: outer rings are clockwise on a screen, those of holes
     * counterclockwise. Pixels that touch at a corner only are apart. Rings that simplify to a line or a
     * point are left out. Throws [SegmentAnythingError.Request] if the tolerance is negative or not finite.
     */
    fun polygon(tolerance: Double = 1.0): List<List<Corner>> {
        if (!(tolerance >= 0 && tolerance.isFinite())) {
            throw SegmentAnythingError.Request(
                "a polygon's tolerance is 0 or more pixels, not ${plain(tolerance)}"
            )
        }
        return Outline(pixels, width, height).rings().map { simplified(it, tolerance) }.filter { it.size > 2 }
    }
}

/** Index of the mask with the highest score, the first of several; null if there is none. */
val List<Mask>.best: Int? get() = indices.maxByOrNull { this[it].score }
