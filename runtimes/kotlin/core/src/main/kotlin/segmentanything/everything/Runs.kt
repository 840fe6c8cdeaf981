package segmentanything

/** Integers that grow. */
internal class IntList {
    private var values = IntArray(64)
    var size = 0
        private set

    operator fun plusAssign(value: Int) {
        if (size == values.size) values = values.copyOf(size * 2)
        values[size++] = value
    }

    operator fun get(at: Int) = values[at]

    operator fun set(at: Int, value: Int) {
        values[at] = value
    }

    fun array(): IntArray = values.copyOf(size)
}

/** Makes run lengths of spans that come column by column and down each; touching ones become one run. */
internal class RunWriter(private val size: Size) {
    private val runs = IntList()
    private var end = 0 // of the last set run

    fun add(column: Int, low: Int, high: Int) {
        val start = column * size.height + low
        if (start == end && runs.size > 0) {
            runs[runs.size - 1] = runs[runs.size - 1] + high - low
        } else {
            runs += start - end
            runs += high - low
        }
        end = column * size.height + high
    }

    fun finish(): IntArray {
        val pixels = size.width * size.height
        // A mask that ends with the picture has no clear run after it; an empty picture's one run stays.
        if (end < pixels || runs.size == 0) runs += pixels - end
        return runs.array()
    }
}

/** Splits the set runs at the ends of columns: column, first row, and row after the last. */
internal inline fun eachSpan(runs: IntArray, height: Int, take: (column: Int, low: Int, high: Int) -> Unit) {
    var start = 0
    for ((at, length) in runs.withIndex()) {
        val end = start + length
        if (at % 2 == 1) {
            while (start < end) {
                val column = start / height
                val stop = minOf(end, (column + 1) * height)
                take(column, start - column * height, stop - column * height)
                start = stop
            }
        }
        start = end
    }
}

/** Run lengths of the pixels that are clear in others. */
internal fun inverted(runs: IntArray): IntArray =
    if (runs[0] == 0) runs.copyOfRange(1, runs.size) else intArrayOf(0) + runs

internal fun areaOf(runs: IntArray): Int = (1 until runs.size step 2).sumOf { runs[it] }

internal fun extentOf(runs: IntArray, height: Int): Extent {
    var left = -1
    var top = height
    var right = 0
    var bottom = 0
    eachSpan(runs, height) { column, low, high ->
        if (left < 0) left = column
        right = column
        top = minOf(top, low)
        bottom = maxOf(bottom, high - 1)
    }
    return if (left < 0) Extent(0, 0, 0, 0) else Extent(left, top, right, bottom)
}

/** A byte of 0 or 1 a pixel, row by row. */
internal fun pixelsOf(runs: IntArray, size: Size): ByteArray {
    val pixels = ByteArray(size.width * size.height)
    eachSpan(runs, size.height) { column, low, high ->
        for (row in low until high) pixels[row * size.width + column] = 1
    }
    return pixels
}

/** Run lengths of a mask that is clear outside a rectangle, in whose columns and rows [isSet] is asked. */
internal inline fun runsOf(part: Rectangle, picture: Size, isSet: (column: Int, row: Int) -> Boolean): IntArray {
    val writer = RunWriter(picture)
    for (column in 0 until part.width) {
        var low = -1
        for (row in 0..part.height) {
            val set = row < part.height && isSet(column, row)
            if (set && low < 0) low = row
            if (!set && low >= 0) {
                writer.add(part.x + column, part.y + low, part.y + row)
                low = -1
            }
        }
    }
    return writer.finish()
}

private const val CHARACTER = 48
private const val BITS = 5
private const val SIGN = 0x10
private const val MORE = 0x20

/** Spells run lengths as COCO does: each less the last but one, five bits a sign. */
internal fun cocoText(runs: IntArray): String {
    val text = StringBuilder()
    for (at in runs.indices) {
        var number = if (at > 2) runs[at] - runs[at - 2] else runs[at]
        do {
            val bits = number and (MORE - 1)
            number = number shr BITS
            val goesOn = number != (if (bits and SIGN != 0) -1 else 0)
            text.append((CHARACTER + (if (goesOn) bits or MORE else bits)).toChar())
        } while (goesOn)
    }
    return text.toString()
}
