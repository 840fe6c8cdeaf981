package segmentanything

import java.io.File
import java.util.concurrent.CancellationException
import kotlinx.coroutines.CoroutineStart
import kotlinx.coroutines.Job
import kotlinx.coroutines.async
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import kotlinx.serialization.json.JsonArray
import kotlinx.serialization.json.JsonElement
import kotlinx.serialization.json.JsonPrimitive

/** Everything: the golden vectors, its steps, and what an app sees of a run. */
internal fun Checks.everything() {
    val cases = Case.all("everything")
    check("everything has cases") { same(cases.size > 20, true) }
    for (case in cases) check("everything: ${case.name}") { everything(case) }
    for (case in Case.all("everything_steps")) check("everything's steps: ${case.name}") { step(case) }
    options()
    runs()
}

private fun ints(json: JsonElement): List<Int> = coordinates(json).map(Double::toInt)

private fun point(json: JsonElement) = coordinates(json).let { (x, y) -> Point(x, y) }

private fun box(json: JsonElement) = coordinates(json).let { Box(it[0], it[1], it[2], it[3]) }

/** Answers as a case recorded it, and demands to be asked as it was then. */
private class Script(private val given: Case) : Predictor {
    private val answers = given.fields.obj("answers")
    private val grids = answers.objects("grids").map { stored(it).values }
    private val calls = answers.objects("calls")
    private val frame = Preprocess(given.fields.obj("preprocess"))
    private val how = given.fields.word("upscale", Upscale.entries)
    val crops = mutableListOf<List<Int>>()
    var asked = 0
    override val generator = Generator.SAM
    override val maskThreshold = 0.0
    override val most = Int.MAX_VALUE
    override val side = 16

    private fun stored(place: Fields) = given.stored(place)

    override suspend fun setImage(picture: Picture) {
        val left = picture.rgb[0].toInt() and 0xff
        val top = picture.rgb[1].toInt() and 0xff
        crops += listOf(left, top, left + picture.width, top + picture.height)
    }

    override suspend fun points(
        points: List<Point>, multimask: Boolean, earlier: List<FloatArray>?, wanted: (Float) -> Boolean,
    ) = answer(points.map { listOf(it.x, it.y) }, multimask, earlier)

    override suspend fun boxes(boxes: List<Box>) =
        answer(boxes.map { listOf(it.x0, it.y0, it.x1, it.y1) }, false, null)

    override suspend fun proposals() = given.fields.list("proposed").map { row ->
        val (place, score) = row as JsonArray
        Proposal(point(place), coordinates(JsonArray(listOf(score))).single().toFloat())
    }

    private fun answer(prompts: List<List<Double>>, multimask: Boolean, earlier: List<FloatArray>?): Answers {
        val call = calls[asked++]
        same(crops.size - 1, call.whole("image", 0..999))
        same(prompts, call.list("prompts").map(::coordinates))
        same(multimask, call.flag("multimask"))
        val numbers = if (call.has("earlier")) ints(call.json("earlier")) else null
        same(earlier?.size, numbers?.size)
        numbers?.forEachIndexed { at, number -> same(earlier!![at], grids[number]) }
        val which = stored(call.obj("grids"))
        return Answers(which.shape[1], stored(call.obj("ious")).values, which.values.map { grids[it.toInt()] })
    }

    override fun cropMasks(size: Size): CropMasks {
        val upscaling = Upscaling.of(side, Frame(size, frame), how)
        return CropMasks(size, upscaling, side, how == Upscale.SIGMOID_BILINEAR_ONCE)
    }

    /** Demands that nothing was left out. */
    fun finish() {
        same(crops, answers.list("crops").map(::ints))
        same(asked, calls.size)
    }
}

