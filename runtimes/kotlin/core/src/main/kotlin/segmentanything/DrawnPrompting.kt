package segmentanything

import kotlin.math.ceil
import kotlin.math.floor

/** Checks the set for a network that takes prompts as pictures, and places it. */
private fun Prompts.drawable(size: Size, rule: DrawnPrompts): Prompts {
    val prompts = placed(size)
    prompts.checkNotEmpty()
    if (!rule.backgroundPoints && 0 in prompts.labels) {
        throw SegmentAnythingError.Prompt(
            "this network has no background points: give foreground points or a box"
        )
    }
    return prompts
}

/** Draws `prompt_masks` (1, 2, S, S) of 0 and 1. */
internal fun Prompts.drawn(frame: Frame, rule: DrawnPrompts): Tensor {
    val prompts = drawable(frame.original, rule)
    val side = frame.side
    val plane = side * side
    val values = FloatArray(2 * plane)
    val box = prompts.box
    val columns = if (box == null) 0 until side else within(frame.inputX(box.x0), frame.inputX(box.x1), side)
    val rows = if (box == null) 0 until side else within(frame.inputY(box.y0), frame.inputY(box.y1), side)
    for (y in rows) {
        for (x in columns) values[rule.boxChannel * plane + y * side + x] = 1f
    }
    for (point in prompts.points) {
        val centreX = frame.inputX(point.x)
        val centreY = frame.inputY(point.y)
        for (y in 0 until side) {
            for (x in 0 until side) {
                val dx = x - centreX
                val dy = y - centreY
                if ((dx * dx + dy * dy).toDouble() <= rule.radius * rule.radius) {
                    values[rule.pointChannel * plane + y * side + x] = 1f
                }
            }
        }
    }
    return Tensor(listOf(1, 2, side, side), values)
}

/** The whole numbers from `low` to `high`, both included, of 0 until `side`. */
private fun within(low: Float, high: Float, side: Int): IntRange =
    maxOf(0, ceil(low).toInt())..minOf(side - 1, floor(high).toInt())
