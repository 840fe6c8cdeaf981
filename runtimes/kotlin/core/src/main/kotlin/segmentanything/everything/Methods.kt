package segmentanything

import kotlinx.coroutines.Job

// What each method asks, and in which order; see runtimes/everything/methods, whose sources are the published
// generators of segment-anything, sam2, TinySAM, MobileSAM and FastSAM.

/** TinySAM's first grid has fewer points a side by this. */
internal const val COARSER = 4

/** IoU above which two boxes of a detector are one object's; MobileSAMv2's. */
private const val SAME = 0.9

/** Finds everything of [predictor] in a picture, until [caller] is cancelled. */
internal suspend fun findEverything(
    predictor: Predictor, picture: Picture, method: EverythingMethod, caller: Job?, keepPartial: Boolean,
    progress: (EverythingProgress) -> Unit,
): Everything = HeldLogits().use { held ->
    val size = Size(picture.width, picture.height)
    val run = Run(predictor, method.settings, size, progress, held, caller, keepPartial)
    run.result(method.find(run, picture))
}

internal suspend fun findByGrid(run: Run, picture: Picture): List<Segment> {
    val options = run.settings
    val grids = options.grids()
    // Of a pixel or two there are fewer crops.
    val crops = cropsOf(run.size, options.cropNLayers, options.cropOverlapRatio)
        .filter { (crop, _) -> crop.x0 < crop.x1 && crop.y0 < crop.y1 }
    run.planned = crops.sumOf { (_, layer) -> grids[layer].size }
    val found = mutableListOf<Segment>()
    for ((crop, layer) in crops) {
        found += ofCrop(run, picture, crop, grids[layer])
        if (run.stopped) break
    }
    return finished(run, betweenCrops(run, found, crops.size))
}

/** Asks one crop and suppresses its duplicates. */
private suspend fun ofCrop(run: Run, picture: Picture, crop: Crop, grid: List<Point>): List<Segment> {
    val asker = CropAsker(run, crop)
    run.untilStopped {
        run.setImage(picture.part(crop))
        asker.ask(grid.map { Point(it.x * crop.size.width, it.y * crop.size.height) })
    }
    return asker.segments(run.withoutDuplicates(asker.found))
}

/** Of masks of several crops, keeps those of the smallest. */
private fun betweenCrops(run: Run, found: List<Segment>, crops: Int): List<Segment> {
    if (crops < 2 || found.isEmpty()) return found
    val scores = FloatArray(found.size) { 1f / (found[it].cropBox.width * found[it].cropBox.height).toFloat() }
    return run.suppressed(found, scores, run.settings.cropNmsThresh) { segment ->
        val box = segment.bbox
        Extent(box.x, box.y, box.x + box.width, box.y + box.height).floats
    }
}

/** Removes small regions, if that is asked for and SAM 2 has not done so in its own way. */
private fun finished(run: Run, found: List<Segment>): List<Segment> {
    val options = run.settings
    if (options.minMaskRegionArea <= 0 || run.isSam2 || found.isEmpty()) return found
    val most = maxOf(options.boxNmsThresh, options.cropNmsThresh)
    val kept = run.stage("clean") { cleaned(found, options.minMaskRegionArea, most) }
    run.nms += found.size to kept.size
    return kept
}

internal suspend fun findByCoarseGrid(run: Run, picture: Picture): List<Segment> {
    val side = run.settings.pointsPerSide ?: 0
    val whole = Crop(0, 0, run.size.width, run.size.height)
    val coarse = pointGrid(side / COARSER).map { Point(it.x * run.size.width, it.y * run.size.height) }
    val first = CropAsker(run, whole)
    val second = CropAsker(run, whole)
    run.planned = coarse.size * 2
    run.untilStopped {
        run.setImage(picture)
        first.ask(coarse)
        val sure = run.stage("measure") { first.covered() }
        val fine = secondPoints(sure, run.size, coarse, side)
        run.planned = coarse.size + fine.size
        second.ask(fine)
    }
    return finished(run, first.segments(run.withoutDuplicates(second.found + first.found)))
}

