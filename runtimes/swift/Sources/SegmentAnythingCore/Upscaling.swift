/// A sparse matrix of a row for each new place: `reach` weights from the old place `first` on.
struct Taps {
    let first: [Int]
    let weights: [Float]
    let reach: Int

    /// Asks twice for the weights of every row by old place; a place may come twice. An array a row would be
    /// ten thousands of allocations a click.
    private init(_ count: Int, _ each: (_ row: Int, _ tap: (_ at: Int, _ weight: Double) -> Void) -> Void) {
        var first = [Int](repeating: Int.max, count: count), reach = 1
        for row in 0..<count {
            var last = 0
            each(row) { at, _ in
                first[row] = min(first[row], at)
                last = max(last, at)
            }
            reach = max(reach, last - first[row] + 1)
        }
        var weights = [Float](repeating: 0, count: count * reach)
        for row in 0..<count {
            let start = row * reach - first[row]
            each(row) { at, weight in weights[start + at] += Float(weight) }
        }
        (self.first, self.weights, self.reach) = (first, weights, reach)
    }

    /// Old places up to the last that has a weight.
    var used: Int {
        var last = 0
        for at in weights.indices where weights[at] != 0 { last = max(last, first[at / reach] + at % reach) }
        return last + 1
    }

    /// Interpolates bilinearly with half-pixel centres.
    static func bilinear(_ old: Int, _ new: Int) -> Taps {
        let found = Neighbours(from: old, to: new)
        return Taps(new) { found.taps($0, $1) }
    }

    /// Interpolates by cubic convolution (Keys 1981, a = -0.75) with half-pixel centres, edges clamped.
    static func bicubic(_ old: Int, _ new: Int) -> Taps {
        Taps(new) { place, tap in
            let position = (Double(place) + 0.5) * Double(old) / Double(new) - 0.5
            let first = Int(position.rounded(.down))
            for at in first - 1...first + 2 {
                tap(min(max(at, 0), old - 1), cubic(abs(position - Double(at))))
            }
        }
    }

    /// Interpolates bilinearly to `middle`, keeps the first `kept` of it, and interpolates those to `new`.
    static func through(_ old: Int, _ middle: Int, kept: Int, _ new: Int) -> Taps {
        let inner = Neighbours(from: old, to: middle), outer = Neighbours(from: kept, to: new)
        return Taps(new) { place, tap in
            outer.taps(place) { at, weight in inner.taps(at) { tap($0, weight * $1) } }
        }
    }
}

extension Neighbours {
    fileprivate func taps(_ place: Int, _ tap: (_ at: Int, _ weight: Double) -> Void) {
        tap(low[place], 1 - part[place])
        tap(high[place], part[place])
    }
}

private func cubic(_ x: Double) -> Double {
    let a = -0.75
    return x <= 1 ? ((a + 2) * x - (a + 3)) * x * x + 1 : a * (((x - 5) * x + 8) * x - 4)
}

/// Upscales logits of `side` a row, and compares with a threshold.
struct Upscaling {
    let rows: Taps
    let columns: Taps

    init(_ side: Int, _ frame: Frame, _ how: Upscale) {
        let original = frame.original
        switch how {
        case .bicubicOnce:
            rows = .bicubic(side, original.height)
            columns = .bicubic(side, original.width)
        case .bilinearOnce, .sigmoidBilinearOnce:
            rows = .bilinear(side, original.height)
            columns = .bilinear(side, original.width)
        case .cropBilinear:
            // The part of the logits that the picture covers, straight to its size.
            rows = .bilinear(max(1, side * original.height / original.longest), original.height)
            columns = .bilinear(max(1, side * original.width / original.longest), original.width)
        case .bilinear, .letterboxBilinear:
            let (resized, square) = frame.published ?? (frame.resized, frame.side)
            rows = .through(side, square, kept: resized.height, original.height)
            columns = .through(side, square, kept: resized.width, original.width)
        }
    }

    init(rows: Taps, columns: Taps) {
        self.rows = rows
        self.columns = columns
    }

    /// Makes the rectangle `rows` x `columns` of a mask, a byte of 0 or 1 a pixel.
    func mask(
        _ logits: UnsafeBufferPointer<Float>, line: Int, threshold: Float, y: Range<Int>, x: Range<Int>
    ) -> [UInt8] {
        let width = x.count, count = width * y.count
        return [UInt8](unsafeUninitializedCapacity: count) { out, filled in
            let tall = line == 0 ? 0 : logits.count / line
            let wide = widened(logits, line: line, lines: tall, x: x)
            wide.withUnsafeBufferPointer { wide in
                withUnsafeTemporaryAllocation(of: Float.self, capacity: max(width, 1)) { sums in
                    for (place, row) in y.enumerated() {
                        sum(wide, row, width, tall, into: sums)
                        let to = place * width
                        for column in 0..<width { out[to + column] = sums[column] > threshold ? 1 : 0 }
                    }
                }
            }
            filled = count
        }
    }

    private func sum(
        _ wide: UnsafeBufferPointer<Float>, _ row: Int, _ width: Int, _ tall: Int,
        into sums: UnsafeMutableBufferPointer<Float>
    ) {
        let first = rows.first[row]
        for column in 0..<width { sums[column] = 0 }
        for tap in 0..<rows.reach where first + tap < tall {
            let weight = rows.weights[row * rows.reach + tap], from = (first + tap) * width
            if weight != 0 { for column in 0..<width { sums[column] += weight * wide[from + column] } }
        }
    }

    private func widened(
        _ logits: UnsafeBufferPointer<Float>, line: Int, lines: Int, x: Range<Int>
    ) -> [Float] {
        let width = x.count
        return [Float](unsafeUninitializedCapacity: lines * width) { out, filled in
            for row in 0..<lines {
                for (place, column) in x.enumerated() {
                    let first = columns.first[column]
                    var sum: Float = 0
                    for tap in 0..<columns.reach where first + tap < line {
                        sum += columns.weights[column * columns.reach + tap] * logits[row * line + first + tap]
                    }
                    out[row * width + place] = sum
                }
            }
            filled = lines * width
        }
    }
}
