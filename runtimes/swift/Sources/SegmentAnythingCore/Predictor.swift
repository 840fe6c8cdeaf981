import Foundation

/// Answers of `kinds` masks a prompt: predicted IoUs, and logits, nil of those that were not wanted.
struct Answers {
    let kinds: Int
    var ious: [Float]
    var logits: [[Float]?]
}

/// Boxes (x0, y0, x1, y1) that a detector found, and their scores.
struct FoundBoxes: Sendable {
    var boxes: [[Float]] = []
    var scores: [Float] = []
}

/// Finds the boxes of objects.
protocol BoxFinder: Sendable {
    func foundBoxes(_ picture: Picture) async throws -> FoundBoxes
}

/// What everything is asked of: an image once, then prompts in its pixels.
protocol Predictor: AnyObject {
    var generator: Generator { get }
    var maskThreshold: Double { get }
    /// Prompts that one call of it takes.
    var most: Int { get }
    /// Side of its logits.
    var side: Int { get }

    func setImage(_ picture: Picture) async throws

    /// Answers clicks: three masks each, one without `multimask`, or one refined with `earlier` logits. Masks
    /// whose predicted IoU is not wanted may be left out.
    func points(
        _ points: [EverythingPoint], multimask: Bool, earlier: [[Float]]?, wanted: (Float) -> Bool
    ) async throws -> Answers

    /// Answers one mask a box.
    func boxes(_ boxes: [Prompts.Box]) async throws -> Answers

    /// Points of the image that a head proposes to click.
    func proposals() async throws -> Proposals

    /// How logits become masks of an image of a size.
    func cropMasks(_ size: Size) throws -> CropMasks

    /// The objects of the image, if it finds them by itself.
    var pieces: [Piece]? { get }
}

/// A bundle as a `Predictor`: it encodes images of its own, beside that of `setImage`.
final class BundlePredictor: Predictor {
    private let sam: SegmentAnything
    private let manifest: Manifest
    private var scene: Scene?
    let generator: Generator
    let most: Int

    /// Throws `SegmentAnythingError.request` if each prompt takes a full run of the network.
    init(_ sam: SegmentAnything) throws {
        (self.sam, manifest) = (sam, sam.bundle.manifest)
        switch manifest.kind {
        // SAM 2's predictor is the one that pads a box as well.
        case .slots(let rule): (generator, most) = (rule.padWithBox ? .sam2 : .sam, rule.batch)
        case .detections: (generator, most) = (.sam, 1)
        case .drawn:
            throw SegmentAnythingError.request(
                "this bundle takes a full run of its network for each prompt: ask for one")
        }
    }

    var maskThreshold: Double { manifest.mask.threshold }
    var side: Int { manifest.mask.lowResSize }

    func setImage(_ picture: Picture) async throws {
        scene = nil
        scene = try await sam.withGraphs { try await $0.encode(picture) }
    }

    func points(
        _ points: [EverythingPoint], multimask: Bool, earlier: [[Float]]?, wanted: (Float) -> Bool
    ) async throws -> Answers {
        if earlier != nil { try requireRefinable() }
        let sets = points.map { Prompts(points: [CGPoint(x: $0.x, y: $0.y)], labels: [1]) }
        return try await answers(sets, earlier, multimask: multimask && earlier == nil, wanted)
    }

    /// Throws if the decoder takes no mask of its own again.
    private func requireRefinable() throws {
        guard !manifest.graphs.contains(where: { $0.takes("mask_input") }) else { return }
        let cut = manifest.graphs.contains { $0.name == "token_decoder" }
        let other = cut ? ", or use an ordinary bundle: sam-export without --everything" : ""
        throw SegmentAnythingError.prompt(
            "\(printable(manifest.variant)) takes no earlier mask, which useM2m gives it: leave out useM2m\(other)")
    }

    func boxes(_ boxes: [Prompts.Box]) async throws -> Answers {
        try await answers(boxes.map { Prompts(box: $0) }, nil, multimask: false) { _ in true }
    }

    private func answers(
        _ sets: [Prompts], _ earlier: [[Float]]?, multimask: Bool, _ wanted: (Float) -> Bool
    ) async throws -> Answers {
        let (embedded, frame) = try encoded()
        let rule = manifest.mask
        // One mask is chosen by logits as well, so none can be left out before they are there.
        let made = try await sam.withGraphs { graphs in
            try await graphs.decode(embedded, frame, sets, earlier) { ious in
                !multimask || rule.multi.contains { wanted(ious[$0]) }
            }
        }
        var answers = Answers(kinds: multimask ? rule.multi.count : 1, ious: [], logits: [])
        for decoded in made {
            for token in decoded.tokens(rule, multimask: multimask) {
                let iou = decoded.iou[token]
                answers.ious.append(iou)
                answers.logits.append(wanted(iou) && decoded.hasMasks ? Array(decoded.logits(token)) : nil)
            }
        }
        return answers
    }

    private func encoded() throws -> ([String: Value], Frame) {
        guard let scene, case .encoded(let embedded, let frame) = scene else {
            throw SegmentAnythingError.request(
                "this bundle finds objects by itself and takes no prompts: use detector")
        }
        return (embedded, frame)
    }

    func proposals() async throws -> Proposals {
        let (embedded, frame) = try encoded(), output = "point_scores"
        guard let head = manifest.graphs.first(where: { $0.outputs.contains { $0.name == output } }) else {
            throw SegmentAnythingError.request(
                "\(printable(manifest.variant)) has no head that proposes points: use the demo's bundle of "
                    + "sam-export --everything, or another method")
        }
        let made = try await sam.withGraphs { try await $0.beside(head, embedded) }
        guard let scores = made[output], scores.shape.count == 4 else {
            throw SegmentAnythingError.bundle("\(head.name) gives no map of \(output): export the bundle again")
        }
        return peaks(of: ScoreMap(width: scores.shape[3], height: scores.shape[2], scores.values), in: frame)
    }

    func cropMasks(_ size: Size) -> CropMasks {
        let how = manifest.mask.upscale
        let upscaling = Upscaling(side, Frame(size, manifest.preprocess), how)
        return CropMasks(size, upscaling, side: side, squashed: how == .sigmoidBilinearOnce)
    }

    var pieces: [Piece]? { if case .found(let pieces, _) = scene { pieces } else { nil } }
}

extension SegmentAnything: BoxFinder {
    /// The whole pixels that objects' masks may lie in.
    func foundBoxes(_ picture: Picture) async throws -> FoundBoxes {
        let predictor = try BundlePredictor(self)
        try await predictor.setImage(picture)
        guard let pieces = predictor.pieces else {
            throw SegmentAnythingError.request("this bundle finds no objects by itself: give FastSAM's bundle")
        }
        var found = FoundBoxes()
        for piece in pieces where !piece.pixels.isEmpty {
            let (x0, y0) = (piece.left, piece.top)
            found.boxes.append([Float(x0), Float(y0), Float(x0 + piece.width), Float(y0 + piece.height)])
            found.scores.append(piece.score)
        }
        return found
    }
}
