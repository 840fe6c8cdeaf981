import Foundation
import SegmentAnythingCore

/// What `--everything` was asked for.
struct EverythingArguments {
    /// Whether `--everything` itself was given.
    var asked = false
    var method = "grid"
    private(set) var detector: URL?
    private var given: [String] = []
    private var whole: [String: Int] = [:]
    private var numbers: [String: Double] = [:]
    private var rules: Generator?

    private static let methods = ["grid", "hierarchical", "object-aware", "proposed", "detector"]
    private static let wholes = ["--points-per-side", "--points-per-batch", "--crop-n-layers", "--max-proposals"]
    private static let filters = [
        "--points-per-batch", "--pred-iou-thresh", "--stability-score-thresh", "--stability-score-offset",
        "--box-nms-thresh", "--crop-nms-thresh", "--min-mask-region-area", "--mask-threshold", "--fast",
    ]
    private static let decoding = ["--rules", "--refine", "--single-mask", "--leave-small-regions"]
    private static let taken = [
        "grid": filters + decoding + [
            "--points-per-side", "--crop-n-layers", "--crop-overlap-ratio", "--crop-n-points-downscale-factor",
        ],
        "hierarchical": filters + ["--points-per-side", "--high-score-thresh"],
        "proposed": filters + decoding + ["--proposal-thresh", "--max-proposals"],
        "object-aware": ["--detector", "--mask-threshold", "--stability-score-offset"],
        "detector": [],
    ]
    private static let needs = [
        ("--crop-overlap-ratio", "--crop-n-layers"), ("--crop-n-points-downscale-factor", "--crop-n-layers"),
        ("--leave-small-regions", "--min-mask-region-area"),
    ]

    /// Whether an option is one of these.
    static func has(_ option: String) -> Bool { taken.values.contains { $0.contains(option) } }

    /// Takes an option; `value` gives the word after it.
    mutating func take(_ option: String, _ value: () throws -> String) throws {
        given.append(option)
        switch option {
        case "--fast", "--refine", "--single-mask", "--leave-small-regions": break
        case "--detector": detector = URL(fileURLWithPath: try value())
        case "--rules":
            let word = try value()
            guard ["sam", "sam2"].contains(word) else { throw wrong("--rules takes sam or sam2, not \(word)") }
            rules = word == "sam" ? .sam : .sam2
        case _ where EverythingArguments.wholes.contains(option):
            guard let number = Int(try value()) else { throw wrong("\(option) takes a whole number") }
            whole[option] = number
        default: numbers[option] = try one(value())
        }
    }

    /// Throws if an option does not go with the method.
    func check(_ prompts: Prompts) throws {
        guard asked else { throw wrong("\(given.first ?? "") goes with --everything") }
        guard let taken = EverythingArguments.taken[method] else {
            let hint = method.contains(".") ? "; PICTURE goes before --everything" : ""
            throw wrong("--everything METHOD is one of \(EverythingArguments.methods.joined(separator: ", "))\(hint)")
        }
        guard prompts.points.isEmpty else {
            throw wrong("--everything asks for all objects: leave out --point")
        }
        let boxes = (prompts.box == nil ? 0 : 1) + (detector == nil ? 0 : 1)
        guard boxes == (method == "object-aware" ? 1 : 0) else {
            throw wrong("--box or --detector, one of the two, goes with --everything object-aware")
        }
        if let odd = given.first(where: { !taken.contains($0) }) {
            throw wrong("--everything \(method) takes no \(odd)")
        }
        for (option, other) in EverythingArguments.needs where given.contains(option) && !given.contains(other) {
            throw wrong("\(option) goes with \(other)")
        }
    }

    /// An error of the library, which names options as the command does; names of one word are words as well.
    func spelt(_ error: SegmentAnythingError) -> SegmentAnythingError {
        let text = error.message.replacingOccurrences(of: "useM2m", with: "--refine")
        return .request(
            given.reduce(text) { text, option in
                let words = option.dropFirst(2).split(separator: "-").map(String.init)
                guard words.count > 1 else { return text }
                let name = words[0] + words.dropFirst().map(\.capitalized).joined()
                return text.replacingOccurrences(of: name, with: option)
            })
    }

    /// The library's method; `finder` is that of `--detector`.
    func method(_ prompts: Prompts, _ finder: SegmentAnything?) -> EverythingMethod {
        let (side, batch) = (whole["--points-per-side"] ?? 32, whole["--points-per-batch"] ?? 64)
        let (iou, stability) = (numbers["--pred-iou-thresh"], numbers["--stability-score-thresh"] ?? 0.95)
        let (offset, threshold) = (numbers["--stability-score-offset"] ?? 1, numbers["--mask-threshold"])
        let (nms, cropNms) = (numbers["--box-nms-thresh"] ?? 0.7, numbers["--crop-nms-thresh"] ?? 0.7)
        let (area, fast) = (numbers["--min-mask-region-area"] ?? 0, given.contains("--fast"))
        let (single, refine) = (given.contains("--single-mask"), given.contains("--refine"))
        let components = !given.contains("--leave-small-regions")
        switch method {
        case "grid":
            return .grid(
                pointsPerSide: side, pointsPerBatch: batch, predIouThresh: iou, stabilityScoreThresh: stability,
                stabilityScoreOffset: offset, boxNmsThresh: nms, cropNLayers: whole["--crop-n-layers"] ?? 0,
                cropNmsThresh: cropNms, cropOverlapRatio: numbers["--crop-overlap-ratio"] ?? 512.0 / 1500,
                cropNPointsDownscaleFactor: numbers["--crop-n-points-downscale-factor"] ?? 1,
                minMaskRegionArea: area, maskThreshold: threshold, multimaskOutput: !single, useM2m: refine,
                generator: rules, components: components, fast: fast)
        case "hierarchical":
            return .hierarchical(
                pointsPerSide: side, pointsPerBatch: batch, predIouThresh: iou, stabilityScoreThresh: stability,
                stabilityScoreOffset: offset, boxNmsThresh: nms, cropNmsThresh: cropNms, minMaskRegionArea: area,
                maskThreshold: threshold, highScoreThresh: numbers["--high-score-thresh"] ?? 8.5, fast: fast)
        case "proposed":
            return .proposed(
                proposalThresh: numbers["--proposal-thresh"] ?? 0.1, maxProposals: whole["--max-proposals"] ?? 64,
                pointsPerBatch: batch, predIouThresh: iou, stabilityScoreThresh: stability,
                stabilityScoreOffset: offset, boxNmsThresh: nms, cropNmsThresh: cropNms, minMaskRegionArea: area,
                maskThreshold: threshold, multimaskOutput: !single, useM2m: refine, generator: rules,
                components: components, fast: fast)
        case "detector": return .detector
        default:
            if let finder {
                return .objectAware(detector: finder, maskThreshold: threshold, stabilityScoreOffset: offset)
            }
            let boxes = [prompts.box].compactMap { $0 }
            return .objectAware(boxes: boxes, maskThreshold: threshold, stabilityScoreOffset: offset)
        }
    }
}
