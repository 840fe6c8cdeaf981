import Foundation
import SegmentAnythingCore

/// What `--everything` was asked for.
struct EverythingArguments {
    var method = ""
    var pointsPerSide: Int?
    var predIouThresh: Double?
    var stabilityScoreThresh: Double?
    var detector: URL?
    var fast = false

    private static let methods = ["grid", "hierarchical", "object-aware", "proposed", "detector"]

    /// Throws if an option does not go with the method.
    func check(_ prompts: Prompts) throws {
        guard EverythingArguments.methods.contains(method) else {
            throw wrong("--everything METHOD is one of \(EverythingArguments.methods.joined(separator: ", "))")
        }
        let clicks = ["grid", "hierarchical", "proposed"].contains(method)
        guard clicks || (predIouThresh == nil && stabilityScoreThresh == nil && !fast) else {
            throw wrong("--everything \(method) filters no masks: leave out thresholds and --fast")
        }
        guard pointsPerSide == nil || (clicks && method != "proposed") else {
            throw wrong("--everything \(method) has no grid: leave out --points-per-side")
        }
        guard prompts.points.isEmpty else {
            throw wrong("--everything asks for all objects: leave out --point")
        }
        let boxes = (prompts.box == nil ? 0 : 1) + (detector == nil ? 0 : 1)
        guard boxes == (method == "object-aware" ? 1 : 0) else {
            throw wrong("--box or --detector, one of the two, goes with --everything object-aware")
        }
    }

    /// The library's method; `finder` is that of `--detector`.
    func method(_ prompts: Prompts, _ finder: SegmentAnything?) -> EverythingMethod {
        let (side, stability) = (pointsPerSide ?? 32, stabilityScoreThresh ?? 0.95)
        switch method {
        case "grid":
            return .grid(
                pointsPerSide: side, predIouThresh: predIouThresh, stabilityScoreThresh: stability, fast: fast)
        case "hierarchical":
            return .hierarchical(
                pointsPerSide: side, predIouThresh: predIouThresh, stabilityScoreThresh: stability, fast: fast)
        case "proposed":
            return .proposed(predIouThresh: predIouThresh, stabilityScoreThresh: stability, fast: fast)
        case "detector": return .detector
        default:
            if let finder { return .objectAware(detector: finder) }
            return .objectAware(boxes: [prompts.box].compactMap { $0 })
        }
    }
}