private fun settings(given: Fields): Settings {
    val default = Settings()
    fun number(name: String, other: Double) = if (given.has(name)) given.number(name) else other
    fun whole(name: String, other: Int) = if (given.has(name)) given.whole(name, 0..99_999) else other
    fun flag(name: String, other: Boolean) = if (given.has(name)) given.flag(name) else other
    val grids = if (!given.has("point_grids")) null else given.list("point_grids").map { grid ->
        (grid as JsonArray).map(::point)
    }
    return default.copy(
        pointsPerSide = if (grids != null) null else whole("points_per_side", 32),
        pointsPerBatch = whole("points_per_batch", default.pointsPerBatch),
        predIouThresh = if (given.has("pred_iou_thresh")) given.number("pred_iou_thresh") else null,
        stabilityScoreThresh = number("stability_score_thresh", default.stabilityScoreThresh),
        stabilityScoreOffset = number("stability_score_offset", default.stabilityScoreOffset),
        boxNmsThresh = number("box_nms_thresh", default.boxNmsThresh),
        cropNLayers = whole("crop_n_layers", default.cropNLayers),
        cropNmsThresh = number("crop_nms_thresh", default.cropNmsThresh),
        cropOverlapRatio = number("crop_overlap_ratio", default.cropOverlapRatio),
        cropNPointsDownscaleFactor = number("crop_n_points_downscale_factor", 1.0),
        pointGrids = grids,
        minMaskRegionArea = number("min_mask_region_area", default.minMaskRegionArea),
        maskThreshold = if (given.has("mask_threshold")) given.number("mask_threshold") else null,
        multimaskOutput = flag("multimask_output", default.multimaskOutput),
        useM2m = flag("use_m2m", default.useM2m),
        highScoreThresh = number("high_score_thresh", default.highScoreThresh),
        boxes = if (given.has("boxes")) given.list("boxes").map(::box) else null,
        boxesPerBatch = whole("boxes_per_batch", default.boxesPerBatch),
        generator = if (given.has("generator")) Generator.SAM2 else null,
        components = flag("components", default.components),
        proposalThresh = number("proposal_thresh", default.proposalThresh),
        maxProposals = whole("max_proposals", default.maxProposals),
        fast = flag("fast", default.fast),
    )
}

private fun method(given: Case): EverythingMethod {
    val settings = settings(given.fields.obj("options"))
    val found = given.fields.list("found").map { it as JsonArray }
    val finder: suspend (Picture) -> FoundBoxes = {
        val boxes = found.map { row -> coordinates(row[0]).map(Double::toFloat).toFloatArray() }
        FoundBoxes(boxes, coordinates(JsonArray(found.map { it[1] })).map(Double::toFloat).toFloatArray())
    }
    return when (given.fields.text("method")) {
        "grid" -> EverythingMethod.grid(settings)
        "hierarchical" -> EverythingMethod.hierarchical(settings)
        "proposed" -> EverythingMethod.proposed(settings)
        else -> EverythingMethod.objectAware(settings, finder)
    }
}

private fun places(size: Size) = Picture(
    size.width, size.height,
    ByteArray(size.width * size.height * 3) {
        val pixel = it / 3
        listOf(pixel % size.width, pixel / size.width, 0)[it % 3].toByte()
    },
)

private fun everything(given: Case) {
    val script = Script(given)
    val told = mutableListOf<EverythingProgress>()
    val stop = if (given.fields.has("stop_after")) given.fields.whole("stop_after", 1..99) else null
    val caller = Job()
    val found = runBlocking {
        findEverything(script, places(given.size()), method(given), caller, stop != null) { progress ->
            told += progress
            if (told.size == stop) caller.cancel()
        }
    }
    script.finish()
    val expected = given.fields.obj("expected")
    same(found.partial, expected.flag("partial"))
    same(found.notes, expected.list("notes").map { (it as JsonPrimitive).content })
    val asked = expected.obj("asked")
    same(found.asked.images, asked.whole("images", 0..999))
    same(found.asked.calls, asked.whole("calls", 0..999))
    same(found.asked.prompts, asked.whole("prompts", 0..9999))
    same(found.asked.planned, asked.whole("planned", 0..9999))
    same(told.lastOrNull()?.done ?: 0, asked.whole("prompts", 0..9999))
    same(told.size <= found.asked.calls, true)
    val left = expected.obj("left")
    same(found.left.candidates, left.whole("candidates", 0..9999))
    same(found.left.afterIou, left.whole("after_iou", 0..9999))
    same(found.left.afterStability, left.whole("after_stability", 0..9999))
    same(found.left.afterEdges, left.whole("after_edges", 0..9999))
    same(found.left.nms, left.list("nms").map { ints(it).let { (before, after) -> before to after } })
    val segments = expected.objects("segments")
    same(found.segments.map { it.cocoCounts }, segments.map { it.text("coco") })
    for ((mine, wanted) in found.segments.zip(segments)) compare(mine, wanted)
    if (expected.has("labels")) {
        same(found.labels().toList(), given.array("labels", expected).values.map(Float::toInt))
    }
}

