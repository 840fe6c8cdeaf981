package segmentanything

import kotlin.math.ceil
import kotlin.math.pow

/** A part of a picture, in its pixels; x1 and y1 are exclusive. */
internal data class Crop(val x0: Int, val y0: Int, val x1: Int, val y1: Int) {
    val size get() = Size(x1 - x0, y1 - y0)
    val rectangle get() = Rectangle(x0, y0, x1 - x0, y1 - y0)
}

/** The centres of side x side cells, in 0..1, row by row: numpy's `linspace` to the last bit. */
internal fun pointGrid(side: Int): List<Point> {
    if (side < 1) {
        throw SegmentAnythingError.Request("a grid of points needs at least one point a side: ask for more points")
    }
    val half = 1.0 / (2 * side)
    val end = 1 - half
    val step = if (side > 1) (end - half) / (side - 1) else 0.0
    val along = DoubleArray(side) { if (it == side - 1 && side > 1) end else it * step + half }
    return List(side * side) { Point(along[it % side], along[it / side]) }
}

/** The grid of the picture, then those of each layer's crops. */
internal fun Settings.grids(): List<List<Point>> {
    val side = pointsPerSide ?: return pointGrids.orEmpty()
    return List(cropNLayers + 1) { pointGrid((side / cropNPointsDownscaleFactor.pow(it)).toInt()) }
}

/** The whole picture, then 2^i x 2^i overlapping crops of each layer i, x outer; each with its layer. */
internal fun cropsOf(size: Size, layers: Int, overlap: Double): List<Pair<Crop, Int>> {
    val found = mutableListOf(Crop(0, 0, size.width, size.height) to 0)
    for (layer in 1..layers) {
        val count = 1 shl layer
        val shared = (overlap * minOf(size.height, size.width) * (2.0 / count)).toInt()
        fun side(whole: Int) = ceil((shared * (count - 1) + whole).toDouble() / count).toInt()
        val wide = side(size.width)
        val tall = side(size.height)
        for (column in 0 until count) {
            for (row in 0 until count) {
                val x = (wide - shared) * column
                val y = (tall - shared) * row
                found += Crop(x, y, minOf(x + wide, size.width), minOf(y + tall, size.height)) to layer
            }
        }
    }
    return found
}

private val AROUND = -1..1

/**
 * The fine points around each coarse one that no pixel of [sure] covers, as TinySAM lists them: eight
 * neighbours at strides of whole pixels, x outer; then two strides to the right, two down, and both, if the
 * picture goes so far. They come back from shares of the picture.
 */
internal fun secondPoints(sure: BooleanArray, size: Size, coarse: List<Point>, side: Int): List<Point> {
    val across = size.width / side
    val down = size.height / side
    val around = AROUND.flatMap { x -> AROUND.map { y -> x to y } }.filter { it != 0 to 0 }
    val found = mutableListOf<Point>()
    for (point in coarse) {
        val steps = around.toMutableList()
        val right = point.x + across * 2 < size.width
        val below = point.y + down * 2 < size.height
        if (right) steps += AROUND.map { 2 to it }
        if (below) steps += AROUND.map { it to 2 }
        if (right && below) steps += 2 to 2
        for ((stepX, stepY) in steps) {
            val x = point.x + across * stepX
            val y = point.y + down * stepY
            if (sure[y.toInt() * size.width + x.toInt()]) continue
            found += Point(x / size.width * size.width, y / size.height * size.height)
        }
    }
    return found
}
