/// Pillow's antialiased resize: a triangle or a cubic that grows with the ratio, one axis after the other.
enum PillowFilter {
    case bilinear, bicubic

    var support: Double { self == .bilinear ? 1 : 2 }

    func weight(_ distance: Double) -> Double {
        let x = abs(distance)
        switch self {
        case .bilinear: return x < 1 ? 1 - x : 0
        case .bicubic:
            let a = -0.5
            if x < 1 { return ((a + 2) * x - (a + 3)) * x * x + 1 }
            return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0
        }
    }
}

/// For every new place along an axis: the first old place that counts, and the weights from there.
struct PillowWeights {
    let first: [Int]
    let count: [Int]
    /// `reach` numbers a place.
    let weights: [Double]
    let reach: Int

    init(from old: Int, to new: Int, _ filter: PillowFilter) {
        let scale = Double(old) / Double(new)
        let wide = max(scale, 1), support = filter.support * wide
        reach = Int(support.rounded(.up)) * 2 + 1
        var first = [Int](), count = [Int](), weights = [Double](repeating: 0, count: reach * new)
        for place in 0..<new {
            let centre = (Double(place) + 0.5) * scale
            let from = max(0, Int(centre - support + 0.5)), to = min(old, Int(centre + support + 0.5))
            var sum = 0.0
            for i in 0..<(to - from) {
                let weight = filter.weight((Double(i + from) - centre + 0.5) * (1 / wide))
                weights[place * reach + i] = weight
                sum += weight
            }
            if sum != 0 { for i in 0..<(to - from) { weights[place * reach + i] /= sum } }
            first.append(from)
            count.append(to - from)
        }
        (self.first, self.count, self.weights) = (first, count, weights)
    }

    /// The weights in whole numbers of 2^-22.
    var fixed: [Int32] {
        weights.map { Int32($0 < 0 ? -0.5 + $0 * 4_194_304 : 0.5 + $0 * 4_194_304) }
    }
}

private let half: Int32 = 1 << 21

private func byte(_ sum: Int32) -> UInt8 { UInt8(clamping: sum >> 22) }

/// Resizes RGB bytes; rounds to bytes after each axis, as Pillow does.
func pillowBytes(_ picture: Picture, to size: Size, _ filter: PillowFilter) -> [UInt8] {
    var pixels = picture.rgb
    if size.width != picture.width {
        let weights = PillowWeights(from: picture.width, to: size.width, filter)
        pixels = shrinkRows(pixels, picture.width, picture.height, size.width, weights)
    }
    if size.height != picture.height {
        let weights = PillowWeights(from: picture.height, to: size.height, filter)
        pixels = shrinkColumns(pixels, size.width, size.height, weights)
    }
    return pixels
}

private func shrinkRows(
    _ pixels: [UInt8], _ old: Int, _ height: Int, _ new: Int, _ weights: PillowWeights
) -> [UInt8] {
    let fixed = weights.fixed, reach = weights.reach
    return [UInt8](unsafeUninitializedCapacity: height * new * 3) { out, filled in
        pixels.withUnsafeBufferPointer { pixels in
            fixed.withUnsafeBufferPointer { fixed in
                weights.first.withUnsafeBufferPointer { first in
                    weights.count.withUnsafeBufferPointer { count in
                        var to = 0
                        for row in 0..<height {
                            for x in 0..<new {
                                var (r, g, b) = (half, half, half)
                                var at = (row &* old &+ first[x]) &* 3
                                let place = x &* reach
                                for tap in place..<(place &+ count[x]) {
                                    let weight = fixed[tap]
                                    r &+= Int32(pixels[at]) &* weight
                                    g &+= Int32(pixels[at &+ 1]) &* weight
                                    b &+= Int32(pixels[at &+ 2]) &* weight
                                    at &+= 3
                                }
                                out[to] = byte(r)
                                out[to &+ 1] = byte(g)
                                out[to &+ 2] = byte(b)
                                to &+= 3
                            }
                        }
                    }
                }
            }
        }
        filled = height * new * 3
    }
}

private func shrinkColumns(
    _ pixels: [UInt8], _ width: Int, _ new: Int, _ weights: PillowWeights
) -> [UInt8] {
    let fixed = weights.fixed, line = width * 3
    return [UInt8](unsafeUninitializedCapacity: new * line) { out, filled in
        pixels.withUnsafeBufferPointer { pixels in
            withUnsafeTemporaryAllocation(of: Int32.self, capacity: line) { sums in
                for y in 0..<new {
                    sums.update(repeating: half)
                    for i in 0..<weights.count[y] {
                        let weight = fixed[y * weights.reach + i]
                        let from = (weights.first[y] + i) * line
                        for x in 0..<line { sums[x] &+= Int32(pixels[from + x]) &* weight }
                    }
                    for x in 0..<line { out[y * line + x] = byte(sums[x]) }
                }
            }
        }
        filled = new * line
    }
}

/// Resizes RGB in floats; nothing is rounded but to a float after each axis.
func pillowFloats(_ picture: Picture, to size: Size) -> [Float] {
    var pixels = picture.rgb.map(Float.init)
    if size.width != picture.width {
        let weights = PillowWeights(from: picture.width, to: size.width, .bilinear)
        pixels = resample(
            pixels, weights, lines: picture.height, line: picture.width * 3, newLine: size.width * 3, step: 3)
    }
    if size.height != picture.height {
        let weights = PillowWeights(from: picture.height, to: size.height, .bilinear)
        pixels = resample(
            pixels, weights, lines: 1, line: 0, newLine: 0, step: size.width * 3)
    }
    return pixels
}

/// Resizes one channel of floats.
func pillowFloats(_ values: [Float], from old: Size, to size: Size) -> [Float] {
    var values = values
    if size.width != old.width {
        let weights = PillowWeights(from: old.width, to: size.width, .bilinear)
        values = resample(values, weights, lines: old.height, line: old.width, newLine: size.width, step: 1)
    }
    if size.height != old.height {
        let weights = PillowWeights(from: old.height, to: size.height, .bilinear)
        values = resample(values, weights, lines: 1, line: 0, newLine: 0, step: size.width)
    }
    return values
}

/// Resamples along an axis whose neighbours are `step` numbers apart.
private func resample(
    _ pixels: [Float], _ weights: PillowWeights, lines: Int, line: Int, newLine: Int, step: Int
) -> [Float] {
    let new = weights.first.count, count = lines * new * step
    return [Float](unsafeUninitializedCapacity: count) { out, filled in
        pixels.withUnsafeBufferPointer { pixels in
            for row in 0..<lines {
                for place in 0..<new {
                    let from = row * line + weights.first[place] * step
                    for part in 0..<step {
                        var sum = 0.0
                        for i in 0..<weights.count[place] {
                            sum += Double(pixels[from + part + i * step]) * weights.weights[place * weights.reach + i]
                        }
                        out[row * newLine + place * step + part] = Float(sum)
                    }
                }
            }
        }
        filled = count
    }
}