internal suspend fun findByProposals(run: Run, picture: Picture): List<Segment> {
    val asker = CropAsker(run, Crop(0, 0, run.size.width, run.size.height))
    run.untilStopped {
        run.setImage(picture)
        val found = run.call("propose") { run.predictor.proposals() }
        val least = run.settings.proposalThresh.toFloat()
        val chosen = found.filter { it.score > least }.take(run.settings.maxProposals).map { it.point }
        run.planned = chosen.size
        asker.ask(chosen)
    }
    return finished(run, asker.segments(run.withoutDuplicates(asker.found)))
}

internal suspend fun findByBoxes(
    run: Run, picture: Picture, finder: (suspend (Picture) -> FoundBoxes)?,
): List<Segment> {
    val boxes = run.settings.boxes?.map(::rounded) ?: run.call("detect") { onePerObject(finder, picture) }
    run.candidates = boxes.size
    run.planned = boxes.size
    if (boxes.isEmpty()) return emptyList()
    val asker = CropAsker(run, Crop(0, 0, run.size.width, run.size.height))
    val found = mutableListOf<Segment>()
    run.untilStopped {
        run.setImage(picture)
        for (part in boxes.chunked(minOf(run.settings.boxesPerBatch, run.predictor.most))) {
            val answers = run.call("decode") { run.predictor.boxes(part) }
            run.count(part.size)
            for (at in part.indices) {
                val logits = answers.logits[at] ?: continue
                val iou = answers.ious[at]
                if (!run.isRated(iou) || !run.isUsable(logits)) continue
                found += run.stage("measure") { asker.segment(asker.measure(logits), iou, null, logits) }
            }
            run.tell()
        }
    }
    return found.sortedByDescending { it.area }
}

/** Boxes are asked in float32, as published. */
private fun rounded(box: Box) = Box(box.x0.toFloat(), box.y0.toFloat(), box.x1.toFloat(), box.y1.toFloat())

private suspend fun onePerObject(finder: (suspend (Picture) -> FoundBoxes)?, picture: Picture): List<Box> {
    val found = finder?.invoke(picture) ?: return emptyList()
    return suppress(found.boxes, found.scores, SAME).map { at ->
        val (x0, y0, x1, y1) = found.boxes[at]
        Box(x0, y0, x1, y1)
    }
}

internal suspend fun detectEverything(run: Run, picture: Picture): List<Segment> {
    run.planned = 1
    run.setImage(picture)
    val pieces = run.predictor.pieces() ?: throw SegmentAnythingError.Request(
        "detector needs a bundle that finds objects by itself, such as FastSAM's"
    )
    run.candidates = pieces.size
    run.tell()
    val whole = Crop(0, 0, run.size.width, run.size.height).rectangle
    return run.stage("encode_masks") {
        pieces.map { piece ->
            val part = Rectangle(piece.left, piece.top, piece.width, piece.height)
            val runs = runsOf(part, run.size) { column, row ->
                piece.pixels[row * piece.width + column].toInt() != 0
            }
            val box = extentOf(runs, run.size.height)
            val sides = Rectangle(box.x0, box.y0, box.x1 - box.x0, box.y1 - box.y0)
            Segment(runs, run.size, areaOf(runs), sides, piece.score, null, null, whole)
        }
    }
}

/** The pixels of a crop. */
private fun Picture.part(crop: Crop): Picture {
    if (crop.x0 == 0 && crop.y0 == 0 && crop.x1 == width && crop.y1 == height) return this
    val line = crop.size.width * 3
    val bytes = ByteArray(line * crop.size.height)
    for (row in 0 until crop.size.height) {
        val from = ((row + crop.y0) * width + crop.x0) * 3
        rgb.copyInto(bytes, row * line, from, from + line)
    }
    return Picture(crop.size.width, crop.size.height, bytes)
}
