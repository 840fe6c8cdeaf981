import Foundation
import Testing

@testable import SegmentAnythingCore

@Suite struct EverythingTests {
    @Test func thereAreCases() { #expect(Case.all("everything").count > 20) }

    @Test(arguments: Case.all("everything"))
    func everything(_ given: Case) async throws {
        let script = try Script(given), told = Told()
        let picture = places(try given.size())
        let stop = given.fields.has("stop_after") ? try given.fields.whole("stop_after", 1...99) : nil
        let way = try method(given)
        // A task of its own, which may be cancelled, as an app's; the script is this one's alone meanwhile.
        nonisolated(unsafe) let predictor = script
        let found = try await Task {
            try await findEverything(predictor, picture, way, keepPartial: stop != nil) { progress in
                if told.add(progress) == stop { withUnsafeCurrentTask { $0?.cancel() } }
            }
        }.value
        try script.finish()
        let expected = try given.fields.object("expected")
        #expect(found.partial == (try expected.flag("partial")))
        #expect(found.notes == (try expected.list("notes").map(text)))
        let asked = try expected.object("asked"), left = try expected.object("left")
        #expect(found.asked.images == (try asked.whole("images", 0...99_999)))
        #expect(found.asked.calls == (try asked.whole("calls", 0...99_999)))
        #expect(found.asked.prompts == (try asked.whole("prompts", 0...99_999)))
        #expect(found.asked.planned == (try asked.whole("planned", 0...99_999)))
        #expect((told.all.last?.done ?? 0) == found.asked.prompts)
        #expect(found.left.candidates == (try left.whole("candidates", 0...99_999)))
        #expect(found.left.afterIou == (try left.whole("after_iou", 0...99_999)))
        #expect(found.left.afterStability == (try left.whole("after_stability", 0...99_999)))
        #expect(found.left.afterEdges == (try left.whole("after_edges", 0...99_999)))
        #expect(found.left.nms == (try left.list("nms").map(ints)))
        let segments = try expected.objects("segments")
        #expect(found.segments.map(\.cocoCounts) == (try segments.map { try $0.text("coco") }))
        for (mine, wanted) in zip(found.segments, segments) { try compare(mine, wanted) }
        if expected.has("labels") {
            #expect(found.labels() == (try given.array("labels", in: expected).values.map { Int32($0) }))
        }
    }

    private func compare(_ mine: Segment, _ wanted: Fields) throws {
        #expect(mine.area == (try wanted.whole("area", 0...99_999)))
        #expect(mine.mask.area == mine.area)
        func sides(_ box: PixelBox) -> [Int] { [box.x, box.y, box.width, box.height] }
        #expect(sides(mine.bbox) == (try wanted.wholes("bbox", -9...99_999)))
        #expect(sides(mine.cropBox) == (try wanted.wholes("crop_box", -9...99_999)))
        #expect(Double(mine.predictedIou) == (try wanted.number("predicted_iou")))
        #expect(mine.stabilityScore.map(Double.init) == (try wanted.number("stability_score")))
        let click = wanted.has("point_coords") ? try wanted.list("point_coords").map(coordinate) : nil
        #expect(mine.pointCoords.map { [$0.x, $0.y] } == click)
    }

    @Test(arguments: Case.all("everything_steps"))
    func steps(_ given: Case) throws {
        let fields = given.fields
        switch try fields.text("kind") {
        case "small_regions":
            let mask = try given.array("mask"), size = Size(width: mask.shape[1], height: mask.shape[0])
            let whole = PixelBox(x: 0, y: 0, width: size.width, height: size.height)
            let found = runs(in: whole, of: size) { mask.values[$1 * size.width + $0] > 0 }
            #expect(found.map(Int.init) == (try fields.wholes("runs", 0...99_999)))
            #expect(cocoText(found) == (try fields.text("coco")))
            let (cleaned, changed) = withoutSmall(found, size, try fields.number("area"))
            #expect(pixels(of: cleaned, size) == (try given.bytes("cleaned")))
            #expect(changed == (try fields.flag("changed")))
        case "fill":
            let logits = try given.array("logits")
            let made = filled(logits.values, side: logits.shape[1], most: try fields.number("most"))
            #expect(made == (try given.array("filled").values))
        case "grid":
            #expect(try pointGrid(try fields.whole("side", 0...99_999)) == (try fields.list("points").map(point)))
        case "crops":
            let layers = try fields.whole("layers", 0...4), overlap = try fields.number("overlap")
            let found = crops(of: try given.size(), layers: layers, overlap: overlap)
            let rows = found.map { [$0.crop.x0, $0.crop.y0, $0.crop.x1, $0.crop.y1, $0.layer] }
            #expect(rows == (try fields.list("crops").map(ints)))
        case "second_points":
            let covered = try given.array("covered")
            let size = Size(width: covered.shape[1], height: covered.shape[0])
            let side = try fields.whole("side", 0...99)
            let coarse = try pointGrid(side / coarser).map {
                EverythingPoint(x: $0.x * Double(size.width), y: $0.y * Double(size.height))
            }
            let made = secondPoints(covered.values.map { $0 > 0 }, size, coarse, side: side)
            #expect(made == (try fields.list("points").map(point)))
        case "suppress":
            let flat = try given.array("boxes").values
            let boxes = stride(from: 0, to: flat.count, by: 4).map { Array(flat[$0..<($0 + 4)]) }
            let kept = suppress(boxes, try given.array("scores").values, above: try fields.number("most"))
            #expect(kept == (try fields.wholes("kept", 0...99)))
        case "edges":
            let at = try fields.wholes("crop", 0...999)
            let crop = Crop(x0: at[0], y0: at[1], x1: at[2], y1: at[3]), size = try given.size()
            let near = try fields.list("boxes").map { row in
                let box = ints(row)
                return nearCropEdge(Extent(x0: box[0], y0: box[1], x1: box[2], y1: box[3]), crop, size)
            }
            #expect(near == (try given.array("near").values.map { $0 > 0 }))
        case "stability":
            let above = try fields.whole("above", 0...9999), within = try fields.whole("within", 0...9999)
            let measured = Measured(above: above, within: within, box: .empty)
            #expect(measured.isStable(try fields.number("least")) == (try fields.flag("stays")))
        case "peaks":
            let scores = try given.array("scores")
            let map = ScoreMap(width: scores.shape[1], height: scores.shape[0], scores.values)
            let found = peaks(of: map, in: try given.frame())
            #expect(found.points == (try fields.list("points").map(point)))
            #expect(found.scores == (try given.array("rated").values))
        default: Issue.record("no step \(given.name)")
        }
    }

    @Test(arguments: [
        (EverythingMethod.grid(pointsPerSide: 0), "pointsPerSide is a whole number from 1 to 256"),
        (.grid(pointsPerSide: nil), "one of the two"),
        (.hierarchical(pointsPerSide: 3), "needs 4 points a side"),
        (.grid(cropOverlapRatio: 1), "cropOverlapRatio is a number from 0 to 0.999"),
        (.grid(pointsPerSide: nil, pointGrids: [[EverythingPoint(x: 2, y: 0)]]), "x, y in 0...1"),
        (
            .grid(pointsPerSide: nil, cropNLayers: 1, pointGrids: [[EverythingPoint(x: 1, y: 0)]]),
            "no points for the crops of layer 1"
        ),
        (.objectAware(boxes: [Prompts.Box(x0: 0, y0: 0, x1: .nan, y1: 1)]), "boxes are x0"),
        (.grid(predIouThresh: .nan), "a threshold is a number"),
        (.proposed(maxProposals: 0), "maxProposals is a whole number from 1 to 4096"),
        (.proposed(proposalThresh: 2), "proposalThresh is a number from 0 to 1"),
        (.proposed(), "has no head that proposes points"),
        (.detector, "finds objects by itself"),
    ])
    func whatCannotBeIsRefused(_ method: EverythingMethod, _ says: String) async throws {
        let sam = try SegmentAnything(bundle: good, engine: StandingEngine(target: "onnx"))
        let picture = places(Size(width: 4, height: 3))
        let error = await #expect(throws: SegmentAnythingError.self) {
            try await sam.everything(in: picture, method: method)
        }
        #expect(error?.message.contains(says) == true)
    }

