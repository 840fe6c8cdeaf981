package segmentanything.jvm

import java.io.File
import java.util.Locale
import segmentanything.Engine
import segmentanything.EverythingMethod
import segmentanything.EverythingProgress
import segmentanything.Prompts
import segmentanything.SegmentAnything

private val METHODS = setOf("grid", "hierarchical", "object-aware", "detector")
private const val EVERY = 2.0 // seconds between two lines of progress

/** What `--everything` was asked for. */
internal data class EverythingArguments(
    val method: String = "",
    val pointsPerSide: Int? = null,
    val predIouThresh: Double? = null,
    val stabilityScoreThresh: Double? = null,
    val detector: File? = null,
) {
    /** Throws if an option does not go with the method. */
    fun check(prompts: Prompts) {
        if (method !in METHODS) throw wrong("--everything METHOD is one of ${METHODS.joinToString()}")
        val clicks = method == "grid" || method == "hierarchical"
        val filters = listOf(pointsPerSide, predIouThresh, stabilityScoreThresh)
        if (!clicks && filters.any { it != null }) throw wrong("--everything $method takes no options of a grid")
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
                side, predIouThresh = predIouThresh, stabilityScoreThresh = stability,
            )
            "hierarchical" -> EverythingMethod.hierarchical(
                side, predIouThresh = predIouThresh, stabilityScoreThresh = stability,
            )
            "detector" -> EverythingMethod.detector()
            else -> finder?.let { EverythingMethod.objectAware(it) }
                ?: EverythingMethod.objectAware(listOfNotNull(prompts.box))
        }
    }
}

internal suspend fun segmentEverything(asked: Arguments, how: EverythingArguments, engine: Engine) {
    val finder = how.detector?.let { SegmentAnything(it, engine) }
    try {
        SegmentAnything(asked.bundle, engine).use { sam ->
            val method = how.method(asked.prompts, finder)
            val found = sam.everything(readPicture(asked.picture), method, Teller()::tell)
            for ((at, segment) in found.segments.withIndex()) {
                show(segment.mask, at, found.segments.size, asked.mask)
            }
            val stages = found.seconds.map { (stage, spent) ->
                "$stage ${"%.2f".format(Locale.ROOT, spent)} s"
            }
            println("${found.segments.size} masks, ${found.asked.prompts} prompts: ${stages.joinToString()}")
        }
    } finally {
        finder?.close()
    }
}

/** Prints progress every few seconds. */
private class Teller {
    private var next = EVERY

    fun tell(progress: EverythingProgress) {
        if (progress.seconds < next || progress.done >= progress.planned) return
        next = progress.seconds + EVERY
        System.err.println("sam-segment: ${progress.done} of ${progress.planned} prompts")
    }
}