private fun compare(mine: Segment, wanted: Fields) {
    same(mine.area, wanted.whole("area", 0..99_999))
    same(mine.mask.area, mine.area)
    fun sides(box: Rectangle) = listOf(box.x, box.y, box.width, box.height)
    same(sides(mine.bbox), ints(wanted.json("bbox")))
    same(sides(mine.cropBox), ints(wanted.json("crop_box")))
    same(mine.predictedIou.toDouble(), wanted.number("predicted_iou"))
    same(mine.stabilityScore?.toDouble(), wanted.number("stability_score"))
    same(mine.pointCoords, if (wanted.has("point_coords")) point(wanted.json("point_coords")) else null)
}

private fun runsOf(mask: Tensor): IntArray {
    val size = Size(mask.shape[1], mask.shape[0])
    return runsOf(Rectangle(0, 0, size.width, size.height), size) { column, row ->
        mask.values[row * size.width + column] > 0
    }
}

private fun step(given: Case) {
    val fields = given.fields
    when (fields.text("kind")) {
        "small_regions" -> {
            val mask = given.array("mask")
            val runs = runsOf(mask)
            same(runs.toList(), ints(fields.json("runs")))
            same(cocoText(runs), fields.text("coco"))
            val size = Size(mask.shape[1], mask.shape[0])
            val (cleaned, changed) = withoutSmall(runs, size, fields.number("area"))
            same(pixelsOf(cleaned, size), given.bytes("cleaned"))
            same(changed, fields.flag("changed"))
        }
        "fill" -> {
            val logits = given.array("logits")
            same(filled(logits.values, logits.shape[1], fields.number("most")), given.array("filled").values)
        }
        "grid" -> same(pointGrid(fields.whole("side", 1..99)), fields.list("points").map(::point))
        "crops" -> {
            val found = cropsOf(given.size(), fields.whole("layers", 0..4), fields.number("overlap"))
            same(found.map { (c, layer) -> listOf(c.x0, c.y0, c.x1, c.y1, layer) }, fields.list("crops").map(::ints))
        }
        "second_points" -> {
            val covered = given.array("covered")
            val size = Size(covered.shape[1], covered.shape[0])
            val side = fields.whole("side", 1..99)
            val coarse = pointGrid(side / COARSER).map { Point(it.x * size.width, it.y * size.height) }
            val sure = BooleanArray(covered.values.size) { covered.values[it] > 0 }
            same(secondPoints(sure, size, coarse, side), fields.list("points").map(::point))
        }
        "suppress" -> {
            val boxes = given.array("boxes").values.toList().chunked(4).map { it.toFloatArray() }
            val kept = suppress(boxes, given.array("scores").values, fields.number("most"))
            same(kept, ints(fields.json("kept")))
        }
        "edges" -> {
            val crop = ints(fields.json("crop")).let { Crop(it[0], it[1], it[2], it[3]) }
            val boxes = fields.list("boxes").map { row -> ints(row).let { Extent(it[0], it[1], it[2], it[3]) } }
            val near = boxes.map { if (nearCropEdge(it, crop, given.size())) 1f else 0f }
            same(near, given.array("near").values.toList())
        }
        "stability" -> {
            val measured = Measured(
                fields.whole("above", 0..9999), fields.whole("within", 0..9999), Extent(0, 0, 0, 0)
            )
            same(measured.isStable(fields.number("least")), fields.flag("stays"))
        }
        "peaks" -> {
            val scores = given.array("scores")
            val found = ScoreMap(scores.shape[1], scores.shape[0], scores.values).peaks(given.frame())
            same(found.map { it.point }, fields.list("points").map(::point))
            same(FloatArray(found.size) { found[it].score }, given.array("rated").values)
        }
        else -> throw AssertionError("no step ${fields.text("kind")}")
    }
}

