/// Connected regions of set pixels, of 8 neighbours, as spans of columns; see `eachSpan`.
private struct MaskRegions {
    typealias Span = (column: Int, low: Int, high: Int)

    private(set) var spans: [Span] = []
    private var roots: [Int] = []
    private var areas: [Int: Int] = [:]

    init(_ runs: [Int32], _ height: Int) {
        var found: [Span] = []
        eachSpan(runs, height) { found.append(($0, $1, $2)) }
        spans = found
        roots = Array(found.indices)
        join()
        for at in spans.indices { areas[root(at), default: 0] += spans[at].high - spans[at].low }
    }

    func area(_ span: Int) -> Int { areas[root(span)] ?? 0 }

    /// Joins spans of neighbouring columns that touch, corners included.
    private mutating func join() {
        var first = 0  // of the column before, the first span that may touch
        for at in spans.indices {
            let span = spans[at], before = span.column - 1
            while spans[first].column < before { first += 1 }
            while spans[first].column == before && spans[first].high < span.low { first += 1 }
            var other = first
            while spans[other].column == before && spans[other].low <= span.high {
                let (a, b) = (root(other), root(at))
                roots[max(a, b)] = min(a, b)
                other += 1
            }
        }
    }

    private func root(_ span: Int) -> Int {
        var at = span
        while roots[at] != at { at = roots[at] }
        return at
    }

    /// The largest, and of several that which reading row by row meets first, as one of its spans.
    func largest() -> Int {
        let most = areas.values.max() ?? 0
        let first = spans.indices.filter { area($0) == most }.min {
            (spans[$0].low, spans[$0].column) < (spans[$1].low, spans[$1].column)
        }
        return first ?? 0
    }

    func areOne(_ a: Int, _ b: Int) -> Bool { root(a) == root(b) }

    func runs(_ size: Size, _ stays: (Int) -> Bool) -> [Int32] {
        var writer = RunWriter(size)
        for at in spans.indices where stays(at) { writer.add(spans[at].column, spans[at].low, spans[at].high) }
        return writer.finish()
    }
}

/// Fills the holes, then removes the islands of fewer pixels than `area`, as SAM's `remove_small_regions`; if all
/// islands are smaller, the largest stays. Returns run lengths, and whether anything changed.
func withoutSmall(_ runs: [Int32], _ size: Size, _ area: Double) -> (runs: [Int32], changed: Bool) {
    let (filled, hadHoles) = fillHoles(runs, size, area)
    let (kept, hadIslands) = dropIslands(filled, size, area)
    return (kept, hadHoles || hadIslands)
}

private func fillHoles(_ runs: [Int32], _ size: Size, _ area: Double) -> ([Int32], Bool) {
    let clear = MaskRegions(inverted(runs), size.height)
    func stays(_ span: Int) -> Bool { Double(clear.area(span)) >= area }
    if clear.spans.indices.allSatisfy(stays) { return (runs, false) }
    return (inverted(clear.runs(size, stays)), true)
}

private func dropIslands(_ runs: [Int32], _ size: Size, _ area: Double) -> ([Int32], Bool) {
    let found = MaskRegions(runs, size.height)
    func stays(_ span: Int) -> Bool { Double(found.area(span)) >= area }
    if found.spans.indices.allSatisfy(stays) { return (runs, false) }
    if found.spans.indices.contains(where: stays) { return (found.runs(size, stays), true) }
    let largest = found.largest()
    return (found.runs(size) { found.areOne($0, largest) }, true)
}

/// Fills holes and removes specks of at most `most` pixels in logits of `side` a row, as SAM 2 does with its CUDA
/// extension. Both are looked for in the mask before either is done; its threshold is 0.
func filled(_ logits: [Float], side: Int, most: Double) -> [Float] {
    let whole = PixelBox(x: 0, y: 0, width: side, height: side)
    let runs = runs(in: whole, of: Size(width: side, height: side)) { logits[$1 * side + $0] > 0 }
    var changed = logits
    // The logit of a filled hole; a removed speck gets the negative.
    for (these, value) in [(inverted(runs), Float(10)), (runs, Float(-10))] {
        let found = MaskRegions(these, side)
        for (at, span) in found.spans.enumerated() where Double(found.area(at)) <= most {
            for row in span.low..<span.high { changed[row * side + span.column] = value }
        }
    }
    return changed
}

/// Removes small regions of finished masks and suppresses again, as SAM's `postprocess_small_regions`: an
/// untouched mask wins over a changed one, and keeps its box; the scores of both stay those of before.
func cleaned(_ segments: [Segment], _ area: Double, above most: Double) -> [Segment] {
    let made = segments.map { withoutSmall($0.runs, $0.size, area) }
    let boxes = zip(made, segments).map { extent(of: $0.runs, $1.size.height) }
    return suppress(boxes.map(\.floats), made.map { $0.changed ? 0 : 1 }, above: most).map { at in
        let one = segments[at], runs = made[at].runs, box = boxes[at]
        guard made[at].changed else { return one }
        return Segment(
            runs: runs, size: one.size, area: SegmentAnythingCore.area(of: runs),
            bbox: PixelBox(x: box.x0, y: box.y0, width: box.x1 - box.x0, height: box.y1 - box.y0),
            predictedIou: one.predictedIou, stabilityScore: one.stabilityScore, pointCoords: one.pointCoords,
            cropBox: one.cropBox)
    }
}
