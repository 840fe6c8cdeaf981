package segmentanything

import java.io.File
import java.util.Locale
import kotlinx.coroutines.CoroutineDispatcher
import kotlinx.coroutines.Dispatchers

/**
 * Follows objects through a video, frame by frame, with a bundle of `sam-export --video`.
 *
 *     val tracker = Tracker(bundle, engine)
 *     tracker.start(first)
 *     tracker.addObject("dog", listOf(tap), listOf(1))
 *     val dog = tracker.track(next)["dog"]           // mask(), score, present
 *
 * Safe to use from any coroutine and thread: one call runs at a time, on [dispatcher], never on the caller's thread;
 * one that has begun is finished even if its coroutine is cancelled. Nothing but a bounded bank is kept of frames, so
 * a camera may run for ever: of one that is faster than the network give the newest frame when [track] returns, and
 * its number if ages should count those left out. Close it when no more frames come.
 *
 * The graphs are loaded by the first prompt, or by [load]. With [turns], frames will be tracked both ways from the
 * first prompt, which costs memory. More objects than [maxObjects] are refused: each has a bank of its own. [verify]
 * as of [SegmentAnything]. Throws [SegmentAnythingError.Bundle] if the bundle is not as it was exported, or has no
 * memory; [SegmentAnythingError.Request] if it is for another engine.
 */
