package segmentanything

import kotlin.math.exp
import kotlin.math.floor
import kotlin.math.pow
import kotlin.math.sqrt

/**
 * Resizes RGB bytes as scikit-image does with a cubic spline, columns first; see
 * exporter/bundle/spline_resize.py. Fractions are cut off.
 */
internal fun splineBytes(picture: Picture, size: Size): ByteArray {
    val columns = Spline(picture.width, size.width)
    val rows = Spline(picture.height, size.height)
    val line = size.width * 3
    val wide = FloatArray(picture.height * line)
    for (y in 0 until picture.height) {
        for (channel in 0 until 3) {
            val from = y * picture.width * 3 + channel
            val new = columns.resized(DoubleArray(picture.width) { byte(picture, from + it * 3) })
            for (x in new.indices) wide[y * line + x * 3 + channel] = new[x].toFloat()
        }
    }
    var low = 255.0
    var high = 0.0
    for (at in picture.rgb.indices) {
        low = minOf(low, byte(picture, at))
        high = maxOf(high, byte(picture, at))
    }
    val out = ByteArray(size.height * line)
    for (x in 0 until line) {
        val new = rows.resized(DoubleArray(picture.height) { wide[it * line + x].toDouble() })
        // What is a whole number but for rounding stays that.
        for (y in new.indices) out[y * line + x] = floor(new[y].coerceIn(low, high) + 1.0 / 4096).toInt().toByte()
    }
    return out
}

private fun byte(picture: Picture, at: Int): Double = (picture.rgb[at].toInt() and 0xff).toDouble()

private val POLE = sqrt(3.0) - 2

/** An axis: a Gaussian if it shrinks, the coefficients of the cubic spline, and the spline at new places. */
private class Spline(private val old: Int, private val new: Int) {
    private val kernel = gaussian((old.toDouble() / new - 1) / 2)
    private val start = DoubleArray(old) {
        if (it in 1 until old - 1) POLE.pow(it) + POLE.pow(2 * old - 2 - it) else POLE.pow(it)
    }

    fun resized(values: DoubleArray): DoubleArray {
        val coefficients = filtered(smoothed(values))
        return DoubleArray(new) { place ->
            val position = (place + 0.5) * old / new - 0.5
            val first = floor(position)
            val weights = weights(position - first)
            var sum = 0.0
            for (at in 0 until 4) sum += weights[at] * coefficients[mirrored(first.toInt() - 1 + at)]
            sum
        }
    }

    private fun smoothed(values: DoubleArray): DoubleArray {
        val radius = kernel.size / 2
        if (radius == 0) return values
        return DoubleArray(old) { place ->
            var sum = 0.0
            for (at in kernel.indices) sum += values[mirrored(place + at - radius)] * kernel[at]
            sum
        }
    }

    /** Filters values into the coefficients of the spline that goes through them. */
    private fun filtered(values: DoubleArray): DoubleArray {
        if (old == 1) return values
        val held = DoubleArray(old) { values[it] * 6 }
        var first = 0.0
        for (at in 0 until old) first += start[at] * held[at]
        held[0] = first / (1 - POLE.pow(2 * old - 2))
        for (at in 1 until old) held[at] += POLE * held[at - 1]
        held[old - 1] = (POLE / (POLE * POLE - 1)) * (held[old - 1] + POLE * held[old - 2])
        for (at in old - 2 downTo 0) held[at] = POLE * (held[at + 1] - held[at])
        return held
    }

    /** Mirrors a place at the outermost pixels' centres. */
    private fun mirrored(place: Int): Int {
        if (old == 1) return 0
        val period = 2 * old - 2
        val folded = Math.floorMod(place, period)
        return minOf(folded, period - folded)
    }
}

private fun gaussian(sigma: Double): DoubleArray {
    val radius = if (sigma > 0) (4 * sigma + 0.5).toInt() else 0
    if (radius == 0) return doubleArrayOf(1.0)
    val kernel = DoubleArray(2 * radius + 1) { exp(-0.5 * (it - radius) * (it - radius) / (sigma * sigma)) }
    val total = kernel.sum()
    return DoubleArray(kernel.size) { kernel[it] / total }
}

private fun weights(t: Double): DoubleArray {
    val u = 1 - t
    return doubleArrayOf(
        u * u * u / 6, (4 + t * t * (3 * t - 6)) / 6, (4 + u * u * (3 * u - 6)) / 6, t * t * t / 6,
    )
}
