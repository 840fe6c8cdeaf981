/// Whose rules: SAM's generator or SAM 2's.
public enum Generator: Sendable { case sam, sam2 }

/// A way to find everything in a picture, with its options: the published generators', under their names.
///
/// Options that several ways have: `pointsPerSide` of the grid; `pointsPerBatch`, the most prompts in one call of
/// the decoder; a mask stays if its predicted IoU is above `predIouThresh` (nil: 0.88, SAM 2's 0.8; 0 keeps all)
/// and at least `stabilityScoreThresh` of it stays when the threshold moves by `stabilityScoreOffset` (0 keeps
/// all); of masks whose boxes' IoU is above `boxNmsThresh` (`cropNmsThresh` between crops) the better stays; holes
/// and islands below `minMaskRegionArea` pixels are removed from masks; `maskThreshold` is of logits (nil: the
/// bundle's); `fast` takes stability and boxes from the network's own pixels, so that other masks may be kept
/// (`Everything.notes` says how far the boxes are off). A value that cannot be is refused by `everything`.
public struct EverythingMethod: Sendable {
    enum Way: Sendable { case grid, hierarchical, proposed, objectAware((any BoxFinder)?), detector }

    let way: Way
    var settings: EverythingSettings

    /// A click on every point of a grid, in the picture and in its crops: SAM's and SAM 2's generators.
    ///
    /// - Parameters:
    ///   - cropNLayers: layers of 2^i x 2^i crops that are asked as well.
    ///   - cropOverlapRatio: of the first layer's crops, of the shorter side.
    ///   - cropNPointsDownscaleFactor: layer i has fewer points a side by this to the power i.
    ///   - pointGrids: points in 0...1 for the picture and each layer, instead of `pointsPerSide`, nil then.
    ///   - multimaskOutput: three masks a point, or one.
    ///   - useM2m: each mask is asked for again with its own logits.
    ///   - generator: whose rules; nil for the bundle's.
    ///   - components: whether SAM 2's generator removes small regions.
    public static func grid(
        pointsPerSide: Int? = 32, pointsPerBatch: Int = 64, predIouThresh: Double? = nil,
        stabilityScoreThresh: Double = 0.95, stabilityScoreOffset: Double = 1, boxNmsThresh: Double = 0.7,
        cropNLayers: Int = 0, cropNmsThresh: Double = 0.7, cropOverlapRatio: Double = 512.0 / 1500,
        cropNPointsDownscaleFactor: Double = 1, pointGrids: [[EverythingPoint]]? = nil,
        minMaskRegionArea: Double = 0, maskThreshold: Double? = nil, multimaskOutput: Bool = true,
        useM2m: Bool = false, generator: Generator? = nil, components: Bool = true, fast: Bool = false
    ) -> EverythingMethod {
        var own = EverythingSettings()
        (own.pointsPerSide, own.pointsPerBatch, own.predIouThresh) = (pointsPerSide, pointsPerBatch, predIouThresh)
        (own.stabilityScoreThresh, own.stabilityScoreOffset) = (stabilityScoreThresh, stabilityScoreOffset)
        (own.boxNmsThresh, own.cropNLayers, own.cropNmsThresh) = (boxNmsThresh, cropNLayers, cropNmsThresh)
        (own.cropOverlapRatio, own.cropNPointsDownscaleFactor) = (cropOverlapRatio, cropNPointsDownscaleFactor)
        (own.pointGrids, own.minMaskRegionArea, own.maskThreshold) = (pointGrids, minMaskRegionArea, maskThreshold)
        (own.multimaskOutput, own.useM2m, own.generator) = (multimaskOutput, useM2m, generator)
        (own.components, own.fast) = (components, fast)
        return EverythingMethod(way: .grid, settings: own)
    }