    @Test func logitsWaitInAFileBeyondALimit() throws {
        let held = HeldLogits(most: 80)
        let grids = (0..<5).map { at in (0..<9).map { Float(at) + Float($0) / 8 } }
        let places = try grids.map(held.keep)
        for at in [4, 0, 2, 3, 1] { #expect(try held.read(places[at]) == grids[at]) }
    }

    @Test func anImageAndItsClicksStayMeanwhile() async throws {
        let sam = try SegmentAnything(bundle: good, engine: StandingEngine(target: "onnx"))
        try await sam.setImage(Picture(width: 1, height: 1, rgb: [9, 9, 9]))
        let told = Told()
        let method = EverythingMethod.grid(pointsPerSide: 3, predIouThresh: 0)
        let picture = places(Size(width: 40, height: 30))
        async let running = sam.everything(in: picture, method: method) { told.add($0) }
        for _ in 0..<9 {
            let masks = try await sam.predict(points: [CGPoint(x: 0, y: 0)], labels: [1])
            #expect(masks[0].iouPrediction == 9)
        }
        let found = try await running
        #expect(told.all.map(\.done) == Array(1...9))
        #expect(found.asked == Everything.Asked(images: 1, calls: 9, prompts: 9, planned: 9))
        #expect(sam.imageSize == Size(width: 1, height: 1))
    }

    @Test func cancellingEndsItAtTheNextCall() async throws {
        let sam = try SegmentAnything(bundle: good, engine: StandingEngine(target: "onnx"))
        let told = Told(), picture = places(Size(width: 40, height: 30))
        let running = Task {
            try await sam.everything(in: picture, method: .grid(pointsPerSide: 100)) { progress in
                told.add(progress)
                if progress.done == 5 { withUnsafeCurrentTask { $0?.cancel() } }
            }
        }
        await #expect(throws: CancellationError.self) { try await running.value }
        #expect(told.all.map(\.done) == Array(1...5))
    }

    @Test func whatWasFoundIsKeptIfItsCallerWantsIt() async throws {
        let sam = try SegmentAnything(bundle: good, engine: StandingEngine(target: "onnx"))
        let picture = try Picture(width: 40, height: 30, rgb: [UInt8](repeating: 9, count: 3600))
        let loose = EverythingMethod.grid(pointsPerSide: 100, predIouThresh: 0, stabilityScoreThresh: 0)
        let running = Task {
            try await sam.everything(in: picture, method: loose, keepPartial: true) { progress in
                if progress.done == 5 { withUnsafeCurrentTask { $0?.cancel() } }
            }
        }
        let found = try await running.value
        #expect(found.partial)
        #expect(found.asked == Everything.Asked(images: 1, calls: 5, prompts: 5, planned: 10_000))
        #expect(found.segments.map(\.area) == [1200])
    }

    @Test @MainActor func nothingRunsOnTheMainThread() async throws {
        let sam = try SegmentAnything(bundle: good, engine: StandingEngine(target: "onnx"))
        let onMain = Told()
        _ = try await sam.everything(in: places(Size(width: 4, height: 3)), method: .grid(pointsPerSide: 2)) {
            if Thread.isMainThread { onMain.add($0) }
        }
        #expect(onMain.all.isEmpty)
    }
}

private let good = Case.folder.appendingPathComponent("bundles/good")

/// Progress, as it was told.
private final class Told: @unchecked Sendable {
    private let lock = NSLock()
    private var progress: [EverythingProgress] = []

