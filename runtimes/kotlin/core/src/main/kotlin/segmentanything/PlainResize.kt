package segmentanything

import kotlin.math.floor

/**
 * Resizes RGB in floats by two neighbours each way with half-pixel centres, columns first. A shrinking
 * picture is not smoothed before.
 */
internal fun plainFloats(picture: Picture, size: Size): FloatArray {
    val columns = Neighbours(picture.width, size.width)
    val rows = Neighbours(picture.height, size.height)
    val line = size.width * 3
    val wide = FloatArray(picture.height * line)
    for (y in 0 until picture.height) {
        val row = y * picture.width
        for (x in 0 until size.width) {
            val part = columns.part[x].toFloat()
            for (channel in 0 until 3) {
                val first = picture.level((row + columns.low[x]) * 3 + channel).toFloat()
                val second = picture.level((row + columns.high[x]) * 3 + channel).toFloat()
                wide[y * line + x * 3 + channel] = first + (second - first) * part
            }
        }
    }
    val out = FloatArray(size.height * line)
    for (y in 0 until size.height) {
        val low = rows.low[y] * line
        val high = rows.high[y] * line
        val part = rows.part[y].toFloat()
        for (x in 0 until line) out[y * line + x] = wide[low + x] + (wide[high + x] - wide[low + x]) * part
    }
    return out
}

private fun Picture.level(at: Int): Int = rgb[at].toInt() and 0xff

/** For each new place: the two old ones around it, and the share of the second. */
internal class Neighbours(old: Int, new: Int) {
    val low = IntArray(new)
    val high = IntArray(new)
    val part = DoubleArray(new)

    init {
        for (place in 0 until new) {
            val position = maxOf(0.0, (place + 0.5) * old / new - 0.5)
            low[place] = minOf(position.toInt(), old - 1)
            high[place] = minOf(low[place] + 1, old - 1)
            part[place] = position - low[place]
        }
    }
}

/** Resizes RGB bytes as OpenCV's INTER_LINEAR does, in whole numbers of 2048ths. */
internal fun opencvBytes(picture: Picture, size: Size): ByteArray {
    val columns = Fixed(picture.width, size.width, clampsFirst = true)
    val rows = Fixed(picture.height, size.height, clampsFirst = false)
    val line = size.width * 3
    val wide = IntArray(picture.height * line)
    for (y in 0 until picture.height) {
        for (x in 0 until size.width) {
            val left = (y * picture.width + columns.low[x]) * 3
            val right = (y * picture.width + columns.high[x]) * 3
            for (channel in 0 until 3) {
                wide[y * line + x * 3 + channel] = picture.level(left + channel) * columns.near[x] +
                    picture.level(right + channel) * columns.far[x]
            }
        }
    }
    val out = ByteArray(size.height * line)
    for (y in 0 until size.height) {
        val above = rows.low[y] * line
        val below = rows.high[y] * line
        for (x in 0 until line) {
            // The two halves lose their bits apart, even if both are the same row.
            val upper = ((wide[above + x] shr 4) * rows.near[y]) shr 16
            val lower = ((wide[below + x] shr 4) * rows.far[y]) shr 16
            out[y * line + x] = ((upper + lower + 2) shr 2).coerceIn(0, 255).toByte()
        }
    }
    return out
}

/** Beyond the centre of the outermost pixel that pixel alone counts, if `clampsFirst`. */
private class Fixed(old: Int, new: Int, clampsFirst: Boolean) {
    val low = IntArray(new)
    val high = IntArray(new)
    val near = IntArray(new)
    val far = IntArray(new)

    init {
        val scale = 1 / (new.toDouble() / old)
        for (place in 0 until new) {
            val position = ((place + 0.5) * scale - 0.5).toFloat()
            val first = floor(position).toInt()
            val part = if (clampsFirst && first < 0) 0f else position - first
            low[place] = first.coerceIn(0, old - 1)
            high[place] = (first + 1).coerceIn(0, old - 1)
            near[place] = Math.rint(((1 - part) * 2048).toDouble()).toInt()
            far[place] = Math.rint((part * 2048).toDouble()).toInt()
        }
    }
}
