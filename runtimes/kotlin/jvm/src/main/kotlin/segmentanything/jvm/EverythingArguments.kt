package segmentanything.jvm

import java.io.File
import java.util.Locale
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.coroutineScope
import kotlinx.coroutines.launch
import segmentanything.Engine
import segmentanything.Everything
import segmentanything.EverythingMethod
import segmentanything.EverythingProgress
import segmentanything.Prompts
import segmentanything.SegmentAnything
import sun.misc.Signal
import sun.misc.SignalHandler

private val METHODS = setOf("grid", "hierarchical", "object-aware", "proposed", "detector")
private const val INTERRUPTED = 130
private const val EVERY = 2.0 // seconds between two lines of progress

/** What `--everything` was asked for. */
internal data class EverythingArguments(
    val method: String = "",
    val pointsPerSide: Int? = null,
    val predIouThresh: Double? = null,
    val stabilityScoreThresh: Double? = null,
    val detector: File? = null,
    val fast: Boolean = false,
) {
    /** Throws if an option does not go with the method. */
    fun check(prompts: Prompts) {
        if (method !in METHODS) throw wrong("--everything METHOD is one of ${METHODS.joinToString()}")
        val clicks = method in setOf("grid", "hierarchical", "proposed")
        if (!clicks && (predIouThresh != null || stabilityScoreThresh != null || fast)) {
            throw wrong("--everything $method filters no masks: leave out thresholds and --fast")
        }
        if (pointsPerSide != null && (!clicks || method == "proposed")) {
            throw wrong("--everything $method has no grid: leave out --points-per-side")
        }
        if (prompts.points.isNotEmpty()) throw wrong("--everything asks for all objects: leave out --point")
        val boxes = listOfNotNull(prompts.box, detector)
        if (boxes.size != (if (method == "object-aware") 1 else 0)) {
            throw wrong("--box or --detector, one of the two, goes with --everything object-aware")
        }
    }

    /** The library's method; a [finder] is that of `--detector`. */
    fun method(prompts: Prompts, finder: SegmentAnything?): EverythingMethod {
        val side = pointsPerSide ?: 32
        val stability = stabilityScoreThresh ?: 0.95
        return when (method) {
            "grid" -> EverythingMethod.grid(
                side, predIouThresh = predIouThresh, stabilityScoreThresh = stability, fast = fast,
            )
            "hierarchical" -> EverythingMethod.hierarchical(
                side, predIouThresh = predIouThresh, stabilityScoreThresh = stability, fast = fast,
            )
            "proposed" -> EverythingMethod.proposed(
                predIouThresh = predIouThresh, stabilityScoreThresh = stability, fast = fast,
            )
            "detector" -> EverythingMethod.detector()
            else -> finder?.let { EverythingMethod.objectAware(it) }
                ?: EverythingMethod.objectAware(listOfNotNull(prompts.box))
        }
    }
}

/** Finds everything, prints it, and writes a file for each mask; returns the exit status. */
internal suspend fun segmentEverything(asked: Arguments, how: EverythingArguments, engine: Engine): Int {
    val finder = how.detector?.let { SegmentAnything(it, engine) }
    try {
        SegmentAnything(asked.bundle, engine).use { sam ->
            val method = how.method(asked.prompts, finder)
            val found = untilInterrupted { sam.everything(readPicture(asked.picture), method, true, Teller()::tell) }
            if (found == null) {
                warn("interrupted before anything was found")
                return INTERRUPTED
            }
            found.notes.forEach(::warn)
            for ((at, segment) in found.segments.withIndex()) {
                show(segment.mask, at, found.segments.size, asked.mask)
            }
            val stages = found.seconds.map { (stage, spent) ->
                "$stage ${"%.2f".format(Locale.ROOT, spent)} s"
            }
            println("${found.segments.size} masks, ${found.asked.prompts} prompts: ${stages.joinToString()}")
            if (!found.partial) return 0
            warn("interrupted: the result is partial, ${found.asked.prompts} of ${found.asked.planned} prompts")
            return INTERRUPTED
        }
    } finally {
        finder?.close()
    }
}

/** Finds in a coroutine that the first Ctrl-C cancels; the second ends the process. Null if nothing is kept. */
private suspend fun untilInterrupted(find: suspend () -> Everything): Everything? = coroutineScope {
    val interrupt = Signal("INT")
    var found: Everything? = null
    val running = launch(Dispatchers.Default) { found = find() }
    val before = Signal.handle(interrupt) {
        running.cancel()
        Signal.handle(interrupt, SignalHandler.SIG_DFL)
    }
    running.join()
    Signal.handle(interrupt, before)
    found
}

private fun warn(line: String) = System.err.println("sam-segment: $line")

/** Prints progress every few seconds. */
private class Teller {
    private var next = EVERY

    fun tell(progress: EverythingProgress) {
        if (progress.seconds < next || progress.done >= progress.planned) return
        next = progress.seconds + EVERY
        warn("${progress.done} of ${progress.planned} prompts (Ctrl-C keeps what is done)")
    }
}
