package segmentanything

/** Logit of a filled hole; a removed speck gets the negative. */
private const val FILLED = 10f

/** Connected regions of set pixels, of 8 neighbours, as spans of columns; see [eachSpan]. */
private class Regions(runs: IntArray, height: Int) {
    val columns = IntList()
    val lows = IntList()
    val highs = IntList()
    private val roots = IntList()
    private val areas = mutableMapOf<Int, Int>()

    init {
        eachSpan(runs, height) { column, low, high ->
            roots += columns.size
            columns += column
            lows += low
            highs += high
        }
        join()
        for (span in 0 until columns.size) areas.merge(root(span), highs[span] - lows[span], Int::plus)
    }

    fun area(span: Int): Int = areas.getValue(root(span))

    /** Joins spans of neighbouring columns that touch, corners included. */
    private fun join() {
        var first = 0 // of the column before, the first span that may touch
        for (span in 0 until columns.size) {
            while (columns[first] < columns[span] - 1) first++
            while (columns[first] == columns[span] - 1 && highs[first] < lows[span]) first++
            var other = first
            while (columns[other] == columns[span] - 1 && lows[other] <= highs[span]) {
                val a = root(other)
                val b = root(span)
                roots[maxOf(a, b)] = minOf(a, b)
                other++
            }
        }
    }

    private fun root(span: Int): Int {
        var at = span
        while (roots[at] != at) {
            roots[at] = roots[roots[at]]
            at = roots[at]
        }
        return at
    }

    /** Area of the largest, and of several that which reading row by row meets first, as a root. */
    fun largest(): Int {
        val most = areas.values.max()
        return (0 until columns.size).filter { area(it) == most }
            .minWith(compareBy({ lows[it] }, { columns[it] })).let(::root)
    }

    fun isOf(region: Int, span: Int) = root(span) == region

    fun runs(size: Size, stays: (Int) -> Boolean): IntArray {
        val writer = RunWriter(size)
        for (span in 0 until columns.size) if (stays(span)) writer.add(columns[span], lows[span], highs[span])
        return writer.finish()
    }

    val spans get() = 0 until columns.size
}

/**
 * Fills the holes, then removes the islands of fewer pixels than [area], as SAM's `remove_small_regions`; if
 * all islands are smaller, the largest stays. Returns run lengths, and whether anything changed.
 */
internal fun withoutSmall(runs: IntArray, size: Size, area: Double): Pair<IntArray, Boolean> {
    val (filled, hadHoles) = fillHoles(runs, size, area)
    val (kept, hadIslands) = dropIslands(filled, size, area)
    return kept to (hadHoles || hadIslands)
}

private fun fillHoles(runs: IntArray, size: Size, area: Double): Pair<IntArray, Boolean> {
    val clear = Regions(inverted(runs), size.height)
    if (clear.spans.all { clear.area(it) >= area }) return runs to false
    return inverted(clear.runs(size) { clear.area(it) >= area }) to true
}

private fun dropIslands(runs: IntArray, size: Size, area: Double): Pair<IntArray, Boolean> {
    val found = Regions(runs, size.height)
    if (found.spans.all { found.area(it) >= area }) return runs to false
    if (found.spans.any { found.area(it) >= area }) return found.runs(size) { found.area(it) >= area } to true
    val largest = found.largest()
    return found.runs(size) { found.isOf(largest, it) } to true
}

/**
 * Fills holes and removes specks of at most [most] pixels in logits of [side] a row, as SAM 2 does with its
 * CUDA extension. Both are looked for in the mask before either is done; its threshold is 0.
 */
internal fun filled(logits: FloatArray, side: Int, most: Double): FloatArray {
    val size = Size(side, side)
    val runs = runsOf(Rectangle(0, 0, side, side), size) { column, row -> logits[row * side + column] > 0 }
    val changed = logits.copyOf()
    for ((these, value) in listOf(inverted(runs) to FILLED, runs to -FILLED)) {
        val found = Regions(these, side)
        for (span in found.spans.filter { found.area(it) <= most }) {
            for (row in found.lows[span] until found.highs[span]) changed[row * side + found.columns[span]] = value
        }
    }
    return changed
}

/**
 * Removes small regions of finished masks and suppresses again, as SAM's `postprocess_small_regions`: an
 * untouched mask wins over a changed one, and keeps its box; the scores of both stay those of before.
 */
internal fun cleaned(segments: List<Segment>, area: Double, most: Double): List<Segment> {
    val made = segments.map { withoutSmall(it.runs, it.size, area) }
    val boxes = segments.indices.map { extentOf(made[it].first, segments[it].size.height) }
    val scores = FloatArray(made.size) { if (made[it].second) 0f else 1f }
    return suppress(boxes.map(Extent::floats), scores, most).map { at ->
        val one = segments[at]
        val (runs, changed) = made[at]
        val box = boxes[at]
        if (!changed) return@map one
        Segment(
            runs, one.size, areaOf(runs), Rectangle(box.x0, box.y0, box.x1 - box.x0, box.y1 - box.y0),
            one.predictedIou, one.stabilityScore, one.pointCoords, one.cropBox,
        )
    }
}
