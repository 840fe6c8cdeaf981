package segmentanything

/** Of an earlier mask that is given back to the decoder, as the published predictor limits it. */
private const val LOGIT_LIMIT = 32.0

/**
 * One object on one frame: the logits of its mask, `absent_logit` everywhere if it is not there; what later frames
 * know it by; and whether the user said where it is on this frame, by a prompt or a correction.
 */
internal class FoundObject(
    val logits: FloatArray,
    val pointer: FloatArray,
    val score: Float,
    val iou: Float,
    val present: Boolean,
    val prompted: Boolean,
)

/** One object's frames: prompted, tracked, corrected, remembered. It owns what attention gave for the current one. */
internal class FollowedObject(
    val name: String,
    private val bank: Bank,
    private val graphs: TrackingGraphs,
    private val manifest: Manifest,
    private val rule: VideoRule,
    private val host: VideoHostData,
) : AutoCloseable {
    /** What was found on the current frame; null if it was not looked for there. */
    var latest: FoundObject? = null
        private set
    private var conditioned: Value? = null
    private var prompts = Prompts()
    private var asPrompt = false
    private val slots = (manifest.kind as Kind.Slots).rule

    override fun close() {
        conditioned?.close()
        conditioned = null
    }

    /** Finds the object by prompts alone, without memory: the frame becomes a prompted one. */
    fun prompt(scene: TrackingScene, given: Prompts) {
        begin(isPrompted = true)
        click(scene, given, null)
    }

    /** Takes a mask as the object: nothing is predicted but the pointer. */
    fun draw(scene: TrackingScene, mask: DrawnMask) {
        begin(isPrompted = true)
        val logit = rule.maskPromptLogit
        val square = mask.inSquare(scene.frame)
        val present = square.any { it > 0 }
        val logits = lowResLogits(square, scene.frame.side, 4 * rule.grid, logit)
        val pointer = drawnPointer(scene, square)
        val score = if (present) logit else -logit
        settle(scene, FoundObject(logits, if (present) pointer else host.noPointer, score, 1f, present, true))
    }

    /** Finds the object by what is remembered of it. */
    fun track(scene: TrackingScene) {
        begin(isPrompted = false)
        val seen = graphs.attend(scene, bank.memories(scene.view), bank.pointers(scene.view))
        conditioned = seen
        settle(scene, found(graphs.decode(scene, seen, padding(), null), 0, isPrompted = false))
    }

    /** Adds clicks, or a box, to what was found on this frame; all clicks on it count again. */
    fun correct(scene: TrackingScene, given: Prompts) {
        val before = latest
            ?: throw SegmentAnythingError.Prompt("object ${quoted(name)} has no mask on this frame to correct")
        val limit = (manifest.mask.logitLimit ?: LOGIT_LIMIT).toFloat()
        click(scene, given, FloatArray(before.logits.size) { before.logits[it].coerceIn(-limit, limit) })
    }

    /** Remembers the current frame, for nothing more is said about it. */
    fun leave(scene: TrackingScene) {
        val found = latest ?: return
        latest = null
        close()
        val memory = graphs.remember(scene, found)
        requireFinite(scene, "memory", memory)
        bank.keep(scene.view.frame, memory, found.pointer, asPrompt)
    }

    private fun begin(isPrompted: Boolean) {
        close()
        prompts = Prompts()
        asPrompt = isPrompted
    }

    private fun click(scene: TrackingScene, given: Prompts, earlier: FloatArray?) {
        if (prompts.box != null && given.box != null) {
            throw SegmentAnythingError.Prompt(
                "object ${quoted(name)} has a box on this frame already: correct it by points"
            )
        }
        given.placed(scene.frame.original) // before labels of theirs stand beside earlier points
        val together =
            Prompts(prompts.points + given.points, prompts.labels + given.labels, prompts.box ?: given.box)
        val packed = together.packed(scene.frame, slots)
        val decoded = graphs.decode(scene, conditioned ?: scene.embeddings, packed, earlier)
        val points = together.points.size + if (together.box == null) 0 else 2
        val found = found(decoded, points, isPrompted = true)
        prompts = together
        settle(scene, found)
    }

    /** Chooses a frame's mask and pointer. [points] prompted it, a box counting as two; 0 if it is tracked. */
    private fun found(decoded: DecodedObject, points: Int, isPrompted: Boolean): FoundObject {
        val single = manifest.mask.single
        val several = points <= rule.severalUpTo
        val token = decoded.masks.tokens(manifest.mask, several).maxBy { decoded.masks.iou[it] }
        // Even if the mask of several clicks is another token's, the pointer is not.
        val pointing = if (several || single < 0) token else single
        val present = decoded.score > rule.minObjectScore
        val logits = checkNotNull(decoded.masks.logitsOf(token))
        return FoundObject(
            if (present) logits else FloatArray(logits.size) { rule.absentLogit },
            if (present) decoded.pointer(pointing) else host.noPointer,
            decoded.score,
            decoded.masks.iou[token],
            present,
            isPrompted,
        )
    }

    private fun DecodedObject.pointer(token: Int) =
        pointers.copyOfRange(token * rule.pointerWidth, (token + 1) * rule.pointerWidth)

    /** Asks the decoder for the pointer of a drawn mask, on embeddings without what stands for no memory. */
    private fun drawnPointer(scene: TrackingScene, square: FloatArray): FloatArray {
        val seen = scene.embeddings.tensor()
        val plane = seen.values.size / host.noMemory.size
        val bare = FloatArray(seen.values.size) { seen.values[it] - host.noMemory[it / plane] }
        val input = host.maskInput(square, scene.frame.side, 4 * rule.grid)
        val decoded = graphs.decode(scene, Value.Floats(Tensor(seen.shape, bare)), padding(), input)
        if (decoded.score <= rule.minObjectScore) return host.noPointer
        return decoded.pointer(maxOf(0, manifest.mask.single))
    }

    /** Fills the slots of a frame that has no prompt. */
    private fun padding(): Pair<FloatArray, FloatArray> {
        val labels = FloatArray(slots.slots) { if (it < rule.paddingPoints) Label.NOT_A_POINT else Label.EMPTY }
        return FloatArray(2 * slots.slots) to labels
    }

    private fun settle(scene: TrackingScene, found: FoundObject) {
        requireFinite(scene, "object_score_logits", floatArrayOf(found.score))
        requireFinite(scene, "low_res_masks", found.logits)
        requireFinite(scene, "object_pointers", found.pointer)
        latest = found
    }

    /** Checks what later frames will see: one NaN would make all of them NaN. */
    private fun requireFinite(scene: TrackingScene, what: String, values: FloatArray) {
        if (values.all { it.isFinite() }) return
        throw SegmentAnythingError.Bundle(
            "$what of object ${quoted(name)} on frame ${scene.view.frame} is not finite, and so would be every " +
                "frame after it; see whether fp32 is finite: if so, the precision is the cause"
        )
    }
}

/** Spells a name from outside as one short text. */
internal fun quoted(name: String) = "'${printable(name)}'"
