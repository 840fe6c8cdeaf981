package segmentanything

import kotlin.math.abs
import kotlin.math.ceil

/** Pillow's antialiased resize: a triangle or a cubic that grows with the ratio, one axis after the other. */
internal enum class PillowFilter(val support: Double) {
    BILINEAR(1.0),
    BICUBIC(2.0);

    fun weight(distance: Double): Double {
        val x = abs(distance)
        if (this == BILINEAR) return if (x < 1) 1 - x else 0.0
        val a = -0.5
        if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1
        return if (x < 2) (((x - 5) * x + 8) * x - 4) * a else 0.0
    }
}

/** For every new place along an axis: the first old place that counts, and [reach] weights from there. */
private class PillowWeights(old: Int, new: Int, filter: PillowFilter) {
    val first = IntArray(new)
    val count = IntArray(new)
    val reach: Int
    val weights: DoubleArray

    init {
        val scale = old.toDouble() / new
        val wide = maxOf(scale, 1.0)
        val support = filter.support * wide
        reach = ceil(support).toInt() * 2 + 1
        weights = DoubleArray(reach * new)
        for (place in 0 until new) {
            val centre = (place + 0.5) * scale
            val from = maxOf(0, (centre - support + 0.5).toInt())
            val to = minOf(old, (centre + support + 0.5).toInt())
            var sum = 0.0
            for (i in 0 until to - from) {
                val weight = filter.weight((i + from - centre + 0.5) * (1 / wide))
                weights[place * reach + i] = weight
                sum += weight
            }
            if (sum != 0.0) for (i in 0 until to - from) weights[place * reach + i] /= sum
            first[place] = from
            count[place] = to - from
        }
    }

    /** The weights in whole numbers of 2^-22. */
    fun fixed() = IntArray(weights.size) { at ->
        val scaled = weights[at] * (1 shl 22)
        (if (weights[at] < 0) scaled - 0.5 else scaled + 0.5).toInt()
    }
}

private const val HALF = 1 shl 21

private fun byte(sum: Int): Byte = (sum shr 22).coerceIn(0, 255).toByte()

/** Resizes RGB bytes; rounds to bytes after each axis, as Pillow does. */
internal fun pillowBytes(picture: Picture, size: Size, filter: PillowFilter): ByteArray {
    var pixels = picture.rgb
    if (size.width != picture.width) {
        val weights = PillowWeights(picture.width, size.width, filter)
        pixels = shrinkRows(pixels, picture.width, picture.height, size.width, weights)
    }
    if (size.height != picture.height) {
        pixels = shrinkColumns(pixels, size, PillowWeights(picture.height, size.height, filter))
    }
    return pixels
}

private fun shrinkRows(
    pixels: ByteArray, old: Int, height: Int, new: Int, weights: PillowWeights,
): ByteArray {
    val fixed = weights.fixed()
    val out = ByteArray(height * new * 3)
    for (row in 0 until height) {
        shrinkRow(pixels, row * old * 3, out, row * new * 3, weights, fixed)
    }
    return out
}

private fun shrinkRow(
    pixels: ByteArray, from: Int, out: ByteArray, start: Int, weights: PillowWeights, fixed: IntArray,
) {
    var to = start
    for (place in weights.first.indices) {
        var r = HALF
        var g = HALF
        var b = HALF
        var at = from + weights.first[place] * 3
        val tap = place * weights.reach
        for (i in tap until tap + weights.count[place]) {
            val weight = fixed[i]
            r += (pixels[at].toInt() and 0xff) * weight
            g += (pixels[at + 1].toInt() and 0xff) * weight
            b += (pixels[at + 2].toInt() and 0xff) * weight
            at += 3
        }
        out[to] = byte(r)
        out[to + 1] = byte(g)
        out[to + 2] = byte(b)
        to += 3
    }
}

private fun shrinkColumns(pixels: ByteArray, size: Size, weights: PillowWeights): ByteArray {
    val fixed = weights.fixed()
    val line = size.width * 3
    val out = ByteArray(size.height * line)
    val sums = IntArray(line)
    for (y in 0 until size.height) {
        sums.fill(HALF)
        for (i in 0 until weights.count[y]) {
            addRow(pixels, (weights.first[y] + i) * line, fixed[y * weights.reach + i], sums)
        }
        for (x in 0 until line) out[y * line + x] = byte(sums[x])
    }
    return out
}

private fun addRow(pixels: ByteArray, from: Int, weight: Int, sums: IntArray) {
    for (x in sums.indices) sums[x] += (pixels[from + x].toInt() and 0xff) * weight
}

/** Resizes RGB in floats; nothing is rounded but to a float after each axis. */
internal fun pillowFloats(picture: Picture, size: Size): FloatArray {
    var pixels = FloatArray(picture.rgb.size) { (picture.rgb[it].toInt() and 0xff).toFloat() }
    if (size.width != picture.width) {
        val weights = PillowWeights(picture.width, size.width, PillowFilter.BILINEAR)
        pixels = resample(pixels, weights, picture.height, picture.width * 3, 3)
    }
    if (size.height != picture.height) {
        val weights = PillowWeights(picture.height, size.height, PillowFilter.BILINEAR)
        pixels = resample(pixels, weights, 1, 0, size.width * 3)
    }
    return pixels
}

/** Resizes one channel of floats; Pillow's picture of mode F. */
internal fun pillowFloats(values: FloatArray, old: Size, size: Size): FloatArray {
    var pixels = values
    if (size.width != old.width) {
        val weights = PillowWeights(old.width, size.width, PillowFilter.BILINEAR)
        pixels = resample(pixels, weights, old.height, old.width, 1)
    }
    if (size.height != old.height) {
        val weights = PillowWeights(old.height, size.height, PillowFilter.BILINEAR)
        pixels = resample(pixels, weights, 1, 0, size.width)
    }
    return pixels
}

/** Resamples [lines] of [line] numbers along an axis whose neighbours are [step] numbers apart. */
private fun resample(
    pixels: FloatArray, weights: PillowWeights, lines: Int, line: Int, step: Int,
): FloatArray {
    val new = weights.first.size
    val out = FloatArray(lines * new * step)
    for (row in 0 until lines) {
        for (place in 0 until new) {
            val from = row * line + weights.first[place] * step
            val to = (row * new + place) * step
            for (part in 0 until step) {
                var sum = 0.0
                for (i in 0 until weights.count[place]) {
                    sum += pixels[from + part + i * step] * weights.weights[place * weights.reach + i]
                }
                out[to + part] = sum.toFloat()
            }
        }
    }
    return out
}
