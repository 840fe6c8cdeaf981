import Foundation

/// What one mask is at a crop's size: pixels above both edges of the threshold's band, and its box.
struct Measured {
    let above, within: Int
    let box: Extent

    /// Share of the mask that stays when the threshold rises; not a number for 0 / 0.
    var stability: Float { Float(above) / Float(within) }

    /// Whether the mask is stable enough, as float32 decides; 0 keeps all.
    func isStable(_ least: Double) -> Bool { !(least > 0) || stability >= Float(least) }
}

/// Masks of a crop from logits, one at a time; nothing of the crop's size is held in floats.
///
/// Both interpolations are one matrix a side. Blocks whose logits all lie on one side of every threshold are
/// counted and not computed, which is nearly all of a mask.
struct CropMasks {
    let size: Size
    private let rows, columns: Taps
    private let side: Int
    private let squashed, convex: Bool
    /// Rows and columns of the logits that the crop is made of.
    private let tall, wide: Int

    /// More than rounding can move a logit between its neighbours.
    private static let sure: Float = 1e-3
    private static let huge: Float = 1e30
    /// Columns of the picture that are judged at once.
    private static let block = 32

    init(_ size: Size, _ upscaling: Upscaling, side: Int, squashed: Bool) {
        (self.size, self.side, self.squashed) = (size, side, squashed)
        (rows, columns) = (upscaling.rows, upscaling.columns)
        // Cubic weights overshoot what they lie between, so nothing is sure of a block.
        convex = (rows.weights + columns.weights).allSatisfy { $0 >= 0 }
        (tall, wide) = (rows.used, columns.used)
    }

    /// Counts a mask's stability band and finds its box, without making it.
    func measure(_ logits: [Float], _ threshold: Double, _ offset: Double) -> Measured {
        let upper = edge(threshold + offset), middle = edge(threshold), lower = edge(threshold - offset)
        var (above, within) = (0, 0)
        var (left, right, top, bottom) = (size.width, -1, -1, -1)
        func set(_ row: Int, _ first: Int, _ last: Int) {
            (left, right, bottom) = (min(left, first), max(right, last), row)
            if top < 0 { top = row }
        }
        walk(logits, lower, upper, 0..<size.height) { row, part in
            above += part.count
            within += part.count
            set(row, part.lowerBound, part.upperBound - 1)
        } each: { row, column, value in
            if value > upper { above += 1 }
            if value > lower { within += 1 }
            if value > middle { set(row, column, column) }
        }
        let box = right < 0 ? Extent.empty : Extent(x0: left, y0: top, x1: right, y1: bottom)
        return Measured(above: above, within: within, box: box)
    }

    /// Does as `measure` on the logits as they are: a hundred times quicker, and not the published numbers.
    func measureLow(_ given: [Float], _ threshold: Double, _ offset: Double) -> Measured {
        let (upper, middle, lower) = (Float(threshold + offset), Float(threshold), Float(threshold - offset))
        let logits = finite(given)
        var (above, within) = (0, 0)
        var (left, right, top, bottom) = (wide, -1, -1, -1)
        for row in 0..<tall {
            for column in 0..<wide {
                let value = logits[row * side + column]
                if value > upper { above += 1 }
                if value > lower { within += 1 }
                guard value > middle else { continue }
                (left, right, bottom) = (min(left, column), max(right, column), row)
                if top < 0 { top = row }
            }
        }
        if right < 0 { return Measured(above: above, within: within, box: .empty) }
        let (x0, x1) = scaled(left, right, of: wide, to: size.width)
        let (y0, y1) = scaled(top, bottom, of: tall, to: size.height)
        return Measured(above: above, within: within, box: Extent(x0: x0, y0: y0, x1: x1, y1: y1))
    }

    /// First and last place in pixels of the crop.
    private func scaled(_ first: Int, _ last: Int, of places: Int, to pixels: Int) -> (Int, Int) {
        let share = Double(pixels) / Double(places)
        let end = Int((Double(last + 1) * share).rounded(.up)) - 1
        return (Int(Double(first) * share), min(pixels - 1, end))
    }

    /// Run lengths, in a picture of a size in which the crop begins at x, y, of a mask in its box.
    func runs(
        _ logits: [Float], _ threshold: Double, _ box: Extent, at x: Int, _ y: Int, of picture: Size
    ) -> [Int32] {
        let tall = box.y1 - box.y0 + 1, wide = box.x1 - box.x0 + 1
        var part = [UInt8](repeating: 0, count: wide * tall)  // column by column
        part.withUnsafeMutableBufferPointer { part in
            eachSet(logits, threshold, box.y0..<(box.y1 + 1)) { row, column in
                if column >= box.x0 && column <= box.x1 { part[(column - box.x0) * tall + row - box.y0] = 1 }
            }
        }
        let place = PixelBox(x: x + box.x0, y: y + box.y0, width: wide, height: tall)
        return SegmentAnythingCore.runs(in: place, of: picture) { part[$0 * tall + $1] != 0 }
    }

