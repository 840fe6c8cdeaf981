package segmentanything

import java.math.BigDecimal
import java.math.RoundingMode
import java.util.concurrent.CancellationException
import kotlinx.coroutines.Job
import kotlinx.coroutines.ensureActive

/** SAM 2 clamps logits to this before it refines them. */
private const val REFINED = 32f

/** A mask that passed the filters; its box and point are in pixels of its crop. */
internal class Candidate(val iou: Float, val measured: Measured, val point: Point, val logits: () -> FloatArray)

/** One call of `everything`: what is asked, and counts. */
internal class Run(
    val predictor: Predictor,
    val settings: Settings,
    val size: Size,
    private val progress: (EverythingProgress) -> Unit,
    private val held: HeldLogits,
    private val caller: Job?,
    private val keepPartial: Boolean,
) {
    val isSam2 = (settings.generator ?: predictor.generator) == Generator.SAM2
    val threshold = settings.maskThreshold ?: predictor.maskThreshold
    private val leastIou = settings.predIouThresh ?: if (isSam2) 0.8 else 0.88
    val seconds = mutableMapOf<String, Double>()
    val nms = mutableListOf<Pair<Int, Int>>()
    var planned = 0
    var candidates = 0
    var afterIou = 0
    var afterStability = 0
    var afterEdges = 0
    private var images = 0
    private var calls = 0
    private var prompts = 0
    private val began = System.nanoTime()

    /** Whether the asking was ended by its coroutine's cancellation. */
    var stopped = false
        private set

    /** Masks whose predicted IoU is not a finite number; dropped. */
    private var unrated = 0

    /** Masks of which no logit is a finite number; dropped. */
    private var empty = 0

    /** Masks of which some logits are NaN, which count as outside. */
    private var patched = 0

    /** Of `fast`: the IoU of each guessed box with its mask's own. */
    val fastIous = mutableListOf<Double>()

    inline fun <T> stage(name: String, work: () -> T): T {
        val start = System.nanoTime()
        try {
            return work()
        } finally {
            seconds[name] = (seconds[name] ?: 0.0) + (System.nanoTime() - start) / 1e9
        }
    }

    /** Does as [stage] for a call of the predictor, and ends a cancelled coroutine's run before it. */
    inline fun <T> call(name: String, work: () -> T): T {
        demandCaller()
        return stage(name, work)
    }

    /** Throws if whoever called `everything` was cancelled. */
    fun demandCaller() {
        caller?.ensureActive()
    }

    /** Within it, cancelling ends the asking alone, if what was found is kept. */
    inline fun untilStopped(ask: () -> Unit) {
        try {
            ask()
        } catch (end: CancellationException) {
            if (!keepPartial) throw end
            stopped = true
        }
    }

    /** Ends the work on masks of a cancelled coroutine; those that are kept are finished. */
    fun goOn() {
        if (!keepPartial) demandCaller()
    }

    suspend fun setImage(part: Picture) {
        call("encode") { predictor.setImage(part) }
        images++
    }

    /** Counts a call of the predictor. */
    fun count(asked: Int) {
        calls++
        prompts += asked
    }

    fun tell() = progress(EverythingProgress(prompts, maxOf(planned, prompts), (System.nanoTime() - began) / 1e9))

    /** Whether the predicted IoU lets a mask pass; one that is no number never does. */
    fun passes(iou: Float): Boolean = iou.isFinite() && (!(leastIou > 0) || iou > leastIou.toFloat())

    /** Whether a predicted IoU is a number; counted otherwise. */
    fun isRated(iou: Float): Boolean = iou.isFinite().also { if (!it) unrated++ }

    /** Whether logits make a mask; counted otherwise. */
    fun isUsable(logits: FloatArray): Boolean {
        if (logits.all { it.isFinite() }) return true
        if (logits.none { it.isFinite() }) return false.also { empty++ }
        if (logits.any { it.isNaN() }) patched++
        return true
    }

    fun keep(logits: FloatArray) = held.keep(logits)

    /** Of masks whose boxes overlap, keeps that of the best predicted IoU. */
    fun withoutDuplicates(found: List<Candidate>): List<Candidate> {
        val scores = FloatArray(found.size) { found[it].iou }
        return suppressed(found, scores, settings.boxNmsThresh) { it.measured.box.floats }
    }

    fun <T> suppressed(found: List<T>, scores: FloatArray, most: Double, box: (T) -> FloatArray): List<T> {
        val kept = stage("suppress") { suppress(found.map(box), scores, most) }
        nms += found.size to kept.size
        return kept.map(found::get)
    }

    fun result(segments: List<Segment>) = Everything(
        segments, size, Asked(images, calls, prompts, maxOf(planned, prompts)),
        Left(candidates, afterIou, afterStability, afterEdges, nms), seconds, stopped, notes(),
    )

    private fun notes() = listOfNotNull(
        if (unrated == 0) null else "${dropped(unrated)}: the decoder's predicted IoU is not a number",
        if (empty == 0) null else "${dropped(empty)}: the decoder's logits are not numbers",
        if (patched == 0) null else
            "${if (patched == 1) "1 mask has" else "$patched masks have"} logits that are not numbers: " +
                "they count as outside",
        if (fastIous.isEmpty()) null else
            "fast: masks were chosen by boxes and stability of the network's own pixels; those boxes have a " +
                "mean IoU of ${thousandths(fastIous.sum() / fastIous.size)} with the masks' own, and " +
                "${thousandths(fastIous.min())} at worst",
    )
}

