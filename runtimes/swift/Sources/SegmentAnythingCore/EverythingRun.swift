import Foundation

/// A mask that passed the filters; its box and point are in pixels of its crop.
struct Candidate {
    let iou: Float
    let measured: Measured
    let point: EverythingPoint
    let logits: HeldLogits.Place
}

/// One call of `everything`: what is asked, and counts.
final class EverythingRun {
    let predictor: any Predictor
    let settings: EverythingSettings
    let size: Size
    let isSam2: Bool
    let threshold: Double
    let held = HeldLogits()
    let keepPartial: Bool
    var planned = 0
    var left = Everything.Left()
    /// Whether the asking was ended by its task's cancellation.
    private(set) var stopped = false
    /// Masks whose predicted IoU is not a finite number; dropped.
    private var unrated = 0
    /// Masks of which no logit is a finite number; dropped.
    private var empty = 0
    /// Masks of which some logits are NaN, which count as outside.
    private var patched = 0
    /// Of `fast`: the IoU of each guessed box with its mask's own.
    var fastIous: [Double] = []
    private var asked = Everything.Asked()
    private var seconds: [String: Double] = [:]
    private let leastIou: Double
    private let progress: @Sendable (EverythingProgress) -> Void
    private let began = ContinuousClock.now

    init(
        _ predictor: any Predictor, _ settings: EverythingSettings, _ size: Size, keepPartial: Bool,
        _ progress: @escaping @Sendable (EverythingProgress) -> Void
    ) {
        (self.predictor, self.settings, self.size, self.progress) = (predictor, settings, size, progress)
        self.keepPartial = keepPartial
        isSam2 = (settings.generator ?? predictor.generator) == .sam2
        threshold = settings.maskThreshold ?? predictor.maskThreshold
        leastIou = settings.predIouThresh ?? (isSam2 ? 0.8 : 0.88)
    }

    func stage<T>(_ name: String, _ work: () throws -> T) rethrows -> T {
        let start = ContinuousClock.now
        defer { add(name, start) }
        return try work()
    }

    /// Does as `stage` for a call of the predictor, and ends a cancelled task's run before it.
    func call<T>(_ name: String, _ work: () async throws -> T) async throws -> T {
        try Task.checkCancellation()
        let start = ContinuousClock.now
        defer { add(name, start) }
        return try await work()
    }

    /// Within it, cancelling ends the asking alone, if what was found is kept.
    func untilStopped(_ ask: () async throws -> Void) async throws {
        do { try await ask() } catch is CancellationError where keepPartial { stopped = true }
    }

    /// Ends the work on masks of a cancelled task; those that are kept are finished.
    func goOn() throws { if !keepPartial { try Task.checkCancellation() } }

    private func add(_ name: String, _ start: ContinuousClock.Instant) {
        seconds[name, default: 0] += start.duration(to: .now).seconds
    }

    func setImage(_ part: Picture) async throws {
        try await call("encode") { try await predictor.setImage(part) }
        asked.images += 1
    }

    /// Counts a call of the predictor.
    func count(_ prompts: Int) {
        asked.calls += 1
        asked.prompts += prompts
    }

    func tell() {
        let spent = began.duration(to: .now).seconds
        progress(EverythingProgress(done: asked.prompts, planned: max(planned, asked.prompts), seconds: spent))
    }

    /// Whether the predicted IoU lets a mask pass; one that is no number never does.
    func passes(_ iou: Float) -> Bool { iou.isFinite && (!(leastIou > 0) || iou > Float(leastIou)) }

    /// Whether a predicted IoU is a number; counted otherwise.
    func isRated(_ iou: Float) -> Bool {
        if !iou.isFinite { unrated += 1 }
        return iou.isFinite
    }

    /// Whether logits make a mask; counted otherwise.
    func isUsable(_ logits: [Float]) -> Bool {
        if logits.allSatisfy(\.isFinite) { return true }
        guard logits.contains(where: \.isFinite) else {
            empty += 1
            return false
        }
        if logits.contains(where: \.isNaN) { patched += 1 }
        return true
    }

