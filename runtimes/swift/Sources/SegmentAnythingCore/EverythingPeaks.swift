/// Points to click in pixels of the image, the best first, and their scores.
struct Proposals {
    var points: [EverythingPoint] = []
    var scores: [Float] = []
}

/// A head's scores of the cells that cover the network's input, row by row.
struct ScoreMap {
    let width, height: Int
    private let scores: [Float]

    init(width: Int, height: Int, _ scores: [Float]) {
        (self.width, self.height, self.scores) = (width, height, scores)
    }

    /// A cell's score; -infinity outside, and where it is no number.
    private func at(_ column: Int, _ row: Int) -> Float {
        guard 0..<width ~= column, 0..<height ~= row else { return -.infinity }
        let score = scores[row * width + column]
        return score.isFinite ? score : -.infinity
    }

    /// The cells that score higher than all that are near them, the highest first, as x and y in cells.
    ///
    /// A place is moved within its cell to the top of the parabola through its neighbours' scores, on either axis.
    func peaks() -> Proposals {
        var cells: [(column: Int, row: Int)] = []
        for row in 0..<height {
            for column in 0..<width where isPeak(column, row) { cells.append((column, row)) }
        }
        var found = Proposals()
        for place in indices(of: cells, byFalling: { at($0.column, $0.row) }) {
            let (column, row) = cells[place], top = at(column, row)
            let right = offset(at(column - 1, row), at(column + 1, row), top)
            let down = offset(at(column, row - 1), at(column, row + 1), top)
            let x = Double(column) + 0.5 + Double(right), y = Double(row) + 0.5 + Double(down)
            found.points.append(EverythingPoint(x: x, y: y))
            found.scores.append(top)
        }
        return found
    }

    /// Of equal neighbours the first in reading order is the peak.
    private func isPeak(_ column: Int, _ row: Int) -> Bool {
        let top = at(column, row)
        guard top.isFinite else { return false }
        for y in -1...1 {
            for x in -1...1 where (y, x) != (0, 0) {
                let beside = at(column + x, row + y)
                if (y, x) < (0, 0) ? top <= beside : top < beside { return false }
            }
        }
        return true
    }
}

/// A parabola's top from the middle of three cells: -0.5 to 0.5; 0 at an edge.
private func offset(_ before: Float, _ after: Float, _ top: Float) -> Float {
    guard before.isFinite, after.isFinite else { return 0 }
    let bend = 2 * top - before - after
    return bend > 0 ? (after - before) / (2 * bend) : 0
}

/// The peaks that lie on the picture, in its pixels.
func peaks(of map: ScoreMap, in frame: Frame) -> Proposals {
    let wide = Double(frame.side) / Double(map.width), tall = Double(frame.side) / Double(map.height)
    let resized = (x: Double(frame.resized.width), y: Double(frame.resized.height))
    let back = (x: Double(frame.original.width) / resized.x, y: Double(frame.original.height) / resized.y)
    let all = map.peaks()
    var found = Proposals()
    for (place, score) in zip(all.points, all.scores) {
        let x = place.x * wide - Double(frame.offset.x), y = place.y * tall - Double(frame.offset.y)
        guard x >= 0, y >= 0, x < resized.x, y < resized.y else { continue }
        found.points.append(EverythingPoint(x: x * back.x, y: y * back.y))
        found.scores.append(score)
    }
    return found
}
