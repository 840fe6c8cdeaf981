package segmentanything

import kotlin.math.abs

/** A memory or a pointer that a frame sees, and its age as the graph takes it. */
internal class Seen(val age: Double, val value: KeptNumbers)

/**
 * The frame that looks back: [frame] is its number; [step] is 1 if the frames go forward, -1 backward, and what was
 * tracked on the other side is unseen; [frames] are in the whole video, null for a camera.
 */
internal class View(val frame: Int, val step: Int, val frames: Int?) {
    /** Frames back to another one, as the frames go; negative ahead. */
    fun distance(other: Int): Int = (frame - other) * step
}

/**
 * One object's memories and pointers by frame. The room is bounded however long the video is: prompted frames, as
 * many as the graph has slots; the tracked ones that a rule can still reach; and, for who [turns] round, those about
 * the first prompt.
 */
internal class Bank(private val rule: VideoRule, private val turns: Boolean) {
    private class Kept(val memory: KeptNumbers, val pointer: KeptNumbers)

    private val prompted = linkedMapOf<Int, Kept>()
    private val memories = mutableMapOf<Int, KeptNumbers>()
    private val pointers = mutableMapOf<Int, KeptNumbers>()
    private var first: Int? = null

    /** Frames of which anything is kept. */
    val frames: Set<Int> get() = prompted.keys + memories.keys + pointers.keys

    /** Keeps a frame; what was kept of it before is replaced. */
    fun keep(frame: Int, memory: FloatArray, pointer: FloatArray, isPrompted: Boolean) {
        val kept = Kept(KeptNumbers.of(memory, rule.stored), KeptNumbers.of(pointer, rule.stored))
        memories -= frame
        pointers -= frame
        if (isPrompted) {
            first = first ?: frame
            prompted[frame] = kept
            while (prompted.size > rule.memorySlots) prompted -= prompted.keys.maxBy { abs(it - frame) }
        } else {
            memories[frame] = kept.memory
            pointers[frame] = kept.pointer
        }
        forget(memories, frame, rule.memoryFrames)
        forget(pointers, frame, rule.pointerFrames)
    }

    /** Drops frames that no later frame can see. */
    private fun forget(kept: MutableMap<Int, KeptNumbers>, frame: Int, reach: Int) {
        val near = listOfNotNull(frame, first.takeIf { turns })
        kept.keys.removeAll { each -> near.all { abs(each - it) > reach } }
    }

    /** Lists the memories that a frame sees: prompted frames, then tracked ones, the oldest first. */
    fun memories(view: View): List<Seen> {
        val chosen = chosen(view)
        val listed = chosen.sorted().map { Seen(0.0, prompted.getValue(it).memory) }
        val near = near(view, memories, chosen, Kept::memory, rule.memoryFrames)
        val ages = near.keys.sorted().take(maxOf(0, capacity - listed.size)).reversed()
        val all = listed + ages.map { Seen(it.toDouble(), near.getValue(it)) }
        val pruning = rule.pruning ?: return all
        return keptMemories(all.map { it.value }, pruning, rule.memoryWidth).map(all::get)
    }

    /** Lists the pointers that a frame sees: prompted frames, then the newest. */
    fun pointers(view: View): List<Seen> {
        val chosen = chosen(view)
        val longest = view.frames?.let { maxOf(1.0, minOf(rule.pointerScale, it - 1.0)) } ?: rule.pointerScale
        val near = near(view, pointers, chosen, Kept::pointer, minOf(rule.pointerFrames.toDouble(), longest).toInt())
        val past = chosen.sorted().filter { view.distance(it) >= 0 }
        val all = past.map { view.distance(it) to prompted.getValue(it).pointer } +
            near.keys.sorted().map { it to near.getValue(it) }
        return all.take(rule.pointerSlots).map { (age, value) -> Seen(age / longest, value) }
    }

    /** Memories that may be listed: those that are pruned need no slot. */
    private val capacity: Int
        get() {
            val pruning = rule.pruning ?: return rule.memorySlots
            val all = rule.memorySlots + pruning.dropped
            return if (all < pruning.listed) rule.memorySlots else all
        }

    /** Chooses the prompted frames whose memories have a slot: all, or the closest ones. */
    private fun chosen(view: View): Set<Int> {
        val tracked = memories.keys.count { view.distance(it) in 1..rule.memoryFrames }
        return closest(prompted.keys, view, maxOf(rule.promptedSlots, capacity - tracked))
    }

    /** Tracked frames by age, 1..reach, and prompted ones that have no slot as such. */
    private fun near(
        view: View, tracked: Map<Int, KeptNumbers>, chosen: Set<Int>, part: (Kept) -> KeptNumbers, reach: Int,
    ): Map<Int, KeptNumbers> {
        val others = prompted.filterKeys { it !in chosen }.mapValues { part(it.value) }
        return (others + tracked).mapKeys { view.distance(it.key) }.filterKeys { it in 1..reach }
    }
}

/**
 * Chooses prompted frames as SAM 2's `max_cond_frames_in_attn` does: the closest before, the closest after, then by
 * distance.
 */
internal fun closest(frames: Collection<Int>, view: View, most: Int): Set<Int> {
    val left = frames.sorted()
    if (left.size <= most) return left.toSet()
    val before = left.lastOrNull { it < view.frame }
    val after = left.firstOrNull { it >= view.frame }
    val rest = left.sortedBy { abs(it - view.frame) }
    return (listOfNotNull(before, after) + rest).distinct().take(most).toSet()
}