    /// Returns how many there are.
    @discardableResult
    func add(_ more: EverythingProgress) -> Int {
        lock.withLock {
            progress.append(more)
            return progress.count
        }
    }
    var all: [EverythingProgress] { lock.withLock { progress } }
}

/// Answers as a case recorded it, and demands to be asked as it was then.
private final class Script: Predictor {
    private let given: Case
    private let grids: [[Float]]
    private let calls: [Fields]
    private let how: Upscale
    private let frame: Preprocess
    private var crops: [[Int]] = []
    private var asked = 0
    let generator = Generator.sam, maskThreshold = 0.0, most = Int.max, side = 16
    let pieces: [Piece]? = nil

    init(_ given: Case) throws {
        let answers = try given.fields.object("answers")
        self.given = given
        grids = try answers.objects("grids").map { try given.stored($0).values }
        calls = try answers.objects("calls")
        how = try given.fields.word("upscale", Upscale.self)
        frame = try Preprocess(given.fields.object("preprocess"))
    }

    func setImage(_ picture: Picture) async throws {
        let (left, top) = (Int(picture.rgb[0]), Int(picture.rgb[1]))
        crops.append([left, top, left + picture.width, top + picture.height])
    }

    func points(
        _ points: [EverythingPoint], multimask: Bool, earlier: [[Float]]?, wanted: (Float) -> Bool
    ) async throws -> Answers { try answer(points.map { [$0.x, $0.y] }, multimask, earlier) }

