package segmentanything

/** A point to click in pixels of the image, and how a head scores it. */
internal class Proposal(val point: Point, val score: Float)

/** A head's [scores] of the cells that cover the network's input, row by row. */
internal class ScoreMap(private val width: Int, private val height: Int, private val scores: FloatArray) {
    /** The peaks that lie on the picture, in its pixels, the highest first. */
    fun peaks(frame: Frame): List<Proposal> {
        val wide = frame.side.toDouble() / width
        val tall = frame.side.toDouble() / height
        val resized = frame.resized
        val (backX, backY) = frame.original.let {
            it.width.toDouble() / resized.width to it.height.toDouble() / resized.height
        }
        return peaks().mapNotNull { peak ->
            val x = peak.point.x * wide - frame.left
            val y = peak.point.y * tall - frame.top
            val inside = x >= 0 && y >= 0 && x < resized.width && y < resized.height
            if (inside) Proposal(Point(x * backX, y * backY), peak.score) else null
        }
    }

    /**
     * The cells that score higher than all that are near them, the highest first, as x and y in cells.
     *
     * A place is moved within its cell to the top of the parabola through its neighbours' scores, on either axis.
     */
    private fun peaks(): List<Proposal> {
        val found = mutableListOf<Proposal>()
        for (row in 0 until height) {
            for (column in 0 until width) if (isPeak(column, row)) found += placed(column, row)
        }
        return found.sortedByDescending { it.score }
    }

    private fun placed(column: Int, row: Int): Proposal {
        val top = at(column, row)
        val right = offset(at(column - 1, row), at(column + 1, row), top)
        val down = offset(at(column, row - 1), at(column, row + 1), top)
        return Proposal(Point(column + 0.5 + right, row + 0.5 + down), top)
    }

    /** A cell's score; -infinity outside, and where it is no number. */
    private fun at(column: Int, row: Int): Float {
        if (column !in 0 until width || row !in 0 until height) return Float.NEGATIVE_INFINITY
        return scores[row * width + column].takeIf { it.isFinite() } ?: Float.NEGATIVE_INFINITY
    }

    /** Of equal neighbours the first in reading order is the peak. */
    private fun isPeak(column: Int, row: Int): Boolean {
        val top = at(column, row)
        if (!top.isFinite()) return false
        for (y in -1..1) {
            for (x in -1..1) {
                if (x == 0 && y == 0) continue
                val beside = at(column + x, row + y)
                val isEarlier = y < 0 || y == 0 && x < 0
                if (if (isEarlier) top <= beside else top < beside) return false
            }
        }
        return true
    }
}

/** A parabola's top from the middle of three cells: -0.5 to 0.5; 0 at an edge. */
private fun offset(before: Float, after: Float, top: Float): Float {
    if (!before.isFinite() || !after.isFinite()) return 0f
    val bend = 2 * top - before - after
    return if (bend > 0) (after - before) / (2 * bend) else 0f
}
