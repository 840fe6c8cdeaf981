package segmentanything

private const val POINT_SCORES = "point_scores"

/** Answers of [kinds] masks a prompt: predicted IoUs, and logits, null of those that were not wanted. */
internal class Answers(val kinds: Int, val ious: FloatArray, val logits: List<FloatArray?>)

/** Boxes (x0, y0, x1, y1) that a detector found, and their scores. */
internal class FoundBoxes(val boxes: List<FloatArray>, val scores: FloatArray)

/** What everything is asked of: an image once, then prompts in its pixels. */
internal interface Predictor {
    val generator: Generator
    val maskThreshold: Double

    /** Prompts that one call of it takes. */
    val most: Int

    /** Side of its logits. */
    val side: Int

    suspend fun setImage(picture: Picture)

    /**
     * Answers clicks: three masks each, one without [multimask], or one refined with [earlier] logits. Masks
     * whose predicted IoU is not [wanted] may be left out.
     */
    suspend fun points(
        points: List<Point>, multimask: Boolean, earlier: List<FloatArray>?, wanted: (Float) -> Boolean,
    ): Answers

    /** Answers one mask a box. */
    suspend fun boxes(boxes: List<Box>): Answers

    /** Points of the image that a head proposes to click, the best first. */
    suspend fun proposals(): List<Proposal>

    /** How logits become masks of an image of [size]. */
    fun cropMasks(size: Size): CropMasks

    /** The objects of the image, if it finds them by itself. */
    fun pieces(): List<Piece>? = null
}

/** A bundle as a [Predictor]: it encodes images of its own, beside that of `setImage`. */
internal class BundlePredictor(private val sam: SegmentAnything) : Predictor, AutoCloseable {
    private val manifest = sam.bundle.manifest
    private val rule = (manifest.kind as? Kind.Slots)?.rule
    private var scene: Scene? = null
    override val maskThreshold = manifest.mask.threshold

    // SAM 2's predictor is the one that pads a box as well.
    override val generator = if (rule?.padWithBox == true) Generator.SAM2 else Generator.SAM
    override val most = rule?.batch ?: 1
    override val side = manifest.mask.lowResSize

    init {
        if (manifest.kind is Kind.Drawn) {
            throw SegmentAnythingError.Request(
                "this bundle takes a full run of its network for each prompt: ask for one"
            )
        }
    }

    override suspend fun setImage(picture: Picture) {
        scene?.close()
        scene = null
        scene = sam.withGraphs { it.encode(picture) }
    }

    override suspend fun points(
        points: List<Point>, multimask: Boolean, earlier: List<FloatArray>?, wanted: (Float) -> Boolean,
    ): Answers {
        if (earlier != null) requireRefinable()
        val sets = points.map { Prompts(listOf(it), listOf(1)) }
        return answers(sets, earlier, multimask && earlier == null, wanted)
    }

    /** Throws if the decoder takes no mask of its own again. */
    private fun requireRefinable() {
        if (manifest.graphs.any { it.takes("mask_input") }) return
        val cut = manifest.graphs.any { it.name == "token_decoder" }
        val other = if (cut) ", or use an ordinary bundle: sam-export without --everything" else ""
        throw SegmentAnythingError.Prompt(
            "${printable(manifest.variant)} takes no earlier mask, which useM2m gives it: leave out useM2m$other"
        )
    }

    override suspend fun boxes(boxes: List<Box>): Answers =
        answers(boxes.map { Prompts(box = it) }, null, false) { true }

    private suspend fun answers(
        sets: List<Prompts>, earlier: List<FloatArray>?, multimask: Boolean, wanted: (Float) -> Boolean,
    ): Answers {
        val encoded = encoded()
        val multi = manifest.mask.multi
        // One mask is chosen by logits as well, so none can be left out before they are there.
        val worth: (FloatArray) -> Boolean = { ious -> !multimask || multi.any { wanted(ious[it]) } }
        val made = sam.withGraphs { graphs -> graphs.decode(encoded, sets, earlier, worth) }
        val kinds = if (multimask) multi.size else 1
        val ious = FloatArray(sets.size * kinds)
        val logits = made.flatMapIndexed { at, decoded ->
            decoded.tokens(manifest.mask, multimask).mapIndexed { kind, token ->
                ious[at * kinds + kind] = decoded.iou[token]
                if (wanted(decoded.iou[token])) decoded.logitsOf(token) else null
            }
        }
        return Answers(kinds, ious, logits)
    }

    private fun encoded() = scene as? Scene.Encoded ?: throw SegmentAnythingError.Request(
        "this bundle finds objects by itself and takes no prompts: use detector"
    )

    override suspend fun proposals(): List<Proposal> {
        val encoded = encoded()
        val head = manifest.graphs.firstOrNull { graph -> graph.outputs.any { it.name == POINT_SCORES } }
            ?: throw SegmentAnythingError.Request(
                "${printable(manifest.variant)} has no head that proposes points: use the demo's bundle of " +
                    "sam-export --everything, or another method"
            )
        val scores = sam.withGraphs { it.beside(head, encoded) }[POINT_SCORES]
        if (scores?.shape?.size != 4) {
            throw SegmentAnythingError.Bundle(
                "${head.name} gives no map of $POINT_SCORES: export the bundle again"
            )
        }
        return ScoreMap(scores.shape[3], scores.shape[2], scores.values).peaks(encoded.frame)
    }

    override fun cropMasks(size: Size): CropMasks {
        val how = manifest.mask.upscale
        val upscaling = Upscaling.of(side, Frame(size, manifest.preprocess), how)
        return CropMasks(size, upscaling, side, how == Upscale.SIGMOID_BILINEAR_ONCE)
    }

    override fun pieces(): List<Piece>? = (scene as? Scene.Found)?.pieces

    override fun close() {
        scene?.close()
        scene = null
    }
}

/** Finds the boxes of objects: the whole pixels that their masks may lie in. */
internal suspend fun SegmentAnything.foundBoxes(picture: Picture): FoundBoxes =
    BundlePredictor(this).use { predictor ->
        predictor.setImage(picture)
        val pieces = predictor.pieces()?.filter { it.pixels.isNotEmpty() }
            ?: throw SegmentAnythingError.Request("this bundle finds no objects by itself: give FastSAM's bundle")
        val boxes = pieces.map { piece ->
            floatArrayOf(
                piece.left.toFloat(), piece.top.toFloat(), (piece.left + piece.width).toFloat(),
                (piece.top + piece.height).toFloat(),
            )
        }
        FoundBoxes(boxes, FloatArray(pieces.size) { pieces[it].score })
    }