    /// A coarse grid first, then those points of the fine one that no sure mask covers: TinySAM's.
    ///
    /// - Parameter highScoreThresh: a logit above it covers a pixel.
    public static func hierarchical(
        pointsPerSide: Int = 32, pointsPerBatch: Int = 64, predIouThresh: Double? = nil,
        stabilityScoreThresh: Double = 0.95, stabilityScoreOffset: Double = 1, boxNmsThresh: Double = 0.7,
        cropNmsThresh: Double = 0.7, minMaskRegionArea: Double = 0, maskThreshold: Double? = nil,
        highScoreThresh: Double = 8.5, fast: Bool = false
    ) -> EverythingMethod {
        var own = EverythingSettings()
        (own.pointsPerSide, own.pointsPerBatch, own.predIouThresh) = (pointsPerSide, pointsPerBatch, predIouThresh)
        (own.stabilityScoreThresh, own.stabilityScoreOffset) = (stabilityScoreThresh, stabilityScoreOffset)
        (own.boxNmsThresh, own.cropNmsThresh) = (boxNmsThresh, cropNmsThresh)
        (own.minMaskRegionArea, own.maskThreshold) = (minMaskRegionArea, maskThreshold)
        (own.highScoreThresh, own.fast) = (highScoreThresh, fast)
        return EverythingMethod(way: .hierarchical, settings: own)
    }

    /// A click where a head on the image embedding proposes one, the best first; ours. The demo's bundle of
    /// `sam-export --everything` has the head, `point_proposer`.
    ///
    /// - Parameters:
    ///   - proposalThresh: points are asked that score above it.
    ///   - maxProposals: so many at most.
    ///   - multimaskOutput, useM2m, generator, components: as of `grid`.
    public static func proposed(
        proposalThresh: Double = 0.1, maxProposals: Int = 64, pointsPerBatch: Int = 64,
        predIouThresh: Double? = nil, stabilityScoreThresh: Double = 0.95, stabilityScoreOffset: Double = 1,
        boxNmsThresh: Double = 0.7, cropNmsThresh: Double = 0.7, minMaskRegionArea: Double = 0,
        maskThreshold: Double? = nil, multimaskOutput: Bool = true, useM2m: Bool = false,
        generator: Generator? = nil, components: Bool = true, fast: Bool = false
    ) -> EverythingMethod {
        var own = EverythingSettings()
        (own.proposalThresh, own.maxProposals, own.pointsPerBatch) = (proposalThresh, maxProposals, pointsPerBatch)
        (own.predIouThresh, own.stabilityScoreThresh) = (predIouThresh, stabilityScoreThresh)
        (own.stabilityScoreOffset, own.boxNmsThresh) = (stabilityScoreOffset, boxNmsThresh)
        (own.cropNmsThresh, own.minMaskRegionArea) = (cropNmsThresh, minMaskRegionArea)
        (own.maskThreshold, own.multimaskOutput, own.useM2m) = (maskThreshold, multimaskOutput, useM2m)
        (own.generator, own.components, own.fast) = (generator, components, fast)
        return EverythingMethod(way: .proposed, settings: own)
    }

    /// One mask for each box, the largest first, nothing filtered: MobileSAMv2's.
    ///
    /// - Parameter boxes: in pixels of the picture.
    public static func objectAware(
        boxes: [Prompts.Box], boxesPerBatch: Int = 320, maskThreshold: Double? = nil,
        stabilityScoreOffset: Double = 1
    ) -> EverythingMethod {
        var own = EverythingSettings()
        (own.boxes, own.boxesPerBatch, own.maskThreshold) = (boxes, boxesPerBatch, maskThreshold)
        own.stabilityScoreOffset = stabilityScoreOffset
        return EverythingMethod(way: .objectAware(nil), settings: own)
    }

    /// Does as the other `objectAware`, with the boxes that a FastSAM bundle finds.
    public static func objectAware(
        detector: SegmentAnything, boxesPerBatch: Int = 320, maskThreshold: Double? = nil,
        stabilityScoreOffset: Double = 1
    ) -> EverythingMethod {
        var own = EverythingSettings()
        (own.boxesPerBatch, own.maskThreshold) = (boxesPerBatch, maskThreshold)
        own.stabilityScoreOffset = stabilityScoreOffset
        return EverythingMethod(way: .objectAware(detector), settings: own)
    }

