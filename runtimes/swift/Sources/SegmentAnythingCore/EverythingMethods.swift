// What each method asks, and in which order; see runtimes/everything/methods, whose sources are the published
// generators of segment-anything, sam2, TinySAM, MobileSAM and FastSAM.

/// Finds everything of a predictor in a picture.
func findEverything(
    _ predictor: any Predictor, _ picture: Picture, _ method: EverythingMethod, keepPartial: Bool = false,
    _ progress: @escaping @Sendable (EverythingProgress) -> Void
) async throws -> Everything {
    try method.settings.check(method.way)
    let size = Size(width: picture.width, height: picture.height)
    let run = EverythingRun(predictor, method.settings, size, keepPartial: keepPartial, progress)
    let segments =
        switch method.way {
        case .grid: try await findByGrid(run, picture)
        case .hierarchical: try await findByCoarseGrid(run, picture)
        case .proposed: try await findByProposals(run, picture)
        case .objectAware(let finder): try await findByBoxes(run, picture, finder)
        case .detector: try await detectEverything(run, picture)
        }
    return run.result(segments)
}

private func findByGrid(_ run: EverythingRun, _ picture: Picture) async throws -> [Segment] {
    let options = run.settings, grids = try options.grids()
    // Of a pixel or two there are fewer crops.
    let crops = crops(of: run.size, layers: options.cropNLayers, overlap: options.cropOverlapRatio)
        .filter { $0.crop.x0 < $0.crop.x1 && $0.crop.y0 < $0.crop.y1 }
    run.planned = crops.reduce(0) { $0 + grids[$1.layer].count }
    var found: [Segment] = []
    for (crop, layer) in crops where !run.stopped {
        found += try await ofCrop(run, picture, crop, grids[layer])
    }
    return finished(run, betweenCrops(run, found, crops.count))
}

/// Asks one crop and suppresses its duplicates.
private func ofCrop(
    _ run: EverythingRun, _ picture: Picture, _ crop: Crop, _ grid: [EverythingPoint]
) async throws -> [Segment] {
    let asker = try CropAsker(run, crop)
    try await run.untilStopped {
        try await run.setImage(picture.part(crop))
        try await asker.ask(placed(grid, crop.size))
    }
    return try asker.segments(run.withoutDuplicates(asker.found))
}

private func placed(_ grid: [EverythingPoint], _ size: Size) -> [EverythingPoint] {
    grid.map { EverythingPoint(x: $0.x * Double(size.width), y: $0.y * Double(size.height)) }
}

/// Of masks of several crops, keeps those of the smallest.
private func betweenCrops(_ run: EverythingRun, _ found: [Segment], _ crops: Int) -> [Segment] {
    guard crops > 1, !found.isEmpty else { return found }
    let scores = found.map { 1 / Float($0.cropBox.width * $0.cropBox.height) }
    return run.suppressed(found, scores, above: run.settings.cropNmsThresh) { segment in
        let box = segment.bbox
        return Extent(x0: box.x, y0: box.y, x1: box.x + box.width, y1: box.y + box.height).floats
    }
}

/// Removes small regions, if that is asked for and SAM 2 has not done so in its own way.
private func finished(_ run: EverythingRun, _ found: [Segment]) -> [Segment] {
    let options = run.settings
    guard options.minMaskRegionArea > 0, !run.isSam2, !found.isEmpty else { return found }
    let most = max(options.boxNmsThresh, options.cropNmsThresh)
    let kept = run.stage("clean") { cleaned(found, options.minMaskRegionArea, above: most) }
    run.left.nms.append([found.count, kept.count])
    return kept
}

private func findByCoarseGrid(_ run: EverythingRun, _ picture: Picture) async throws -> [Segment] {
    let side = run.settings.pointsPerSide ?? 0
    let whole = Crop(x0: 0, y0: 0, x1: run.size.width, y1: run.size.height)
    let coarse = placed(try pointGrid(side / coarser), run.size)
    let first = try CropAsker(run, whole), second = try CropAsker(run, whole)
    run.planned = coarse.count * 2
    try await run.untilStopped {
        try await run.setImage(picture)
        try await first.ask(coarse)
        let sure = try run.stage("measure") { try first.covered() }
        let fine = secondPoints(sure, run.size, coarse, side: side)
        run.planned = coarse.count + fine.count
        try await second.ask(fine)
    }
    return finished(run, try first.segments(run.withoutDuplicates(second.found + first.found)))
}

