package segmentanything

/** Whose rules: SAM's generator or SAM 2's. */
enum class Generator { SAM, SAM2 }

/** The options of all methods, under their published names; see [EverythingMethod]. */
internal data class Settings(
    val pointsPerSide: Int? = 32,
    val pointsPerBatch: Int = 64,
    val predIouThresh: Double? = null,
    val stabilityScoreThresh: Double = 0.95,
    val stabilityScoreOffset: Double = 1.0,
    val boxNmsThresh: Double = 0.7,
    val cropNLayers: Int = 0,
    val cropNmsThresh: Double = 0.7,
    val cropOverlapRatio: Double = 512.0 / 1500.0,
    val cropNPointsDownscaleFactor: Double = 1.0,
    val pointGrids: List<List<Point>>? = null,
    val minMaskRegionArea: Double = 0.0,
    val maskThreshold: Double? = null,
    val multimaskOutput: Boolean = true,
    val useM2m: Boolean = false,
    val highScoreThresh: Double = 8.5,
    val boxes: List<Box>? = null,
    val boxesPerBatch: Int = 320,
    val generator: Generator? = null,
    val components: Boolean = true,
    val proposalThresh: Double = 0.1,
    val maxProposals: Int = 64,
    val fast: Boolean = false,
) {
    init {
        whole("pointsPerSide", pointsPerSide ?: 1, 1..256)
        whole("pointsPerBatch", pointsPerBatch, 1..4096)
        whole("boxesPerBatch", boxesPerBatch, 1..4096)
        whole("cropNLayers", cropNLayers, 0..4)
        whole("maxProposals", maxProposals, 1..4096)
        val numbers = listOf(predIouThresh ?: 0.0, stabilityScoreThresh, maskThreshold ?: 0.0, highScoreThresh)
        if (numbers.any(Double::isNaN)) throw wrong("a threshold is a number")
        number("stabilityScoreOffset", stabilityScoreOffset, 0.0, Double.POSITIVE_INFINITY)
        number("boxNmsThresh", boxNmsThresh, 0.0, Double.POSITIVE_INFINITY)
        number("cropNmsThresh", cropNmsThresh, 0.0, Double.POSITIVE_INFINITY)
        number("cropOverlapRatio", cropOverlapRatio, 0.0, 0.999)
        number("cropNPointsDownscaleFactor", cropNPointsDownscaleFactor, 1.0, 256.0)
        number("minMaskRegionArea", minMaskRegionArea, 0.0, Double.POSITIVE_INFINITY)
        number("proposalThresh", proposalThresh, 0.0, 1.0)
        checkGrids()
        boxes?.firstOrNull { box -> listOf(box.x0, box.y0, box.x1, box.y1).any { !it.isFinite() } }
            ?.let { throw wrong("boxes are x0, y0, x1, y1 in pixels of the picture") }
    }

    private fun checkGrids() {
        if ((pointsPerSide == null) == (pointGrids == null)) {
            throw wrong("give pointsPerSide, or null with pointGrids: one of the two")
        }
        val own = pointGrids ?: return
        if (own.size <= cropNLayers) throw wrong("pointGrids has no points for the crops of layer ${own.size}")
        if (own.any { grid -> grid.isEmpty() || grid.any { it.x !in 0.0..1.0 || it.y !in 0.0..1.0 } }) {
            throw wrong("pointGrids holds points x, y in 0..1, one or more for each layer")
        }
    }

    private fun whole(name: String, value: Int, range: IntRange) {
        if (value in range) return
        throw wrong("$name is a whole number from ${range.first} to ${range.last}, not $value")
    }

    private fun number(name: String, value: Double, low: Double, high: Double) {
        if (value !in low..high) {
            val most = if (high.isFinite()) " to ${plain(high)}" else ""
            throw wrong("$name is a number from ${plain(low)}$most, not ${plain(value)}")
        }
    }

    private fun wrong(text: String) = SegmentAnythingError.Request(text)
}

/**
 * A way to find everything in a picture, with its options: the published generators', under their names.
 *
 * Options that several ways have: `pointsPerSide` of the grid; `pointsPerBatch`, the most prompts in one call
 * of the decoder; a mask stays if its predicted IoU is above `predIouThresh` (null: 0.88, SAM 2's 0.8; 0
 * keeps all) and at least `stabilityScoreThresh` of it stays when the threshold moves by
 * `stabilityScoreOffset` (0 keeps all); of masks whose boxes' IoU is above `boxNmsThresh` (`cropNmsThresh`
 * between crops) the better stays; holes and islands below `minMaskRegionArea` pixels are removed from
 * masks; `maskThreshold` is of logits (null: the bundle's); `fast` takes stability and boxes from the network's
 * own pixels, so that other masks may be kept ([Everything.notes] says how far the boxes are off).
 *
 * Each factory throws [SegmentAnythingError.Request] for a value that cannot be.
 */