    func boxes(_ boxes: [Prompts.Box]) async throws -> Answers {
        try answer(boxes.map { [$0.x0, $0.y0, $0.x1, $0.y1] }, false, nil)
    }

    func proposals() async throws -> Proposals {
        var found = Proposals()
        for case .list(let pair) in try given.fields.list("proposed") {
            found.points.append(point(pair[0]))
            found.scores.append(Float(coordinate(pair[1])))
        }
        return found
    }

    private func answer(_ prompts: [[Double]], _ multimask: Bool, _ earlier: [[Float]]?) throws -> Answers {
        let call = try #require(asked < calls.count ? calls[asked] : nil)
        asked += 1
        #expect(crops.count - 1 == (try call.whole("image", 0...99_999)))
        #expect(prompts == (try call.list("prompts").map(numbers)))
        #expect(multimask == (try call.flag("multimask")))
        let numbers = call.has("earlier") ? try call.wholes("earlier", 0...999) : nil
        #expect(earlier == numbers?.map { grids[$0] })
        let which = try given.stored(call.object("grids"))
        return Answers(
            kinds: which.shape[1], ious: try given.stored(call.object("ious")).values,
            logits: which.values.map { grids[Int($0)] })
    }

    func cropMasks(_ size: Size) throws -> CropMasks {
        let upscaling = Upscaling(side, Frame(size, frame), how)
        return CropMasks(size, upscaling, side: side, squashed: how == .sigmoidBilinearOnce)
    }

    /// Demands that nothing was left out.
    func finish() throws {
        #expect(crops == (try given.fields.object("answers").list("crops").map(ints)))
        #expect(asked == calls.count)
    }
}

private struct CaseFinder: BoxFinder {
    let found: FoundBoxes

