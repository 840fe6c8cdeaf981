struct Corner: Equatable {
    var x: Int
    var y: Int

    func squared(to other: Corner) -> Int {
        (x - other.x) * (x - other.x) + (y - other.y) * (y - other.y)
    }
}

/// Walks around the pixels of a mask.
struct Outline {
    private let width: Int
    private let height: Int
    private let pixels: [UInt8]

    /// Right, down, left, up: the next one turns right.
    private static let moves = [(1, 0), (0, 1), (-1, 0), (0, -1)]
    /// From a corner, the pixel ahead to the right of each move.
    private static let right = [(0, 0), (-1, 0), (-1, -1), (0, -1)]

    init(_ pixels: [UInt8], width: Int, height: Int) {
        (self.pixels, self.width, self.height) = (pixels, width, height)
    }

    /// Finds every ring, with the corners at which it turns; sorted by its topmost corner.
    func rings() -> [[Corner]] {
        var seen = [Bool](repeating: false, count: pixels.count)
        var rings: [[Corner]] = []
        for y in 0..<height {
            for x in 0..<width where inside(x, y) && !inside(x, y - 1) && !seen[y * width + x] {
                rings.append(follow(Corner(x: x, y: y), &seen))
            }
        }
        return rings.sorted { ($0[0].y, $0[0].x) < ($1[0].y, $1[0].x) }
    }

    private func inside(_ x: Int, _ y: Int) -> Bool {
        x >= 0 && x < width && y >= 0 && y < height && pixels[y * width + x] != 0
    }

    /// Starts at the upper left corner of a pixel whose upper neighbour is outside.
    private func follow(_ start: Corner, _ seen: inout [Bool]) -> [Corner] {
        var at = start, way = 0
        var ring: [Corner] = []
        repeat {
            if way == 0 { seen[at.y * width + at.x] = true }
            at.x += Outline.moves[way].0
            at.y += Outline.moves[way].1
            let turn = turn(at, way)
            if turn != 0 { ring.append(at) }
            way = (way + turn + 4) % 4
        } while at != start || way != 0
        let first = ring.indices.min { (ring[$0].y, ring[$0].x) < (ring[$1].y, ring[$1].x) } ?? 0
        return Array(ring[first...] + ring[..<first])
    }

    /// Decides at a corner: 1 to the right, -1 to the left, 0 ahead.
    private func turn(_ at: Corner, _ way: Int) -> Int {
        let right = Outline.right[way], left = Outline.right[(way + 3) % 4]
        if !inside(at.x + right.0, at.y + right.1) { return 1 }
        return inside(at.x + left.0, at.y + left.1) ? -1 : 0
    }
}

/// Leaves out corners that are no farther than `tolerance` from what remains: Douglas and Peucker's rule,
/// between the first corner and the one farthest from it.
func simplified(_ ring: [Corner], _ tolerance: Double) -> [Corner] {
    let closed = ring + [ring[0]]
    var kept = [Bool](repeating: false, count: closed.count)
    let far = firstMost(ring.indices) { Double(ring[0].squared(to: ring[$0])) }?.at ?? 0
    kept[0] = true
    kept[far] = true
    var waiting = [(0, far), (far, ring.count)]
    while let (first, last) = waiting.popLast() {
        guard first + 1 < last else { continue }
        let worst = firstMost((first + 1)..<last) { distance(closed[$0], closed[first], closed[last]) }
        if let worst, worst.value > tolerance * tolerance {
            kept[worst.at] = true
            waiting += [(first, worst.at), (worst.at, last)]
        }
    }
    return zip(ring, kept).filter { $0.1 }.map { $0.0 }
}

private func firstMost(_ range: Range<Int>, _ value: (Int) -> Double) -> (at: Int, value: Double)? {
    var best: (at: Int, value: Double)?
    for at in range {
        let found = value(at)
        if best == nil || found > best!.value { best = (at, found) }
    }
    return best
}

/// Measures from `p` to the line between `a` and `b`, squared.
private func distance(_ p: Corner, _ a: Corner, _ b: Corner) -> Double {
    let length = a.squared(to: b)
    let along = (p.x - a.x) * (b.x - a.x) + (p.y - a.y) * (b.y - a.y)
    if along <= 0 { return Double(p.squared(to: a)) }
    if along >= length { return Double(p.squared(to: b)) }
    let across = Double((p.x - a.x) * (b.y - a.y) - (p.y - a.y) * (b.x - a.x))
    return across * across / Double(length)
}