private fun Checks.options() {
    val wrong = mapOf<String, () -> Unit>(
        "pointsPerSide is a whole number from 1 to 256" to { EverythingMethod.grid(pointsPerSide = 0) },
        "one of the two" to { EverythingMethod.grid(pointsPerSide = null) },
        "needs 4 points a side" to { EverythingMethod.hierarchical(pointsPerSide = 3) },
        "cropOverlapRatio is a number from 0 to 0.999" to { EverythingMethod.grid(cropOverlapRatio = 1.0) },
        "x, y in 0..1" to {
            EverythingMethod.grid(pointsPerSide = null, pointGrids = listOf(listOf(Point(2, 0))))
        },
        "no points for the crops of layer 1" to {
            EverythingMethod.grid(pointsPerSide = null, pointGrids = listOf(listOf(Point(1, 0))), cropNLayers = 1)
        },
        "maxProposals is a whole number from 1 to 4096" to { EverythingMethod.proposed(maxProposals = 0) },
        "proposalThresh is a number from 0 to 1" to { EverythingMethod.proposed(proposalThresh = 2.0) },
        "boxes are x0" to { EverythingMethod.objectAware(listOf(Box(0.0, 0.0, Double.NaN, 1.0))) },
        "a threshold is a number" to { EverythingMethod.grid(predIouThresh = Double.NaN) },
    )
    for ((says, make) in wrong) {
        check("everything is refused: $says") {
            val message = refused(SegmentAnythingError.Request::class, make).message.orEmpty()
            same(says in message, true)
        }
    }
    check("logits wait in a file beyond a limit") {
        val grids = List(5) { at -> FloatArray(9) { at + it / 8f } }
        HeldLogits(80).use { held ->
            val back = grids.map(held::keep)
            for (at in listOf(4, 0, 2, 3, 1)) same(back[at](), grids[at])
        }
    }
}

private val bundle = File(Case.folder, "bundles/good")

private fun Checks.runs() {
    val picture = places(Size(40, 30))
    checkAsync("everything beside an image and its clicks") {
        val engine = StandingEngine("onnx")
        SegmentAnything(bundle, engine).use { sam ->
            sam.setImage(Picture(1, 1, byteArrayOf(9, 9, 9)))
            val told = mutableListOf<Int>()
            val clicks = mutableListOf<Float>()
            val grid = EverythingMethod.grid(pointsPerSide = 3, predIouThresh = 0.0)
            val found = sam.everything(places(Size(41, 30)), grid) { progress ->
                told += progress.done
                clicks += runBlocking { sam.predict(listOf(Point(0, 0)), listOf(1)).single().iouPrediction }
            }
            same(told, (1..9).toList())
            same(clicks, List(9) { 9f })
            same(found.asked, Asked(1, 9, 9, 9))
            same(sam.imageSize, Size(1, 1))
            same(engine.open.get(), 3) // two graphs and the embeddings of the image that was set
        }
        same(engine.open.get(), 0)
    }
    checkAsync("everything is cancelled at the next call") {
        val engine = StandingEngine("onnx")
        SegmentAnything(bundle, engine).use { sam ->
            val told = mutableListOf<Int>()
            lateinit var cancel: () -> Unit
            val running = async(start = CoroutineStart.LAZY) {
                sam.everything(picture, EverythingMethod.grid(pointsPerSide = 100)) { progress ->
                    told += progress.done
                    if (progress.done == 5) cancel()
                }
            }
            cancel = { running.cancel() }
            refused(CancellationException::class) { running.await() }
            running.cancelAndJoin()
            same(told, (1..5).toList())
            same(engine.open.get(), 2)
        }
    }
    checkAsync("everything that was found is kept if its caller wants it") {
        val engine = StandingEngine("onnx")
        SegmentAnything(bundle, engine).use { sam ->
            val bright = Picture(40, 30, ByteArray(3600) { 9 })
            val loose = EverythingMethod.grid(pointsPerSide = 100, predIouThresh = 0.0, stabilityScoreThresh = 0.0)
            lateinit var cancel: () -> Unit
            lateinit var found: Everything
            val running = launch(start = CoroutineStart.LAZY) {
                found = sam.everything(bright, loose, keepPartial = true) { if (it.done == 5) cancel() }
            }
            cancel = { running.cancel() }
            running.join()
            same(found.partial, true)
            same(found.asked, Asked(1, 5, 5, 10_000))
            same(found.segments.map { it.area }, listOf(1200))
            same(engine.open.get(), 2)
        }
    }
    checkAsync("everything of a bundle that cannot") {
        SegmentAnything(bundle, StandingEngine("onnx")).use { sam ->
            val detector = refused(SegmentAnythingError.Request::class) {
                sam.everything(picture, EverythingMethod.detector())
            }
            same("finds objects by itself" in detector.message.orEmpty(), true)
            val headless = refused(SegmentAnythingError.Request::class) {
                sam.everything(picture, EverythingMethod.proposed())
            }
            same("has no head that proposes points" in headless.message.orEmpty(), true)
            refused(SegmentAnythingError.Request::class) {
                sam.everything(picture, EverythingMethod.objectAware(sam))
            }
        }
    }
}
