package segmentanything

/**
 * An upright RGB picture of 8 bits, without transparency.
 *
 * [rgb] holds R, G, B of each pixel, row by row; it is kept, not copied: do not change it. Throws
 * [SegmentAnythingError.Image] if there are no pixels, or not three bytes for each.
 */
class Picture(val width: Int, val height: Int, val rgb: ByteArray) {
    init {
        if (width !in 1..65_535 || height !in 1..65_535 || rgb.size.toLong() != 3L * width * height) {
            throw SegmentAnythingError.Image(
                "an image has 1 to 65535 pixels a side and 3 bytes each, not $width x $height " +
                    "and ${rgb.size} bytes"
            )
        }
    }

    /** Turns the picture upright by the orientation that a camera noted in EXIF, 1..8. */
    fun upright(orientation: Int): Picture {
        if (orientation !in 2..8) return this
        val swaps = orientation >= 5
        val wide = if (swaps) height else width
        val tall = if (swaps) width else height
        val mirrorX = orientation in setOf(2, 3, 7, 8)
        val mirrorY = orientation in setOf(3, 4, 6, 7)
        val turned = ByteArray(rgb.size)
        for (y in 0 until tall) {
            for (x in 0 until wide) {
                var column = if (swaps) y else x
                var row = if (swaps) x else y
                if (mirrorX) column = width - 1 - column
                if (mirrorY) row = height - 1 - row
                val from = (row * width + column) * 3
                val to = (y * wide + x) * 3
                for (channel in 0 until 3) turned[to + channel] = rgb[from + channel]
            }
        }
        return Picture(wide, tall, turned)
    }
}