private fun dropped(masks: Int) = if (masks == 1) "1 mask was dropped" else "$masks masks were dropped"

/** Three digits, rounded as every language's but Java's `format` is. */
private fun thousandths(number: Double) = BigDecimal(number).setScale(3, RoundingMode.HALF_EVEN).toString()

/** Asks for the objects of one crop. */
internal class CropAsker(private val run: Run, private val crop: Crop) {
    val found = mutableListOf<Candidate>()
    private val settings = run.settings
    private val masks by lazy { run.predictor.cropMasks(crop.size) }

    /** Asks for clicks in pixels of the crop, a batch a call. */
    suspend fun ask(points: List<Point>) {
        val clicks = if (run.isSam2) points.map { Point(it.x.toFloat(), it.y.toFloat()) } else points
        for (part in clicks.chunked(minOf(settings.pointsPerBatch, run.predictor.most))) {
            val answers = run.call("decode") { answers(part) }
            run.stage("measure") { take(answers, part) }
            run.tell()
        }
    }

    private suspend fun answers(points: List<Point>): Answers {
        val wanted: (Float) -> Boolean = if (settings.useM2m) { _ -> true } else run::passes
        val answers = run.predictor.points(points, settings.multimaskOutput, null, wanted)
        run.count(points.size)
        return if (settings.useM2m) refined(answers, points) else answers
    }

    /** Asks again with each mask and its click. */
    private suspend fun refined(first: Answers, points: List<Point>): Answers {
        val clicks = points.flatMap { point -> List(first.kinds) { point } }
        val ious = FloatArray(first.ious.size)
        val logits = mutableListOf<FloatArray?>()
        for (part in clicks.indices.chunked(minOf(settings.pointsPerBatch, run.predictor.most))) {
            run.demandCaller()
            val earlier = part.map { at -> clamped(first.logits[at] ?: FloatArray(0)) }
            val answers = run.predictor.points(part.map(clicks::get), false, earlier, run::passes)
            answers.ious.copyInto(ious, part.first())
            logits += answers.logits
            run.count(part.size)
        }
        return Answers(first.kinds, ious, logits)
    }

    private fun clamped(logits: FloatArray) = FloatArray(logits.size) { logits[it].coerceIn(-REFINED, REFINED) }

    /** Does the filters of one batch, a mask at a time. */
    private fun take(answers: Answers, points: List<Point>) {
        run.candidates += answers.ious.size
        for ((at, iou) in answers.ious.withIndex()) {
            val given = answers.logits[at]
            if (!run.isRated(iou) || given == null || !run.passes(iou)) continue
            run.goOn()
            run.afterIou++
            if (!run.isUsable(given)) continue
            val logits = filledIfAsked(given)
            val measured = measure(logits)
            if (stays(measured)) {
                found += Candidate(iou, measured, points[at / answers.kinds], run.keep(logits))
            }
        }
    }

    private fun filledIfAsked(logits: FloatArray): FloatArray {
        val asked = run.isSam2 && settings.components && settings.minMaskRegionArea > 0
        return if (asked) filled(logits, run.predictor.side, settings.minMaskRegionArea) else logits
    }

    private fun stays(measured: Measured): Boolean {
        if (!measured.isStable(settings.stabilityScoreThresh)) return false
        run.afterStability++
        if (nearCropEdge(measured.box, crop, run.size)) return false
        run.afterEdges++
        return true
    }

    /** Row by row, where a mask that passed is sure: its logit is above the option. */
    fun covered(): BooleanArray {
        val covered = BooleanArray(crop.size.width * crop.size.height)
        for (candidate in found) masks.cover(candidate.logits(), settings.highScoreThresh, covered)
        return covered
    }

    /** Encodes the masks of what suppression left, in the picture's pixels. */
    fun segments(kept: List<Candidate>): List<Segment> = run.stage("encode_masks") {
        kept.map { candidate ->
            run.goOn()
            segment(candidate.measured, candidate.iou, placed(candidate.point), candidate.logits())
        }
    }

    fun segment(measured: Measured, iou: Float, click: Point?, logits: FloatArray): Segment {
        val box = if (settings.fast) found(measured.box, logits) else measured.box
        val runs = masks.runs(logits, run.threshold, box, crop.x0, crop.y0, run.size)
        return Segment(
            runs, run.size, areaOf(runs),
            Rectangle(crop.x0 + box.x0, crop.y0 + box.y0, box.x1 - box.x0, box.y1 - box.y0),
            iou, measured.stability, click, crop.rectangle,
        )
    }

    fun measure(logits: FloatArray): Measured {
        val offset = settings.stabilityScoreOffset
        return if (settings.fast) masks.measureLow(logits, run.threshold, offset)
        else masks.measure(logits, run.threshold, offset)
    }

    /** The mask's own box in the crop, of which `fast` guessed another. */
    private fun found(guessed: Extent, logits: FloatArray): Extent {
        val own = masks.measure(logits, run.threshold, 0.0).box
        run.fastIous += pixelIou(guessed, own)
        return own
    }

    /** As published: a click of SAM 2 stays in float32 in the picture's frame as well. */
    private fun placed(click: Point): Point =
        if (!run.isSam2) Point(click.x + crop.x0, click.y + crop.y0)
        else Point(click.x.toFloat() + crop.x0.toFloat(), click.y.toFloat() + crop.y0.toFloat())
}
