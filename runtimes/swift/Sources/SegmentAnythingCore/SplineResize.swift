import Foundation

/// Resizes RGB bytes as scikit-image does with a cubic spline, columns first; see
/// exporter/bundle/spline_resize.py. Fractions are cut off.
func splineBytes(_ picture: Picture, to size: Size) -> [UInt8] {
    let columns = Spline(from: picture.width, to: size.width)
    let rows = Spline(from: picture.height, to: size.height)
    let line = size.width * 3
    var wide = [Float](repeating: 0, count: picture.height * line)
    for y in 0..<picture.height {
        for channel in 0..<3 {
            let from = y * picture.width * 3 + channel
            let values = (0..<picture.width).map { Double(picture.rgb[from + $0 * 3]) }
            for (x, value) in columns.resized(values).enumerated() {
                wide[y * line + x * 3 + channel] = Float(value)
            }
        }
    }
    let low = Double(picture.rgb.min() ?? 0), high = Double(picture.rgb.max() ?? 0)
    var out = [UInt8](repeating: 0, count: size.height * line)
    for x in 0..<line {
        let values = (0..<picture.height).map { Double(wide[$0 * line + x]) }
        for (y, value) in rows.resized(values).enumerated() {
            // What is a whole number but for rounding stays that.
            out[y * line + x] = UInt8((min(max(value, low), high) + 1.0 / 4096).rounded(.down))
        }
    }
    return out
}

/// An axis: a Gaussian if it shrinks, the coefficients of the cubic spline, and the spline at new places.
private struct Spline {
    private static let pole = 3.0.squareRoot() - 2
    private let old: Int
    private let kernel: [Double]
    private let start: [Double]
    private let taps: [(first: Int, weights: [Double])]

    init(from old: Int, to new: Int) {
        self.old = old
        kernel = Spline.gaussian((Double(old) / Double(new) - 1) / 2)
        start = (0..<old).map { at in
            let near = pow(Spline.pole, Double(at))
            return at > 0 && at < old - 1 ? near + pow(Spline.pole, Double(2 * old - 2 - at)) : near
        }
        taps = (0..<new).map { place in
            let position = (Double(place) + 0.5) * Double(old) / Double(new) - 0.5
            let first = position.rounded(.down)
            return (Int(first), Spline.weights(position - first))
        }
    }

    func resized(_ values: [Double]) -> [Double] {
        let coefficients = filtered(smoothed(values))
        return taps.map { tap in
            var sum = 0.0
            for at in 0..<4 { sum += tap.weights[at] * coefficients[mirrored(tap.first - 1 + at)] }
            return sum
        }
    }

    private func smoothed(_ values: [Double]) -> [Double] {
        let radius = kernel.count / 2
        guard radius > 0 else { return values }
        return (0..<old).map { place in
            var sum = 0.0
            for at in 0..<kernel.count { sum += values[mirrored(place + at - radius)] * kernel[at] }
            return sum
        }
    }

    /// Filters values into the coefficients of the spline that goes through them.
    private func filtered(_ values: [Double]) -> [Double] {
        guard old > 1 else { return values }
        let pole = Spline.pole
        var held = values.map { $0 * 6 }
        var first = 0.0
        for at in 0..<old { first += start[at] * held[at] }
        held[0] = first / (1 - pow(pole, Double(2 * old - 2)))
        for at in 1..<old { held[at] += pole * held[at - 1] }
        held[old - 1] = (pole / (pole * pole - 1)) * (held[old - 1] + pole * held[old - 2])
        for at in stride(from: old - 2, through: 0, by: -1) { held[at] = pole * (held[at + 1] - held[at]) }
        return held
    }

    /// Mirrors a place at the outermost pixels' centres.
    private func mirrored(_ place: Int) -> Int {
        guard old > 1 else { return 0 }
        let period = 2 * old - 2
        let folded = ((place % period) + period) % period
        return min(folded, period - folded)
    }

    private static func gaussian(_ sigma: Double) -> [Double] {
        let radius = sigma > 0 ? Int(4 * sigma + 0.5) : 0
        guard radius > 0 else { return [1] }
        let kernel = (-radius...radius).map { exp(-0.5 * Double($0 * $0) / (sigma * sigma)) }
        let total = kernel.reduce(0, +)
        return kernel.map { $0 / total }
    }

    private static func weights(_ t: Double) -> [Double] {
        let u = 1 - t
        return [
            u * u * u / 6, (4 + t * t * (3 * t - 6)) / 6, (4 + u * u * (3 * u - 6)) / 6, t * t * t / 6,
        ]
    }
}