    /// What a bundle that finds objects by itself finds, such as FastSAM's: the highest score first.
    public static let detector = EverythingMethod(way: .detector, settings: EverythingSettings())
}

/// The options of all methods, under their published names; see `EverythingMethod`.
struct EverythingSettings: Sendable {
    var pointsPerSide: Int? = 32
    var pointsPerBatch = 64
    var predIouThresh: Double?
    var stabilityScoreThresh = 0.95
    var stabilityScoreOffset = 1.0
    var boxNmsThresh = 0.7
    var cropNLayers = 0
    var cropNmsThresh = 0.7
    var cropOverlapRatio = 512.0 / 1500
    var cropNPointsDownscaleFactor = 1.0
    var pointGrids: [[EverythingPoint]]?
    var minMaskRegionArea = 0.0
    var maskThreshold: Double?
    var multimaskOutput = true
    var useM2m = false
    var highScoreThresh = 8.5
    var boxes: [Prompts.Box]?
    var boxesPerBatch = 320
    var generator: Generator?
    var components = true
    var proposalThresh = 0.1
    var maxProposals = 64
    var fast = false

    /// Throws `SegmentAnythingError.request`, which names the value that cannot be.
    func check(_ way: EverythingMethod.Way) throws {
        try whole("pointsPerSide", pointsPerSide ?? 1, 1...256)
        try whole("pointsPerBatch", pointsPerBatch, 1...4096)
        try whole("boxesPerBatch", boxesPerBatch, 1...4096)
        try whole("cropNLayers", cropNLayers, 0...4)
        try whole("maxProposals", maxProposals, 1...4096)
        let thresholds = [predIouThresh ?? 0, stabilityScoreThresh, maskThreshold ?? 0, highScoreThresh]
        if thresholds.contains(where: \.isNaN) {
            throw wrong("a threshold is a number")
        }
        try number("stabilityScoreOffset", stabilityScoreOffset, 0, .infinity)
        try number("boxNmsThresh", boxNmsThresh, 0, .infinity)
        try number("cropNmsThresh", cropNmsThresh, 0, .infinity)
        try number("cropOverlapRatio", cropOverlapRatio, 0, 0.999)
        try number("cropNPointsDownscaleFactor", cropNPointsDownscaleFactor, 1, 256)
        try number("minMaskRegionArea", minMaskRegionArea, 0, .infinity)
        try number("proposalThresh", proposalThresh, 0, 1)
        try checkGrids()
        if case .hierarchical = way, let side = pointsPerSide, side < coarser {
            throw wrong("hierarchical needs \(coarser) points a side at least, not \(side)")
        }
        for box in boxes ?? [] where ![box.x0, box.y0, box.x1, box.y1].allSatisfy(\.isFinite) {
            throw wrong("boxes are x0, y0, x1, y1 in pixels of the picture")
        }
    }

    private func checkGrids() throws {
        guard (pointsPerSide == nil) != (pointGrids == nil) else {
            throw wrong("give pointsPerSide, or nil with pointGrids: one of the two")
        }
        guard let pointGrids else { return }
        guard pointGrids.count > cropNLayers else {
            throw wrong("pointGrids has no points for the crops of layer \(pointGrids.count)")
        }
        for grid in pointGrids where grid.isEmpty || !grid.allSatisfy({ 0...1 ~= $0.x && 0...1 ~= $0.y }) {
            throw wrong("pointGrids holds points x, y in 0...1, one or more for each layer")
        }
    }

    private func whole(_ name: String, _ value: Int, _ range: ClosedRange<Int>) throws {
        guard range.contains(value) else {
            throw wrong("\(name) is a whole number from \(range.lowerBound) to \(range.upperBound), not \(value)")
        }
    }

    private func number(_ name: String, _ value: Double, _ low: Double, _ high: Double) throws {
        guard value >= low, value <= high else {
            let most = high.isFinite ? " to \(plain(high))" : ""
            throw wrong("\(name) is a number from \(plain(low))\(most), not \(plain(value))")
        }
    }

    private func wrong(_ text: String) -> SegmentAnythingError { .request(text) }
}