private func findByProposals(_ run: EverythingRun, _ picture: Picture) async throws -> [Segment] {
    let asker = try CropAsker(run, Crop(x0: 0, y0: 0, x1: run.size.width, y1: run.size.height))
    try await run.untilStopped {
        try await run.setImage(picture)
        let found = try await run.call("propose") { try await run.predictor.proposals() }
        let least = Float(run.settings.proposalThresh)
        let points = zip(found.points, found.scores).filter { $0.1 > least }.map(\.0)
        let chosen = Array(points.prefix(run.settings.maxProposals))
        run.planned = chosen.count
        try await asker.ask(chosen)
    }
    return finished(run, try asker.segments(run.withoutDuplicates(asker.found)))
}

private func findByBoxes(
    _ run: EverythingRun, _ picture: Picture, _ finder: (any BoxFinder)?
) async throws -> [Segment] {
    var boxes = (run.settings.boxes ?? []).map(rounded)
    if let finder { boxes = try await run.call("detect") { try await onePerObject(finder, picture) } }
    run.left.candidates = boxes.count
    run.planned = boxes.count
    if boxes.isEmpty { return [] }
    let asker = try CropAsker(run, Crop(x0: 0, y0: 0, x1: run.size.width, y1: run.size.height))
    var found: [Segment] = []
    try await run.untilStopped {
        try await run.setImage(picture)
        for part in asker.parts(boxes, of: run.settings.boxesPerBatch) {
            let answers = try await run.call("decode") { try await run.predictor.boxes(part) }
            run.count(part.count)
            run.stage("measure") {
                for (iou, logits) in zip(answers.ious, answers.logits) {
                    guard let logits, run.isRated(iou), run.isUsable(logits) else { continue }
                    found.append(asker.segment(asker.measure(logits), iou, nil, logits))
                }
            }
            run.tell()
        }
    }
    return indices(of: found, byFalling: \.area).map { found[$0] }
}

/// Boxes are asked in float32, as published.
private func rounded(_ box: Prompts.Box) -> Prompts.Box {
    Prompts.Box(
        x0: Double(Float(box.x0)), y0: Double(Float(box.y0)), x1: Double(Float(box.x1)), y1: Double(Float(box.y1)))
}

private func onePerObject(_ finder: any BoxFinder, _ picture: Picture) async throws -> [Prompts.Box] {
    /// IoU above which two boxes of a detector are one object's; MobileSAMv2's.
    let same = 0.9
    let found = try await finder.foundBoxes(picture)
    return suppress(found.boxes, found.scores, above: same).map { at in
        let box = found.boxes[at].map(Double.init)
        return Prompts.Box(x0: box[0], y0: box[1], x1: box[2], y1: box[3])
    }
}

private func detectEverything(_ run: EverythingRun, _ picture: Picture) async throws -> [Segment] {
    run.planned = 1
    try await run.setImage(picture)
    guard let pieces = run.predictor.pieces else {
        throw SegmentAnythingError.request(
            "detector needs a bundle that finds objects by itself, such as FastSAM's")
    }
    run.left.candidates = pieces.count
    run.tell()
    let whole = Crop(x0: 0, y0: 0, x1: run.size.width, y1: run.size.height).box
    return run.stage("encode_masks") {
        pieces.map { piece in
            let part = PixelBox(x: piece.left, y: piece.top, width: piece.width, height: piece.height)
            let runs = runs(in: part, of: run.size) { piece.pixels[$1 * piece.width + $0] != 0 }
            let box = extent(of: runs, run.size.height)
            return Segment(
                runs: runs, size: run.size, area: area(of: runs),
                bbox: PixelBox(x: box.x0, y: box.y0, width: box.x1 - box.x0, height: box.y1 - box.y0),
                predictedIou: piece.score, stabilityScore: nil, pointCoords: nil, cropBox: whole)
        }
    }
}