    /// Of masks whose boxes overlap, keeps that of the best predicted IoU.
    func withoutDuplicates(_ found: [Candidate]) -> [Candidate] {
        suppressed(found, found.map(\.iou), above: settings.boxNmsThresh) { $0.measured.box.floats }
    }

    func suppressed<T>(_ found: [T], _ scores: [Float], above most: Double, _ box: (T) -> [Float]) -> [T] {
        let kept = stage("suppress") { suppress(found.map(box), scores, above: most) }
        left.nms.append([found.count, kept.count])
        return kept.map { found[$0] }
    }

    func result(_ segments: [Segment]) -> Everything {
        asked.planned = max(planned, asked.prompts)
        return Everything(
            segments: segments, size: size, asked: asked, left: left, seconds: seconds, partial: stopped,
            notes: notes)
    }

    private var notes: [String] {
        var notes: [String] = []
        if unrated > 0 { notes.append("\(dropped(unrated)): the decoder's predicted IoU is not a number") }
        if empty > 0 { notes.append("\(dropped(empty)): the decoder's logits are not numbers") }
        if patched > 0 {
            let have = patched == 1 ? "1 mask has" : "\(patched) masks have"
            notes.append("\(have) logits that are not numbers: they count as outside")
        }
        if let worst = fastIous.min() {
            let mean = fastIous.reduce(0, +) / Double(fastIous.count)
            notes.append(
                "fast: masks were chosen by boxes and stability of the network's own pixels; those boxes have a "
                    + String(
                        format: "mean IoU of %.3f with the masks' own, and %.3f at worst", mean, worst))
        }
        return notes
    }

    private func dropped(_ masks: Int) -> String {
        masks == 1 ? "1 mask was dropped" : "\(masks) masks were dropped"
    }
}

/// Asks for the objects of one crop.
final class CropAsker {
    private let run: EverythingRun
    private let crop: Crop
    private let settings: EverythingSettings
    private let masks: CropMasks
    private(set) var found: [Candidate] = []

    /// SAM 2 clamps logits to this before it refines them.
    private static let refined: Float = 32

    init(_ run: EverythingRun, _ crop: Crop) throws {
        (self.run, self.crop, settings) = (run, crop, run.settings)
        masks = try run.predictor.cropMasks(crop.size)
    }

    /// Asks for clicks in pixels of the crop, a batch a call.
    func ask(_ points: [EverythingPoint]) async throws {
        let rounded = points.map { EverythingPoint(x: Double(Float($0.x)), y: Double(Float($0.y))) }
        for part in parts(run.isSam2 ? rounded : points, of: settings.pointsPerBatch) {
            let made = try await run.call("decode") { try await answers(part) }
            try run.stage("measure") { try take(made, part) }
            run.tell()
        }
    }

    /// Parts of at most as many as an option says and the predictor takes.
    func parts<T>(_ items: [T], of batch: Int) -> [[T]] {
        let most = min(batch, run.predictor.most)
        return stride(from: 0, to: items.count, by: most).map { Array(items[$0..<min($0 + most, items.count)]) }
    }

    private func answers(_ points: [EverythingPoint]) async throws -> Answers {
        let several = settings.multimaskOutput, all = settings.useM2m
        let answers = try await run.predictor.points(points, multimask: several, earlier: nil) {
            all || run.passes($0)
        }
        run.count(points.count)
        return all ? try await refined(answers, points) : answers
    }

    /// Asks again with each mask and its click.
    private func refined(_ first: Answers, _ points: [EverythingPoint]) async throws -> Answers {
        var answers = Answers(kinds: first.kinds, ious: [], logits: [])
        for part in parts(Array(first.logits.indices), of: settings.pointsPerBatch) {
            try Task.checkCancellation()
            let limit = CropAsker.refined
            let earlier = part.map { (first.logits[$0] ?? []).map { min(max($0, -limit), limit) } }
            let clicks = part.map { points[$0 / first.kinds] }
            let again = try await run.predictor.points(clicks, multimask: false, earlier: earlier) {
                run.passes($0)
            }
            answers.ious += again.ious
            answers.logits += again.logits
            run.count(part.count)
        }
        return answers
    }

