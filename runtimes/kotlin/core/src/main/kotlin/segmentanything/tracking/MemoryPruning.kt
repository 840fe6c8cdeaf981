package segmentanything

import kotlin.math.sqrt

private const val LEAST_LENGTH = 1e-8f

/**
 * Chooses the memories that reach the graph, of prompted frames first and the newest last: of all but the first and
 * the last, those most like the last are left out. Of equally alike ones the first goes.
 */
internal fun keptMemories(memories: List<KeptNumbers>, rule: Pruning, width: Int): List<Int> {
    val all = memories.indices.toList()
    if (memories.size < rule.listed || memories.size < 3) return all
    val newest = memories.last().floats()
    val alike = all.drop(1).dropLast(1).associateWith { likeness(memories[it].floats(), newest, width) }
    val dropped = alike.keys.sortedByDescending(alike::getValue).take(rule.dropped).toSet()
    return all - dropped
}

/** Sums the cosines of two memories' tokens of [width] channels. */
private fun likeness(memory: FloatArray, newest: FloatArray, width: Int): Double {
    var sum = 0.0
    for (token in memory.indices step width) {
        var product = 0f
        var own = 0f
        var other = 0f
        for (at in token until token + width) {
            product += memory[at] * newest[at]
            own += memory[at] * memory[at]
            other += newest[at] * newest[at]
        }
        sum += product / maxOf(sqrt(own) * sqrt(other), LEAST_LENGTH)
    }
    return sum
}
