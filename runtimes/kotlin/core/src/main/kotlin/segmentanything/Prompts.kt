package segmentanything

/** x, y in pixels of the picture. */
data class Point(val x: Double, val y: Double) {
    constructor(x: Float, y: Float) : this(x.toDouble(), y.toDouble())

    constructor(x: Int, y: Int) : this(x.toDouble(), y.toDouble())
}

/** In pixels of the picture: x0, y0 is top left, x1, y1 bottom right. */
data class Box(val x0: Double, val y0: Double, val x1: Double, val y1: Double) {
    constructor(x0: Float, y0: Float, x1: Float, y1: Float) :
        this(x0.toDouble(), y0.toDouble(), x1.toDouble(), y1.toDouble())

    constructor(x0: Int, y0: Int, x1: Int, y1: Int) :
        this(x0.toDouble(), y0.toDouble(), x1.toDouble(), y1.toDouble())
}

/** One prompt set; [labels] are 1 (foreground) or 0 (background), one for each point. */
data class Prompts(
    val points: List<Point> = emptyList(),
    val labels: List<Int> = emptyList(),
    val box: Box? = null,
) {
    private fun padded(rule: PromptRule) = if (box == null) rule.padWithoutBox else rule.padWithBox

    private fun slots(rule: PromptRule): Int =
        points.size + (if (box == null) 0 else 2) + (if (padded(rule)) 1 else 0)

    /**
     * Checks the set, and moves what is barely outside the picture onto its edge. Throws
     * [SegmentAnythingError.Prompt] if it is impossible, or wholly outside.
     */
    internal fun placed(size: Size): Prompts {
        if (points.size != labels.size) {
            throw SegmentAnythingError.Prompt(
                "points: ${points.size}, labels: ${labels.size}; give each point a label"
            )
        }
        labels.firstOrNull { it != 0 && it != 1 }?.let {
            throw SegmentAnythingError.Prompt(
                "a point's label is 1 (foreground) or 0 (background), not $it"
            )
        }
        return Prompts(points.map { placed(it, size) }, labels, box?.let { placed(it, size) })
    }

    internal fun checkNotEmpty() {
        if (points.isEmpty() && box == null) {
            throw SegmentAnythingError.Prompt("no prompt: give a point or a box")
        }
    }

    /** Checks the set against the slots and places it. */
    internal fun checked(size: Size, rule: PromptRule): Prompts {
        val prompts = placed(size)
        prompts.checkNotEmpty()
        val needed = prompts.slots(rule)
        if (needed > rule.slots) {
            val note = when {
                rule.padWithBox -> " (SAM 2 adds one slot)"
                rule.padWithoutBox && box == null -> " (SAM adds one slot if there is no box)"
                else -> ""
            }
            val possible = needed <= (rule.mostSlots ?: 64)
            val cure = if (possible) "export again with --max-points $needed" else "give fewer prompts"
            throw SegmentAnythingError.Prompt(
                "these prompts take $needed slots$note and the bundle has ${rule.slots}: $cure"
            )
        }
        return prompts
    }

    /** Fills the slots: x, y of each in pixels of the input, and labels. */
    internal fun packed(frame: Frame, rule: PromptRule): Pair<FloatArray, FloatArray> {
        val prompts = checked(frame.original, rule)
        val coords = FloatArray(2 * rule.slots)
        val kinds = FloatArray(rule.slots) { Label.EMPTY }
        var slot = 0
        fun put(x: Double, y: Double, kind: Float) {
            coords[2 * slot] = frame.inputX(x)
            coords[2 * slot + 1] = frame.inputY(y)
            kinds[slot++] = kind
        }
        for ((point, label) in prompts.points.zip(prompts.labels)) {
            put(point.x, point.y, if (label == 1) Label.FOREGROUND else Label.BACKGROUND)
        }
        prompts.box?.let {
            put(it.x0, it.y0, Label.TOP_LEFT)
            put(it.x1, it.y1, Label.BOTTOM_RIGHT)
        }
        if (prompts.padded(rule)) kinds[slot] = Label.NOT_A_POINT
        return coords to kinds
    }

    /** Checks the set for a detector and places it; an empty one asks for everything. */
    internal fun detectable(size: Size): Prompts {
        if (points.isNotEmpty() && box != null) {
            throw SegmentAnythingError.Prompt("this bundle takes points or a box, not both")
        }
        return placed(size)
    }
}

/** A point may be outside by a pixel. Written so that a NaN is outside. */
private fun placed(point: Point, size: Size): Point {
    val width = size.width.toDouble()
    val height = size.height.toDouble()
    if (!(point.x >= -1 && point.x <= width + 1 && point.y >= -1 && point.y <= height + 1)) {
        throw SegmentAnythingError.Prompt(
            "the point ${plain(point.x)},${plain(point.y)} is outside the image " +
                "(${size.width} x ${size.height})"
        )
    }
    return Point(point.x.coerceIn(0.0, width), point.y.coerceIn(0.0, height))
}

/** Of a box that reaches over the edge, the part inside is meant. */
private fun placed(box: Box, size: Size): Box {
    val width = size.width.toDouble()
    val height = size.height.toDouble()
    val corners = listOf(box.x0, box.y0, box.x1, box.y1).joinToString(",", transform = ::plain)
    if (box.x1 <= box.x0 || box.y1 <= box.y0) {
        throw SegmentAnythingError.Prompt(
            "the box $corners is empty: X0,Y0 is top left and X1,Y1 bottom right"
        )
    }
    if (!(box.x0 < width && box.y0 < height && box.x1 > 0 && box.y1 > 0)) {
        throw SegmentAnythingError.Prompt(
            "the box $corners is outside the image (${size.width} x ${size.height})"
        )
    }
    return Box(maxOf(box.x0, 0.0), maxOf(box.y0, 0.0), minOf(box.x1, width), minOf(box.y1, height))
}