class Tracker(
    folder: File,
    engine: Engine,
    private val turns: Boolean = false,
    private val maxObjects: Int = 16,
    verify: Boolean = true,
    dispatcher: CoroutineDispatcher = Dispatchers.Default,
) : AutoCloseable {
    val bundle = Bundle(folder, verify)
    private val manifest = bundle.manifest
    private val rule = bundle.videoRule()
    private val host = VideoHostData(bundle, rule)
    private val shared = SharedGraphs(bundle, engine, dispatcher, "Tracker", ::forget)
    private val graphs = TrackingGraphs(manifest, rule, shared::loaded)

    // Guarded by `shared`.
    private val followed = linkedMapOf<String, FollowedObject>()
    private var view: View? = null
    private var picture: Picture? = null
    private var scene: TrackingScene? = null
    private var size: Size? = null

    /** Names of the objects that are followed, in the order in which they came. */
    @Volatile var objects: List<String> = emptyList()
        private set

    /** Number of the current frame; null before [start]. */
    @Volatile var frame: Int? = null
        private set

    /** Bytes that one object's bank grows to with one prompted frame. */
    val bankBytes: Long
        get() {
            val memory = rule.memoryTokens.toLong() * rule.memoryWidth
            val kept = (rule.memoryFrames + 2) * memory + (rule.pointerFrames + 2L) * rule.pointerWidth
            return kept * (if (rule.stored == Stored.FLOAT16) 2 else 4) * (if (turns) 2 else 1)
        }

    /** Loads the graphs ahead of the first prompt. */
    suspend fun load() {
        passed { shared.loaded() }
    }

    /** Forgets every object and frame; the graphs stay loaded. */
    suspend fun reset() = passed { forget() }

    /**
     * Begins a video: forgets what was before, and makes its first frame the current one.
     *
     * Later frames count from [number]. [frames] are in the whole video, which some networks know the age of
     * pointers by; null for a camera. Throws [SegmentAnythingError.Request] if the video has no frame.
     */
    suspend fun start(picture: Picture, number: Int = 0, frames: Int? = null) = start({ picture }, number, frames)

    /** Does as the other `start`, for a picture that is decoded off the caller's thread. */
    suspend fun start(decode: () -> Picture, number: Int = 0, frames: Int? = null) = passed {
        val first = decode()
        if (frames != null && frames < 1) {
            throw SegmentAnythingError.Request("a video has a frame at least, not $frames")
        }
        forget()
        take(first, View(number, 1, frames))
    }

    /**
     * Shows a new object on the current frame; the others are untouched.
     *
     * [points] and [box] are in pixels of the frame; [labels] are 1 foreground, 0 background, one for each point.
     * Throws [SegmentAnythingError.Request] before [start]; [SegmentAnythingError.Prompt] if the name is taken,
     * there are too many objects, or the bundle cannot take the prompt.
     */
    suspend fun addObject(
        name: String, points: List<Point> = emptyList(), labels: List<Int> = emptyList(), box: Box? = null,
    ): Tracked = addObject(name, ObjectPrompt(points, labels, box))

    /** Does as the other `addObject`, for a mask that is taken as it is, or prompts. */
    suspend fun addObject(name: String, prompt: ObjectPrompt): Tracked = passed {
        val view = requireView()
        if (name in followed) {
            throw SegmentAnythingError.Prompt(
                "object ${quoted(name)} is followed already: correct(...) changes its mask, remove(...) forgets it"
            )
        }
        check(mapOf(name to prompt))
        show(prompted(name, prompt), view)
    }

    /**
     * Makes a frame, of the same size as the first, the current one and finds every object on it.
     *
     * [number] is the frame's, by default the next one in the direction of the last step; frames may be left out,
     * and a lower number than the current one goes backward. The objects of [prompts], known or new, are found by a
     * prompt on this frame alone instead of by memory; later frames remember it as they do the first. Of the known
     * ones, [objects] are found by memory, null for all; the others do not see this frame and will not remember it.
     * What is found is in the order of the property `objects`.
     *
     * Throws [SegmentAnythingError.Request] before [start], or if the number is the current frame's;
     * [SegmentAnythingError.Image] if the frame has another size; [SegmentAnythingError.Prompt] for a prompt that
     * the bundle cannot take, or too many objects; [SegmentAnythingError.Bundle] if a graph gave values that are not
     * finite.
     */
    suspend fun track(
        picture: Picture,
        number: Int? = null,
        prompts: Map<String, ObjectPrompt> = emptyMap(),
        objects: Collection<String>? = null,
    ): Map<String, Tracked> = track({ picture }, number, prompts, objects)

    /** Does as the other `track`, for a picture that is decoded off the caller's thread. */
    suspend fun track(
        decode: () -> Picture,
        number: Int? = null,
        prompts: Map<String, ObjectPrompt> = emptyMap(),
        objects: Collection<String>? = null,
    ): Map<String, Tracked> = passed {
        val next = nextView(number)
        val taken = decode()
        requireSize(taken, next)
        check(prompts)
        objects?.forEach(::find)
        // Memories are made once no more is said of their frame.
        scene?.let { left -> followed.values.forEach { it.leave(left) } }
        take(taken, next)
        for (one in followed.values) {
            if (one.name !in prompts && (objects == null || one.name in objects)) one.track(encoded())
        }
        for ((name, prompt) in prompts) prompted(name, prompt)
        followed.values.filter { it.latest != null }.associate { it.name to show(it, next) }
    }

    /**
     * Improves an object's mask on the current frame; earlier clicks on the frame count again. A tracked frame stays
     * a tracked one: it is remembered as corrected, and forgotten as it gets old.
     *
     * Throws [SegmentAnythingError.Request] before [start]; [SegmentAnythingError.Prompt] if there is no such
     * object, or the bundle cannot take the prompts.
     */
    suspend fun correct(
        name: String, points: List<Point> = emptyList(), labels: List<Int> = emptyList(), box: Box? = null,
    ): Tracked = correct(name, Prompts(points, labels, box))

    /** Does as the other `correct`, for prompts that are already a [Prompts]. */
    suspend fun correct(name: String, prompts: Prompts): Tracked = passed {
        val view = requireView()
        val one = find(name)
        one.correct(encoded(), prompts)
        show(one, view)
    }

    /** Forgets an object. Throws [SegmentAnythingError.Prompt] if there is none of that name. */
    suspend fun remove(name: String) {
        passed {
            find(name).close()
            followed.remove(name)
        }
    }

    /** Releases the graphs and what is kept of frames, after the call that is running; later calls are refused. */
    override fun close() {
        shared.refuse()
        shared.releaseIfFree()
    }

    /** Does something when no other call runs, and lets others see the names and the frame after it. */
    private suspend fun <T> passed(work: () -> T): T = shared.alone {
        try {
            work()
        } finally {
            publish()
        }
    }

    private fun publish() {
        objects = followed.keys.toList()
        frame = view?.frame
    }

    private fun forget() {
        followed.values.forEach(FollowedObject::close)
        followed.clear()
        scene?.close()
        scene = null
        picture = null
        view = null
        size = null
        publish()
    }

    private fun take(new: Picture, at: View) {
        scene?.close()
        scene = null
        picture = new
        view = at
        size = size ?: Size(new.width, new.height)
    }

    /** Encodes the current frame when the first object asks for it. */
    private fun encoded(): TrackingScene {
        scene?.let { return it }
        val made = graphs.encode(picture ?: throw noFrame(), requireView())
        scene = made
        picture = null
        return made
    }

    /** Finds an object by a prompt; it is not known as new until that worked. */
    private fun prompted(name: String, prompt: ObjectPrompt): FollowedObject {
        val one = followed[name] ?: FollowedObject(name, Bank(rule, turns), graphs, manifest, rule, host)
        val mask = prompt.mask
        if (mask != null) one.draw(encoded(), mask) else one.prompt(encoded(), prompt.prompts)
        followed[name] = one
        return one
    }

    /** Throws, before a graph runs, if a prompt cannot be taken. */
    private fun check(prompts: Map<String, ObjectPrompt>) {
        if ("" in prompts) throw SegmentAnythingError.Prompt("an object's name is a text, not ''")
        val count = (followed.keys + prompts.keys).size
        if (count > maxObjects) {
            val each = "%.1f".format(Locale.ROOT, bankBytes / 1_048_576.0)
            throw SegmentAnythingError.Prompt(
                "$count objects, and at most $maxObjects are followed: each keeps $each MB; raise maxObjects if " +
                    "there is room"
            )
        }
        val slots = (manifest.kind as Kind.Slots).rule
        for (prompt in prompts.values) {
            if (prompt.mask == null) size?.let { prompt.prompts.checked(it, slots) }
        }
    }

    private fun find(name: String): FollowedObject = followed[name] ?: run {
        val names = followed.keys.joinToString(limit = 6) { printable(it) }
        val known = if (followed.isEmpty()) "there is none yet" else "there are $names"
        throw SegmentAnythingError.Prompt("no object ${quoted(name)} is followed: $known")
    }

    private fun requireView(): View = view ?: throw noFrame()

    private fun noFrame() = SegmentAnythingError.Request("no frame: call start before")

    /** Says how the next frame looks back. Throws if it is the current one. */
    private fun nextView(given: Int?): View {
        val view = requireView()
        val number = given ?: (view.frame + view.step)
        if (number == view.frame) {
            throw SegmentAnythingError.Request("frame $number is the current one: correct(...) changes its masks")
        }
        return View(number, if (number > view.frame) 1 else -1, view.frames)
    }

    private fun requireSize(picture: Picture, view: View) {
        val first = size ?: return
        if (first == Size(picture.width, picture.height)) return
        throw SegmentAnythingError.Image(
            "frame ${view.frame} is ${picture.width} x ${picture.height}, and the video began with " +
                "${first.width} x ${first.height}: frames of one video have one size"
        )
    }

    private fun show(one: FollowedObject, view: View): Tracked {
        val found = one.latest
            ?: throw SegmentAnythingError.Request("object ${quoted(one.name)} was not found on any frame yet")
        return Tracked(one.name, view.frame, found, encoded().frame, manifest.mask)
    }
}
