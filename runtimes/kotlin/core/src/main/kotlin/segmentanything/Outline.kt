package segmentanything

/** Walks around the pixels of a mask. */
internal class Outline(private val pixels: ByteArray, private val width: Int, private val height: Int) {
    /** Finds every ring, with the corners at which it turns; sorted by its topmost corner. */
    fun rings(): List<List<Corner>> {
        val seen = BooleanArray(pixels.size)
        val rings = mutableListOf<List<Corner>>()
        for (y in 0 until height) {
            for (x in 0 until width) {
                if (inside(x, y) && !inside(x, y - 1) && !seen[y * width + x]) rings += follow(Corner(x, y), seen)
            }
        }
        return rings.sortedWith(compareBy(TOPMOST) { it[0] })
    }

    private fun inside(x: Int, y: Int) =
        x in 0 until width && y in 0 until height && pixels[y * width + x].toInt() != 0

    /** Starts at the upper left corner of a pixel whose upper neighbour is outside. */
    private fun follow(start: Corner, seen: BooleanArray): List<Corner> {
        var at = start
        var way = 0
        val ring = mutableListOf<Corner>()
        do {
            if (way == 0) seen[at.y * width + at.x] = true
            at = Corner(at.x + MOVES[way].x, at.y + MOVES[way].y)
            val turn = turn(at, way)
            if (turn != 0) ring += at
            way = (way + turn + 4) % 4
        } while (at != start || way != 0)
        val first = ring.indices.minWithOrNull(compareBy(TOPMOST) { ring[it] }) ?: 0
        return ring.drop(first) + ring.take(first)
    }

    /** Decides at a corner: 1 to the right, -1 to the left, 0 ahead. */
    private fun turn(at: Corner, way: Int): Int {
        val right = AHEAD[way]
        val left = AHEAD[(way + 3) % 4]
        if (!inside(at.x + right.x, at.y + right.y)) return 1
        return if (inside(at.x + left.x, at.y + left.y)) -1 else 0
    }

    private companion object {
        val TOPMOST = compareBy<Corner>({ it.y }, { it.x })

        /** Right, down, left, up: the next one turns right. */
        val MOVES = listOf(Corner(1, 0), Corner(0, 1), Corner(-1, 0), Corner(0, -1))

        /** From a corner, the pixel ahead to the right of each move. */
        val AHEAD = listOf(Corner(0, 0), Corner(-1, 0), Corner(-1, -1), Corner(0, -1))
    }
}

/**
 * Leaves out corners that are no farther than [tolerance] from what remains: Douglas and Peucker's rule,
 * between the first corner and the one farthest from it.
 */
internal fun simplified(ring: List<Corner>, tolerance: Double): List<Corner> {
    val closed = ring + ring[0]
    val kept = BooleanArray(closed.size)
    val far = ring.indices.maxBy { squared(ring[0], ring[it]) }
    kept[0] = true
    kept[far] = true
    val waiting = mutableListOf(0 to far, far to ring.size)
    while (waiting.isNotEmpty()) {
        val (first, last) = waiting.removeAt(waiting.lastIndex)
        fun far(at: Int) = distance(closed[at], closed[first], closed[last])
        val worst = (first + 1 until last).maxByOrNull(::far)
        if (worst == null || far(worst) <= tolerance * tolerance) continue
        kept[worst] = true
        waiting += first to worst
        waiting += worst to last
    }
    return ring.filterIndexed { at, _ -> kept[at] }
}

private fun squared(a: Corner, b: Corner): Long {
    val dx = (a.x - b.x).toLong()
    val dy = (a.y - b.y).toLong()
    return dx * dx + dy * dy
}

/** Measures from [p] to the line between [a] and [b], squared. */
private fun distance(p: Corner, a: Corner, b: Corner): Double {
    val length = squared(a, b)
    val along = (p.x - a.x).toLong() * (b.x - a.x) + (p.y - a.y).toLong() * (b.y - a.y)
    if (along <= 0) return squared(p, a).toDouble()
    if (along >= length) return squared(p, b).toDouble()
    val across = ((p.x - a.x).toLong() * (b.y - a.y) - (p.y - a.y).toLong() * (b.x - a.x)).toDouble()
    return across * across / length
}
