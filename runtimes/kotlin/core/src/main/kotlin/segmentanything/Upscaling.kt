package segmentanything

import kotlin.math.abs
import kotlin.math.floor

/** Takes the weight of an old place. */
internal fun interface TakeTap {
    fun take(at: Int, weight: Double)
}

/**
 * A sparse matrix of [count] rows, one for each new place: [reach] weights from the old place [first] on.
 *
 * [each] is asked twice for the weights of every row; a place may come twice. A list a row would be ten
 * thousands of objects a click.
 */
internal class Taps private constructor(count: Int, each: (row: Int, tap: TakeTap) -> Unit) {
    val first = IntArray(count) { Int.MAX_VALUE }
    val reach: Int
    val weights: FloatArray

    init {
        var row = 0
        var last = 0
        val widen = TakeTap { at, _ ->
            first[row] = minOf(first[row], at)
            last = maxOf(last, at)
        }
        var most = 1
        while (row < count) {
            last = 0
            each(row, widen)
            most = maxOf(most, last - first[row] + 1)
            row++
        }
        reach = most
        val found = FloatArray(count * most)
        val add = TakeTap { at, weight -> found[row * most + at - first[row]] += weight.toFloat() }
        row = 0
        while (row < count) {
            each(row, add)
            row++
        }
        weights = found
    }

    /** Old places up to the last that has a weight. */
    val used: Int
        get() = 1 + weights.indices.maxOf { if (weights[it] == 0f) 0 else first[it / reach] + it % reach }

    companion object {
        /** Interpolates bilinearly with half-pixel centres. */
        fun bilinear(old: Int, new: Int): Taps {
            val found = Neighbours(old, new)
            return Taps(new) { place, tap -> found.taps(place, tap) }
        }

        /** Interpolates by cubic convolution (Keys 1981, a = -0.75) with half-pixel centres, edges clamped. */
        fun bicubic(old: Int, new: Int) = Taps(new) { place, tap ->
            val position = (place + 0.5) * old / new - 0.5
            val first = floor(position).toInt()
            for (at in first - 1..first + 2) tap.take(at.coerceIn(0, old - 1), cubic(abs(position - at)))
        }

        /** Interpolates bilinearly to [middle], keeps the first [kept] of it, and interpolates those to [new]. */
        fun through(old: Int, middle: Int, kept: Int, new: Int): Taps {
            val inner = Neighbours(old, middle)
            val outer = Neighbours(kept, new)
            return Taps(new) { place, tap ->
                outer.taps(place) { at, weight -> inner.taps(at) { i, part -> tap.take(i, weight * part) } }
            }
        }

        private fun Neighbours.taps(place: Int, tap: TakeTap) {
            tap.take(low[place], 1 - part[place])
            tap.take(high[place], part[place])
        }

        private fun cubic(x: Double): Double {
            val a = -0.75
            return if (x <= 1) ((a + 2) * x - (a + 3)) * x * x + 1 else a * (((x - 5) * x + 8) * x - 4)
        }
    }
}

/** How many numbers a range holds; `count()` would walk through them. */
internal val IntRange.size: Int get() = maxOf(0, last - first + 1)

/** Upscales logits, and compares them with a threshold. */
internal class Upscaling(val rows: Taps, val columns: Taps) {
    /**
     * Makes the rectangle [y] x [x] of a mask, a byte of 0 or 1 a pixel, of logits in lines of [line] from
     * [from] on, [lines] of them.
     */
    fun mask(
        logits: FloatArray, from: Int, line: Int, lines: Int, threshold: Float, y: IntRange, x: IntRange,
    ): ByteArray {
        val width = x.size
        val wide = widened(logits, from, line, lines, x)
        val out = ByteArray(width * y.size)
        val sums = FloatArray(width)
        var to = 0
        for (row in y) {
            sums.fill(0f)
            val first = rows.first[row]
            for (tap in 0 until minOf(rows.reach, lines - first)) {
                val weight = rows.weights[row * rows.reach + tap]
                if (weight != 0f) add(wide, (first + tap) * width, weight, sums)
            }
            for (column in 0 until width) out[to + column] = if (sums[column] > threshold) 1 else 0
            to += width
        }
        return out
    }

    private fun add(wide: FloatArray, from: Int, weight: Float, sums: FloatArray) {
        for (at in sums.indices) sums[at] += weight * wide[from + at]
    }

    private fun widened(logits: FloatArray, from: Int, line: Int, lines: Int, x: IntRange): FloatArray {
        val width = x.size
        val out = FloatArray(lines * width)
        for (row in 0 until lines) {
            for (place in 0 until width) {
                val column = x.first + place
                val first = columns.first[column]
                var sum = 0f
                for (tap in 0 until minOf(columns.reach, line - first)) {
                    sum += columns.weights[column * columns.reach + tap] * logits[from + row * line + first + tap]
                }
                out[row * width + place] = sum
            }
        }
        return out
    }

    companion object {
        /** Upscales square logits of [side] a row to the picture. */
        fun of(side: Int, frame: Frame, how: Upscale): Upscaling {
            val original = frame.original
            val published = frame.publishedSize
            fun each(taps: (Int, Int) -> Taps) =
                Upscaling(taps(original.height, published.height), taps(original.width, published.width))
            return when (how) {
                Upscale.BICUBIC_ONCE -> each { new, _ -> Taps.bicubic(side, new) }
                Upscale.BILINEAR_ONCE, Upscale.SIGMOID_BILINEAR_ONCE -> each { new, _ -> Taps.bilinear(side, new) }
                // The part of the logits that the picture covers, straight to its size.
                Upscale.CROP_BILINEAR -> each { new, _ ->
                    Taps.bilinear(maxOf(1, side * new / original.longest), new)
                }
                Upscale.BILINEAR, Upscale.LETTERBOX_BILINEAR -> each { new, kept ->
                    Taps.through(side, frame.publishedSide, kept, new)
                }
            }
        }
    }
}