    /// Sets, row by row, where a mask is.
    func cover(_ logits: [Float], _ threshold: Double, _ covered: inout [Bool]) {
        eachSet(logits, threshold, 0..<size.height) { covered[$0 * size.width + $1] = true }
    }

    private func eachSet(
        _ logits: [Float], _ threshold: Double, _ range: Range<Int>, _ set: (_ row: Int, _ column: Int) -> Void
    ) {
        let edge = edge(threshold)
        walk(logits, edge, edge, range) { row, part in
            for column in part { set(row, column) }
        } each: { row, column, value in
            if value > edge { set(row, column) }
        }
    }

    private func edge(_ threshold: Double) -> Float { Float(squashed ? tanh(threshold / 2) : threshold) }

    /// Puts a number far below every threshold where a logit is none.
    private func finite(_ logits: [Float]) -> [Float] {
        if logits.allSatisfy(\.isFinite) { return logits }
        return logits.map { $0.isNaN ? -CropMasks.huge : min(max($0, -CropMasks.huge), CropMasks.huge) }
    }

    private func prepared(_ logits: [Float]) -> [Float] {
        let known = finite(logits)
        return squashed ? known.map { tanh($0 / 2) } : known
    }

    /// Goes through what may be above `low`: `all` of a block that is surely above `high`, else each pixel.
    @inline(__always)
    private func walk(
        _ given: [Float], _ low: Float, _ high: Float, _ range: Range<Int>,
        all: (_ row: Int, _ part: Range<Int>) -> Void, each: (_ row: Int, _ column: Int, _ value: Float) -> Void
    ) {
        let logits = prepared(given), most = mostOfRows(logits)
        let (least, greatest) = (low - CropMasks.sure, high + CropMasks.sure)
        logits.withUnsafeBufferPointer { logits in
            withUnsafeTemporaryAllocation(of: Float.self, capacity: side) { line in
                for row in range {
                    if convex && isBelow(most, row, least) { continue }
                    interpolate(logits, row, into: line)
                    for from in stride(from: 0, to: size.width, by: CropMasks.block) {
                        let part = from..<min(from + CropMasks.block, size.width)
                        let judged = convex ? judge(line, part, least, greatest) : 0
                        if judged > 0 { all(row, part) }
                        if judged != 0 { continue }
                        for column in part { each(row, column, value(line, column)) }
                    }
                }
            }
        }
    }

    private func mostOfRows(_ logits: [Float]) -> [Float] {
        (0..<side).map { row in logits[(row * side)..<((row + 1) * side)].max() ?? 0 }
    }

    private func isBelow(_ most: [Float], _ row: Int, _ low: Float) -> Bool {
        let first = rows.first[row]
        return (first..<min(side, first + rows.reach)).allSatisfy { most[$0] <= low }
    }

    /// Interpolates one row of the crop, at the logits' columns.
    private func interpolate(
        _ logits: UnsafeBufferPointer<Float>, _ row: Int, into line: UnsafeMutableBufferPointer<Float>
    ) {
        let first = rows.first[row]
        for at in 0..<side { line[at] = 0 }
        for tap in 0..<min(rows.reach, side - first) {
            let weight = rows.weights[row * rows.reach + tap], from = (first + tap) * side
            if weight != 0 { for at in 0..<side { line[at] += weight * logits[from + at] } }
        }
    }

    /// 1 if all columns of a part are above `high`, -1 if all are below `low`, else 0.
    private func judge(
        _ line: UnsafeMutableBufferPointer<Float>, _ part: Range<Int>, _ low: Float, _ high: Float
    ) -> Int {
        var (least, greatest) = (Float.infinity, -Float.infinity)
        let last = columns.first[part.upperBound - 1] + columns.reach
        for at in columns.first[part.lowerBound]..<min(side, last) {
            (least, greatest) = (min(least, line[at]), max(greatest, line[at]))
        }
        return least > high ? 1 : greatest <= low ? -1 : 0
    }

    @inline(__always)
    private func value(_ line: UnsafeMutableBufferPointer<Float>, _ column: Int) -> Float {
        let first = columns.first[column]
        var sum: Float = 0
        for tap in 0..<min(columns.reach, side - first) {
            sum += columns.weights[column * columns.reach + tap] * line[first + tap]
        }
        return sum
    }
}
