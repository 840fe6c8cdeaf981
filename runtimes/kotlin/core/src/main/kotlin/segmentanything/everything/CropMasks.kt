package segmentanything

import kotlin.math.ceil
import kotlin.math.tanh

/** More than rounding can move a logit between its neighbours. */
private const val SURE = 1e-3f
private const val HUGE = 1e30f

/** Columns of the picture that are judged at once. */
private const val BLOCK = 32

/** What one mask is at a crop's size: pixels above both edges of the threshold's band, and its box. */
internal class Measured(above: Int, within: Int, val box: Extent) {
    /** Share of the mask that stays when the threshold rises; not a number for 0 / 0. */
    val stability: Float = above.toFloat() / within.toFloat()

    /** Whether the mask is stable enough, as float32 decides; 0 keeps all. */
    fun isStable(least: Double): Boolean = !(least > 0) || stability >= least.toFloat()
}

/**
 * Masks of a crop from logits of [side] a row, one at a time; nothing of the crop's size is held in floats.
 *
 * Both interpolations are one matrix a side. Blocks whose logits all lie on one side of every threshold are
 * counted and not computed, which is nearly all of a mask.
 */
internal class CropMasks(
    val size: Size, upscaling: Upscaling, private val side: Int, private val squashed: Boolean,
) {
    private val rows = upscaling.rows
    private val columns = upscaling.columns

    // Cubic weights overshoot what they lie between, so nothing is sure of a block.
    private val convex = rows.weights.all { it >= 0 } && columns.weights.all { it >= 0 }

    // Rows and columns of the logits that the crop is made of.
    private val tall = rows.used
    private val wide = columns.used
    private val line = FloatArray(side)
    private val most = FloatArray(side)

    /** Counts a mask's stability band and finds its box, without making it. */
    fun measure(logits: FloatArray, threshold: Double, offset: Double): Measured {
        val upper = edge(threshold + offset)
        val middle = edge(threshold)
        val lower = edge(threshold - offset)
        var above = 0
        var within = 0
        var left = size.width
        var right = -1
        var top = -1
        var bottom = -1
        fun set(row: Int, first: Int, last: Int) {
            left = minOf(left, first)
            right = maxOf(right, last)
            if (top < 0) top = row
            bottom = row
        }
        walk(prepared(logits), lower, upper, 0, size.height - 1, { row, from, to ->
            above += to - from
            within += to - from
            set(row, from, to - 1)
        }) { row, column, value ->
            if (value > upper) above++
            if (value > lower) within++
            if (value > middle) set(row, column, column)
        }
        return Measured(above, within, if (right < 0) Extent(0, 0, 0, 0) else Extent(left, top, right, bottom))
    }

    /** Does as [measure] on the logits as they are: a hundred times quicker, and not the published numbers. */
    fun measureLow(given: FloatArray, threshold: Double, offset: Double): Measured {
        val upper = (threshold + offset).toFloat()
        val middle = threshold.toFloat()
        val lower = (threshold - offset).toFloat()
        val logits = finite(given)
        var above = 0
        var within = 0
        val xs = BooleanArray(wide)
        val ys = BooleanArray(tall)
        for (row in 0 until tall) {
            for (column in 0 until wide) {
                val value = logits[row * side + column]
                if (value > upper) above++
                if (value > lower) within++
                if (value > middle) {
                    xs[column] = true
                    ys[row] = true
                }
            }
        }
        if (true !in xs) return Measured(above, within, Extent(0, 0, 0, 0))
        val (x0, x1) = scaled(xs, size.width)
        val (y0, y1) = scaled(ys, size.height)
        return Measured(above, within, Extent(x0, y0, x1, y1))
    }

    /** First and last set place in pixels of the crop. */
    private fun scaled(marked: BooleanArray, pixels: Int): Pair<Int, Int> {
        val share = pixels.toDouble() / marked.size
        val end = ceil((marked.lastIndexOf(true) + 1) * share).toInt() - 1
        return (marked.indexOf(true) * share).toInt() to minOf(pixels - 1, end)
    }

    /** Run lengths, in a picture of [picture] in which the crop begins at [x], [y], of a mask in its [box]. */
    fun runs(logits: FloatArray, threshold: Double, box: Extent, x: Int, y: Int, picture: Size): IntArray {
        val tall = box.y1 - box.y0 + 1
        val part = ByteArray((box.x1 - box.x0 + 1) * tall) // column by column
        eachSet(logits, threshold, box.y0, box.y1) { row, column ->
            if (column in box.x0..box.x1) part[(column - box.x0) * tall + row - box.y0] = 1
        }
        val place = Rectangle(x + box.x0, y + box.y0, box.x1 - box.x0 + 1, tall)
        return runsOf(place, picture) { column, row -> part[column * tall + row].toInt() != 0 }
    }

    /** Sets, row by row, where a mask is. */
    fun cover(logits: FloatArray, threshold: Double, covered: BooleanArray) =
        eachSet(logits, threshold, 0, size.height - 1) { row, column -> covered[row * size.width + column] = true }

    private inline fun eachSet(
        logits: FloatArray, threshold: Double, top: Int, bottom: Int, set: (row: Int, column: Int) -> Unit,
    ) {
        val edge = edge(threshold)
        walk(prepared(logits), edge, edge, top, bottom, { row, from, to ->
            for (column in from until to) set(row, column)
        }) { row, column, value -> if (value > edge) set(row, column) }
    }

    private fun edge(threshold: Double): Float = (if (squashed) tanh(threshold / 2) else threshold).toFloat()

    /** Puts a number far below every threshold where a logit is none. */
    private fun finite(logits: FloatArray): FloatArray {
        if (logits.all { it.isFinite() }) return logits
        return FloatArray(logits.size) { at ->
            logits[at].let { if (it.isNaN()) -HUGE else it.coerceIn(-HUGE, HUGE) }
        }
    }

    private fun prepared(logits: FloatArray): FloatArray {
        val known = finite(logits)
        return if (squashed) FloatArray(known.size) { tanh(known[it] / 2) } else known
    }

    /** Goes through what may be above [low]: [all] of a block that is surely above [high], else [each] pixel. */
    private inline fun walk(
        logits: FloatArray, low: Float, high: Float, top: Int, bottom: Int,
        all: (row: Int, from: Int, to: Int) -> Unit, each: (row: Int, column: Int, value: Float) -> Unit,
    ) {
        findMost(logits)
        for (row in top..bottom) {
            if (convex && isBelow(row, low - SURE)) continue
            interpolate(logits, row)
            for (from in 0 until size.width step BLOCK) {
                val to = minOf(from + BLOCK, size.width)
                val judged = if (convex) judge(from, to, low - SURE, high + SURE) else 0
                if (judged > 0) all(row, from, to)
                if (judged != 0) continue
                for (column in from until to) each(row, column, value(column))
            }
        }
    }

    private fun findMost(logits: FloatArray) {
        for (row in 0 until side) {
            var found = Float.NEGATIVE_INFINITY
            for (at in row * side until (row + 1) * side) found = maxOf(found, logits[at])
            most[row] = found
        }
    }

    private fun isBelow(row: Int, low: Float): Boolean {
        val first = rows.first[row]
        for (at in first until minOf(side, first + rows.reach)) if (most[at] > low) return false
        return true
    }

    /** Interpolates one row of the crop, at the logits' columns. */
    private fun interpolate(logits: FloatArray, row: Int) {
        val first = rows.first[row]
        line.fill(0f)
        for (tap in 0 until minOf(rows.reach, side - first)) {
            val weight = rows.weights[row * rows.reach + tap]
            if (weight == 0f) continue
            val from = (first + tap) * side
            for (at in 0 until side) line[at] += weight * logits[from + at]
        }
    }

    /** 1 if all columns from [from] until [to] are above [high], -1 if all are below [low], else 0. */
    private fun judge(from: Int, to: Int, low: Float, high: Float): Int {
        var least = Float.POSITIVE_INFINITY
        var greatest = Float.NEGATIVE_INFINITY
        for (at in columns.first[from] until minOf(side, columns.first[to - 1] + columns.reach)) {
            least = minOf(least, line[at])
            greatest = maxOf(greatest, line[at])
        }
        return if (least > high) 1 else if (greatest <= low) -1 else 0
    }

    private fun value(column: Int): Float {
        val first = columns.first[column]
        var sum = 0f
        for (tap in 0 until minOf(columns.reach, side - first)) {
            sum += columns.weights[column * columns.reach + tap] * line[first + tap]
        }
        return sum
    }
}
