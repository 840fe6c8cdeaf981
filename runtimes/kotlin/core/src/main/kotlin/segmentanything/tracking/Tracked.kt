package segmentanything

/**
 * One object on one frame of a video.
 *
 * [frame] is the frame's number. [lowResMask] are logits (1, h, w), -1024 everywhere if the object is not there.
 * [score] is the logit of whether it is there, and [present] says it: by the published rule, whether that is above 0.
 * [iouPrediction] is the network's own estimate of the mask's quality. [prompted] says whether it was prompted or
 * corrected on this frame.
 */
class Tracked internal constructor(
    val name: String,
    val frame: Int,
    found: FoundObject,
    private val place: Frame,
    private val rule: MaskRule,
) {
    val lowResMask = Tensor(listOf(1, rule.lowResSize, rule.lowResSize), found.logits)
    val score: Float = found.score
    val present: Boolean = found.present
    val iouPrediction: Float = found.iou
    val prompted: Boolean = found.prompted

    /** Makes the mask at the size of the video: on the caller's thread, and anew each time. */
    fun mask(): Mask =
        Decoded(lowResMask.values, floatArrayOf(iouPrediction), rule.lowResSize)
            .upscaled(listOf(0), place, rule).single()
}

/** Where an object is on a frame: points and a box, or a mask that is taken as it is. */
class ObjectPrompt private constructor(internal val prompts: Prompts, internal val mask: DrawnMask?) {
    /** Points and a box, in pixels of the frame. */
    constructor(prompts: Prompts) : this(prompts, null)

    /** Points, a label for each (1 foreground, 0 background), and a box, in pixels of the frame. */
    constructor(points: List<Point> = emptyList(), labels: List<Int> = emptyList(), box: Box? = null) :
        this(Prompts(points, labels, box))

    /** A mask of an earlier result, or of another network; it is stretched over the frame. */
    constructor(mask: Mask) : this(mask.width, mask.height, mask.pixels)

    /**
     * A mask of a byte a pixel, row by row, 0 outside; it is stretched over the frame. Throws
     * [SegmentAnythingError.Prompt] if there are not so many.
     */
    constructor(width: Int, height: Int, inside: ByteArray) : this(Prompts(), drawn(width, height, inside))

    private companion object {
        fun drawn(width: Int, height: Int, inside: ByteArray): DrawnMask {
            if (width !in 1..65_535 || height !in 1..65_535 || inside.size.toLong() != width.toLong() * height) {
                throw SegmentAnythingError.Prompt(
                    "a mask has a byte for each of its pixels, not ${inside.size} for $width x $height"
                )
            }
            return DrawnMask(Size(width, height), inside)
        }
    }
}