class EverythingMethod private constructor(
    internal val settings: Settings,
    internal val find: suspend (Run, Picture) -> List<Segment>,
) {
    companion object {
        /**
         * A click on every point of a grid, in the picture and in its crops: SAM's and SAM 2's generators.
         *
         * [cropNLayers] layers of 2^i x 2^i crops are asked as well, which overlap by [cropOverlapRatio] of
         * the shorter side, with fewer points by [cropNPointsDownscaleFactor] to the power i. [pointGrids] are
         * points in 0..1 for the picture and each layer, instead of [pointsPerSide], which is null then.
         * Without [multimaskOutput] one mask a point. [useM2m] asks again with each mask. [generator] says
         * whose rules (null: the bundle's); without [components] SAM 2's leaves small regions.
         */
        fun grid(
            pointsPerSide: Int? = 32,
            pointsPerBatch: Int = 64,
            predIouThresh: Double? = null,
            stabilityScoreThresh: Double = 0.95,
            stabilityScoreOffset: Double = 1.0,
            boxNmsThresh: Double = 0.7,
            cropNLayers: Int = 0,
            cropNmsThresh: Double = 0.7,
            cropOverlapRatio: Double = 512.0 / 1500.0,
            cropNPointsDownscaleFactor: Double = 1.0,
            pointGrids: List<List<Point>>? = null,
            minMaskRegionArea: Double = 0.0,
            maskThreshold: Double? = null,
            multimaskOutput: Boolean = true,
            useM2m: Boolean = false,
            generator: Generator? = null,
            components: Boolean = true,
            fast: Boolean = false,
        ) = grid(
            Settings(
                pointsPerSide, pointsPerBatch, predIouThresh, stabilityScoreThresh, stabilityScoreOffset,
                boxNmsThresh, cropNLayers, cropNmsThresh, cropOverlapRatio, cropNPointsDownscaleFactor,
                pointGrids, minMaskRegionArea, maskThreshold, multimaskOutput, useM2m, generator = generator,
                components = components, fast = fast,
            )
        )

        /**
         * A coarse grid first, then those points of the fine one that no sure mask covers: TinySAM's.
         *
         * A logit above [highScoreThresh] covers a pixel.
         */
        fun hierarchical(
            pointsPerSide: Int = 32,
            pointsPerBatch: Int = 64,
            predIouThresh: Double? = null,
            stabilityScoreThresh: Double = 0.95,
            stabilityScoreOffset: Double = 1.0,
            boxNmsThresh: Double = 0.7,
            cropNmsThresh: Double = 0.7,
            minMaskRegionArea: Double = 0.0,
            maskThreshold: Double? = null,
            highScoreThresh: Double = 8.5,
            fast: Boolean = false,
        ) = hierarchical(
            Settings(
                pointsPerSide, pointsPerBatch, predIouThresh, stabilityScoreThresh, stabilityScoreOffset,
                boxNmsThresh, cropNmsThresh = cropNmsThresh, minMaskRegionArea = minMaskRegionArea,
                maskThreshold = maskThreshold, highScoreThresh = highScoreThresh, fast = fast,
            )
        )

        /**
         * A click where a head on the image embedding proposes one, the best first; ours. The demo's bundle of
         * `sam-export --everything` has the head, `point_proposer`.
         *
         * Points are asked that score above [proposalThresh], [maxProposals] at most.
         */
        fun proposed(
            proposalThresh: Double = 0.1,
            maxProposals: Int = 64,
            pointsPerBatch: Int = 64,
            predIouThresh: Double? = null,
            stabilityScoreThresh: Double = 0.95,
            stabilityScoreOffset: Double = 1.0,
            boxNmsThresh: Double = 0.7,
            cropNmsThresh: Double = 0.7,
            minMaskRegionArea: Double = 0.0,
            maskThreshold: Double? = null,
            multimaskOutput: Boolean = true,
            useM2m: Boolean = false,
            generator: Generator? = null,
            components: Boolean = true,
            fast: Boolean = false,
        ) = proposed(
            Settings(
                pointsPerBatch = pointsPerBatch, predIouThresh = predIouThresh,
                stabilityScoreThresh = stabilityScoreThresh, stabilityScoreOffset = stabilityScoreOffset,
                boxNmsThresh = boxNmsThresh, cropNmsThresh = cropNmsThresh,
                minMaskRegionArea = minMaskRegionArea, maskThreshold = maskThreshold,
                multimaskOutput = multimaskOutput, useM2m = useM2m, generator = generator,
                components = components, proposalThresh = proposalThresh, maxProposals = maxProposals,
                fast = fast,
            )
        )

        /** One mask for each of [boxes], the largest first, nothing filtered: MobileSAMv2's. */
        fun objectAware(
            boxes: List<Box>,
            boxesPerBatch: Int = 320,
            maskThreshold: Double? = null,
            stabilityScoreOffset: Double = 1.0,
        ) = objectAware(
            Settings(
                boxes = boxes, boxesPerBatch = boxesPerBatch, maskThreshold = maskThreshold,
                stabilityScoreOffset = stabilityScoreOffset,
            ),
            null,
        )

        /** Does as the other `objectAware`, with the boxes that [detector], a FastSAM bundle, finds. */
        fun objectAware(
            detector: SegmentAnything,
            boxesPerBatch: Int = 320,
            maskThreshold: Double? = null,
            stabilityScoreOffset: Double = 1.0,
        ) = objectAware(
            Settings(
                boxesPerBatch = boxesPerBatch, maskThreshold = maskThreshold,
                stabilityScoreOffset = stabilityScoreOffset,
            ),
            detector::foundBoxes,
        )

        /** What a bundle that finds objects by itself finds, such as FastSAM's: the highest score first. */
        fun detector() = EverythingMethod(Settings()) { run, picture -> detectEverything(run, picture) }

        internal fun grid(settings: Settings) =
            EverythingMethod(settings) { run, picture -> findByGrid(run, picture) }

        internal fun hierarchical(settings: Settings): EverythingMethod {
            val side = settings.pointsPerSide ?: 0
            if (side < COARSER) {
                throw SegmentAnythingError.Request("hierarchical needs $COARSER points a side at least, not $side")
            }
            return EverythingMethod(settings) { run, picture -> findByCoarseGrid(run, picture) }
        }

        internal fun proposed(settings: Settings) =
            EverythingMethod(settings) { run, picture -> findByProposals(run, picture) }

        internal fun objectAware(settings: Settings, finder: (suspend (Picture) -> FoundBoxes)?) =
            EverythingMethod(settings) { run, picture -> findByBoxes(run, picture, finder) }
    }
}
