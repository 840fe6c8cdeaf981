import Foundation

/// A measure of one graph output against the published network's.
public struct Figure: Codable, Equatable, Sendable {
    /// `A+B` is graph B on what A gave, not on the stored inputs.
    public let graph: String
    public let output: String
    public let measure: String
    public let value: Double
    public let unit: String
    /// Whether a higher value is better.
    public let higherIsBetter: Bool
    /// What it has to reach, or stay under; nil if it is only told.
    public let floor: Double?

    public var meetsFloor: Bool {
        guard let floor else { return true }
        return higherIsBetter ? value >= floor : value <= floor
    }

    init(
        _ graph: String, _ output: String, _ measure: Measure, _ value: Double, floor: Double?
    ) {
        (self.graph, self.output, self.measure, self.value) = (graph, output, measure.rawValue, value)
        (unit, higherIsBetter, self.floor) = (measure.unit, measure.higherIsBetter, floor)
    }

    init(_ fields: Fields) throws {
        // `arithmetic` says how the export computed it; the floor is the device's all the same.
        try fields.only(
            "graph", "output", "measure", "value", "unit", "better", "floor", "arithmetic")
        graph = try fields.text("graph")
        output = try fields.text("output")
        measure = try fields.text("measure")
        value = try fields.number("value")
        unit = try fields.text("unit")
        higherIsBetter = try fields.text("better") == "higher"
        floor = fields.has("floor") ? try fields.number("floor") : nil
    }
}

extension Figure: CustomStringConvertible {
    /// One line: the value, and whether it is as good as its floor.
    public var description: String {
        let what = "\(printable(graph)) \(printable(output)) \(printable(measure))"
        let suffix = unit.isEmpty ? "" : " \(printable(unit))"
        let start = "\(what) \(String(format: "%.4g", value))\(suffix)"
        guard let floor else { return start }
        let verdict =
            switch (meetsFloor, higherIsBetter) {
            case (true, true): "reaches the floor"
            case (true, false): "is within the limit"
            case (false, true): "is under the floor"
            case (false, false): "is over the limit"
            }
        return "\(start) \(verdict) \(String(format: "%.4g", floor))\(suffix)"
    }
}

/// What `runtimes/measures.py` calls alike.
enum Measure: String, CaseIterable {
    case psnr = "psnr_db"
    case worst = "worst_error"
    case iou = "mask_iou"
    case sensitivity = "prompt_sensitivity"

    var unit: String { self == .psnr ? "dB" : "" }
    var higherIsBetter: Bool { self != .worst }

    /// Where a measure is cut: JSON has no infinity.
    static let cap = 999.0

    /// 20 log10(largest |expected| / root mean square error), or the largest error over the largest |expected|.
    static func distance(_ expected: [Float], _ actual: [Float]) -> (psnr: Double, worst: Double) {
        var squares = 0.0, worst = 0.0, peak = 0.0
        for (wanted, found) in zip(expected, actual) {
            let error = abs(Double(found) - Double(wanted))
            squares += error * error
            worst = max(worst, error)
            peak = max(peak, abs(Double(wanted)))
        }
        guard worst > 0 else { return (cap, 0) }
        guard peak > 0 else { return (-cap, cap) }
        let rmse = (squares / Double(max(1, expected.count))).squareRoot()
        return (min(cap, 20 * log10(peak / rmse)), min(cap, worst / peak))
    }

    /// The least intersection over union of the masks of (..., h, w) logits; both empty is 1.
    static func leastIoU(_ expected: Tensor, _ actual: Tensor, threshold: Double) -> Double {
        let plane = expected.shape.suffix(2).reduce(1, *), limit = Float(threshold)
        let all = stride(from: 0, to: expected.values.count, by: max(1, plane)).map { start in
            var both = 0, either = 0
            for at in start..<(start + plane) {
                let a = expected.values[at] > limit, b = actual.values[at] > limit
                both += a && b ? 1 : 0
                either += a || b ? 1 : 0
            }
            return either == 0 ? 1 : Double(both) / Double(either)
        }
        return all.min() ?? 1
    }

    /// How closely outputs follow the prompts: the worst pair's min(r, 1/r), r the ratio of the distances
    /// between two answers; 0 if either does not move at all.
    static func followed(_ expected: [[Float]], _ actual: [[Float]]) -> Double {
        func apart(_ a: [Float], _ b: [Float]) -> Double {
            zip(a, b).reduce(0) { $0 + pow(Double($1.0) - Double($1.1), 2) }.squareRoot()
        }
        var worst = 1.0
        for i in expected.indices {
            for j in 0..<i {
                let should = apart(expected[i], expected[j]), moved = apart(actual[i], actual[j])
                worst = min(worst, should > 0 && moved > 0 ? min(moved / should, should / moved) : 0)
            }
        }
        return worst
    }
}