    /// Does the filters of one batch, a mask at a time.
    private func take(_ answers: Answers, _ points: [EverythingPoint]) throws {
        run.left.candidates += answers.ious.count
        for (at, iou) in answers.ious.enumerated() {
            guard run.isRated(iou), let given = answers.logits[at], run.passes(iou) else { continue }
            try run.goOn()
            run.left.afterIou += 1
            guard run.isUsable(given) else { continue }
            let logits = filledIfAsked(given)
            let measured = measure(logits)
            guard stays(measured) else { continue }
            let point = points[at / answers.kinds]
            found.append(Candidate(iou: iou, measured: measured, point: point, logits: try run.held.keep(logits)))
        }
    }

    private func filledIfAsked(_ logits: [Float]) -> [Float] {
        guard run.isSam2, settings.components, settings.minMaskRegionArea > 0 else { return logits }
        return filled(logits, side: run.predictor.side, most: settings.minMaskRegionArea)
    }

    func measure(_ logits: [Float]) -> Measured {
        settings.fast
            ? masks.measureLow(logits, run.threshold, settings.stabilityScoreOffset)
            : masks.measure(logits, run.threshold, settings.stabilityScoreOffset)
    }

    private func stays(_ measured: Measured) -> Bool {
        guard measured.isStable(settings.stabilityScoreThresh) else { return false }
        run.left.afterStability += 1
        guard !nearCropEdge(measured.box, crop, run.size) else { return false }
        run.left.afterEdges += 1
        return true
    }

    /// Row by row, where a mask that passed is sure: its logit is above the option.
    func covered() throws -> [Bool] {
        var covered = [Bool](repeating: false, count: crop.size.width * crop.size.height)
        for candidate in found {
            masks.cover(try run.held.read(candidate.logits), settings.highScoreThresh, &covered)
        }
        return covered
    }

    /// Encodes the masks of what suppression left, in the picture's pixels.
    func segments(_ kept: [Candidate]) throws -> [Segment] {
        try run.stage("encode_masks") {
            try kept.map { candidate in
                try run.goOn()
                let logits = try run.held.read(candidate.logits)
                return segment(candidate.measured, candidate.iou, placed(candidate.point), logits)
            }
        }
    }

    func segment(_ measured: Measured, _ iou: Float, _ click: EverythingPoint?, _ logits: [Float]) -> Segment {
        let box = settings.fast ? found(measured.box, logits) : measured.box
        let runs = masks.runs(logits, run.threshold, box, at: crop.x0, crop.y0, of: run.size)
        let sides = PixelBox(
            x: crop.x0 + box.x0, y: crop.y0 + box.y0, width: box.x1 - box.x0, height: box.y1 - box.y0)
        return Segment(
            runs: runs, size: run.size, area: area(of: runs), bbox: sides, predictedIou: iou,
            stabilityScore: measured.stability, pointCoords: click, cropBox: crop.box)
    }

    /// The mask's own box in the crop, of which `fast` guessed another.
    private func found(_ guessed: Extent, _ logits: [Float]) -> Extent {
        let own = masks.measure(logits, run.threshold, 0).box
        run.fastIous.append(pixelIou(guessed, own))
        return own
    }

    /// As published: a click of SAM 2 stays in float32 in the picture's frame as well.
    private func placed(_ click: EverythingPoint) -> EverythingPoint {
        guard run.isSam2 else {
            return EverythingPoint(x: click.x + Double(crop.x0), y: click.y + Double(crop.y0))
        }
        return EverythingPoint(
            x: Double(Float(click.x) + Float(crop.x0)), y: Double(Float(click.y) + Float(crop.y0)))
    }
}
