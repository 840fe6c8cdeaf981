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
import segmentanything.Generator
import segmentanything.Prompts
import segmentanything.SegmentAnything
import segmentanything.SegmentAnythingError
import sun.misc.Signal
import sun.misc.SignalHandler

private const val INTERRUPTED = 130
private const val EVERY = 2.0 // seconds between two lines of progress

private val WHOLES = setOf("--points-per-side", "--points-per-batch", "--crop-n-layers", "--max-proposals")
private val FILTERS = setOf(
    "--points-per-batch", "--pred-iou-thresh", "--stability-score-thresh", "--stability-score-offset",
    "--box-nms-thresh", "--crop-nms-thresh", "--min-mask-region-area", "--mask-threshold", "--fast",
)
private val DECODING = setOf("--rules", "--refine", "--single-mask", "--leave-small-regions")
private val TAKEN = mapOf(
    "grid" to FILTERS + DECODING + setOf(
        "--points-per-side", "--crop-n-layers", "--crop-overlap-ratio", "--crop-n-points-downscale-factor",
    ),
    "hierarchical" to FILTERS + setOf("--points-per-side", "--high-score-thresh"),
    "object-aware" to setOf("--detector", "--mask-threshold", "--stability-score-offset"),
    "proposed" to FILTERS + DECODING + setOf("--proposal-thresh", "--max-proposals"),
    "detector" to setOf(),
)
private val NEEDS = mapOf(
    "--crop-overlap-ratio" to "--crop-n-layers",
    "--crop-n-points-downscale-factor" to "--crop-n-layers",
    "--leave-small-regions" to "--min-mask-region-area",
)

/** What `--everything` was asked for; [asked] says whether it was given itself. */
internal data class EverythingArguments(
    val asked: Boolean = false,
    val method: String = "grid",
    val detector: File? = null,
    private val given: List<String> = listOf(),
    private val whole: Map<String, Int> = mapOf(),
    private val numbers: Map<String, Double> = mapOf(),
    private val rules: Generator? = null,
) {
    /** Takes one of [OPTIONS]; [value] gives the word after it. */
    fun with(option: String, value: () -> String): EverythingArguments {
        val own = copy(given = given + option)
        return when (option) {
            "--fast", "--refine", "--single-mask", "--leave-small-regions" -> own
            "--detector" -> own.copy(detector = File(value()))
            "--rules" -> own.copy(rules = generator(value()))
            in WHOLES -> {
                val number = value().toIntOrNull() ?: throw wrong("$option takes a whole number")
                own.copy(whole = whole + (option to number))
            }
            else -> own.copy(numbers = numbers + (option to one(value())))
        }
    }

    private fun generator(word: String) = when (word) {
        "sam" -> Generator.SAM
        "sam2" -> Generator.SAM2
        else -> throw wrong("--rules takes sam or sam2, not $word")
    }

    /** Throws if an option does not go with the method. */
    fun check(prompts: Prompts) {
        if (!asked) throw wrong("${given.first()} goes with --everything")
        val hint = if ("." in method) "; PICTURE goes before --everything" else ""
        val taken = TAKEN[method] ?: throw wrong("--everything METHOD is one of ${TAKEN.keys.joinToString()}$hint")
        if (prompts.points.isNotEmpty()) throw wrong("--everything asks for all objects: leave out --point")
        val boxes = listOfNotNull(prompts.box, detector)
        if (boxes.size != (if (method == "object-aware") 1 else 0)) {
            throw wrong("--box or --detector, one of the two, goes with --everything object-aware")
        }
        given.firstOrNull { it !in taken }?.let { throw wrong("--everything $method takes no $it") }
        for ((option, other) in NEEDS) {
            if (option in given && other !in given) throw wrong("$option goes with $other")
        }
    }

    /** The library's method; a [finder] is that of `--detector`. */
    fun method(prompts: Prompts, finder: SegmentAnything?): EverythingMethod {
        val side = whole["--points-per-side"] ?: 32
        val batch = whole["--points-per-batch"] ?: 64
        val iou = numbers["--pred-iou-thresh"]
        val stability = numbers["--stability-score-thresh"] ?: 0.95
        val offset = numbers["--stability-score-offset"] ?: 1.0
        val nms = numbers["--box-nms-thresh"] ?: 0.7
        val cropNms = numbers["--crop-nms-thresh"] ?: 0.7
        val area = numbers["--min-mask-region-area"] ?: 0.0
        val threshold = numbers["--mask-threshold"]
        val several = "--single-mask" !in given
        val refine = "--refine" in given
        val components = "--leave-small-regions" !in given
        val fast = "--fast" in given
        return when (method) {
            "grid" -> EverythingMethod.grid(
                side, batch, iou, stability, offset, nms, whole["--crop-n-layers"] ?: 0, cropNms,
                numbers["--crop-overlap-ratio"] ?: (512.0 / 1500.0),
                numbers["--crop-n-points-downscale-factor"] ?: 1.0,
                null, area, threshold, several, refine, rules, components, fast,
            )
            "hierarchical" -> EverythingMethod.hierarchical(
                side, batch, iou, stability, offset, nms, cropNms, area, threshold,
                numbers["--high-score-thresh"] ?: 8.5, fast,
            )
            "proposed" -> EverythingMethod.proposed(
                numbers["--proposal-thresh"] ?: 0.1, whole["--max-proposals"] ?: 64, batch, iou, stability, offset,
                nms, cropNms, area, threshold, several, refine, rules, components, fast,
            )
            "detector" -> EverythingMethod.detector()
            else -> finder?.let {
                EverythingMethod.objectAware(it, maskThreshold = threshold, stabilityScoreOffset = offset)
            } ?: EverythingMethod.objectAware(
                listOfNotNull(prompts.box), maskThreshold = threshold, stabilityScoreOffset = offset,
            )
        }
    }

    /** An error of the library, which names options as the command does; names of one word are words as well. */
    fun spelt(error: SegmentAnythingError): SegmentAnythingError {
        val text = error.message.orEmpty().replace("useM2m", "--refine")
        return SegmentAnythingError.Request(
            given.fold(text) { said, option ->
                val words = option.removePrefix("--").split("-")
                val name = words.first() + words.drop(1).joinToString("") { it.replaceFirstChar(Char::uppercase) }
                if (words.size > 1) said.replace(name, option) else said
            }
        )
    }

    companion object {
        /** The options, but for `--everything` itself. */
        val OPTIONS = TAKEN.values.flatten().toSet()
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
            val counts = "${counted(found.segments.size, "mask")}, ${counted(found.asked.prompts, "prompt")}"
            println("$counts: ${stages.joinToString()}")
            if (!found.partial) return 0
            warn("interrupted: the result is partial, ${found.asked.prompts} of ${found.asked.planned} prompts")
            return INTERRUPTED
        }
    } catch (error: SegmentAnythingError) {
        throw how.spelt(error)
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

private fun counted(count: Int, what: String) = "$count $what${if (count == 1) "" else "s"}"

internal fun warn(line: String) = System.err.println("sam-segment: $line")

/** Prints progress every few seconds. */
private class Teller {
    private var next = EVERY

    fun tell(progress: EverythingProgress) {
        if (progress.seconds < next || progress.done >= progress.planned) return
        next = progress.seconds + EVERY
        warn("${progress.done} of ${progress.planned} prompts (Ctrl-C keeps what is done)")
    }
}