    func foundBoxes(_ picture: Picture) async throws -> FoundBoxes { found }
}

private func method(_ given: Case) throws -> EverythingMethod {
    let options = try settings(given.fields.object("options"))
    switch try given.fields.text("method") {
    case "grid": return EverythingMethod(way: .grid, settings: options)
    case "hierarchical": return EverythingMethod(way: .hierarchical, settings: options)
    case "proposed": return EverythingMethod(way: .proposed, settings: options)
    default:
        var found = FoundBoxes()
        for case .list(let pair) in try given.fields.list("found") {
            found.boxes.append(numbers(pair[0]).map(Float.init))
            found.scores.append(Float(coordinate(pair[1])))
        }
        let finder = found.boxes.isEmpty ? nil : CaseFinder(found: found)
        return EverythingMethod(way: .objectAware(finder), settings: options)
    }
}

private func settings(_ given: Fields) throws -> EverythingSettings {
    var made = EverythingSettings()
    func number(_ name: String, _ other: Double) throws -> Double {
        given.has(name) ? try given.number(name) : other
    }
    func whole(_ name: String, _ other: Int) throws -> Int {
        given.has(name) ? try given.whole(name, 0...99_999) : other
    }
    func flag(_ name: String, _ other: Bool) throws -> Bool { given.has(name) ? try given.flag(name) : other }
    if given.has("point_grids") {
        made.pointsPerSide = nil
        made.pointGrids = try given.list("point_grids").map { grid in
            guard case .list(let points) = grid else { return [] }
            return points.map(point)
        }
    } else {
        made.pointsPerSide = try whole("points_per_side", 32)
    }
    made.pointsPerBatch = try whole("points_per_batch", made.pointsPerBatch)
    made.predIouThresh = given.has("pred_iou_thresh") ? try given.number("pred_iou_thresh") : nil
    made.stabilityScoreThresh = try number("stability_score_thresh", made.stabilityScoreThresh)
    made.stabilityScoreOffset = try number("stability_score_offset", made.stabilityScoreOffset)
    made.boxNmsThresh = try number("box_nms_thresh", made.boxNmsThresh)
    made.cropNLayers = try whole("crop_n_layers", made.cropNLayers)
    made.cropNmsThresh = try number("crop_nms_thresh", made.cropNmsThresh)
    made.cropOverlapRatio = try number("crop_overlap_ratio", made.cropOverlapRatio)
    made.cropNPointsDownscaleFactor = try number("crop_n_points_downscale_factor", 1)
    made.minMaskRegionArea = try number("min_mask_region_area", made.minMaskRegionArea)
    made.maskThreshold = given.has("mask_threshold") ? try given.number("mask_threshold") : nil
    made.multimaskOutput = try flag("multimask_output", made.multimaskOutput)
    made.useM2m = try flag("use_m2m", made.useM2m)
    made.highScoreThresh = try number("high_score_thresh", made.highScoreThresh)
    made.boxesPerBatch = try whole("boxes_per_batch", made.boxesPerBatch)
    made.generator = given.has("generator") ? .sam2 : nil
    made.proposalThresh = try number("proposal_thresh", made.proposalThresh)
    made.maxProposals = try whole("max_proposals", made.maxProposals)
    made.fast = try flag("fast", made.fast)
    made.components = try flag("components", made.components)
    if given.has("boxes") {
        made.boxes = try given.list("boxes").map { row in
            let at = numbers(row)
            return Prompts.Box(x0: at[0], y0: at[1], x1: at[2], y1: at[3])
        }
    }
    return made
}

private func numbers(_ json: JSON) -> [Double] {
    guard case .list(let items) = json else { return [] }
    return items.map(coordinate)
}

private func text(_ json: JSON) -> String { if case .text(let text) = json { text } else { "" } }

private func ints(_ json: JSON) -> [Int] { numbers(json).map { Int($0) } }

private func point(_ json: JSON) -> EverythingPoint {
    let at = numbers(json)
    return EverythingPoint(x: at[0], y: at[1])
}

/// The picture whose red and green are each pixel's place.
private func places(_ size: Size) -> Picture {
    var rgb: [UInt8] = []
    for row in 0..<size.height {
        for column in 0..<size.width { rgb += [UInt8(column), UInt8(row), 0] }
    }
    return try! Picture(width: size.width, height: size.height, rgb: rgb)
}
