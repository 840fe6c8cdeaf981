/// Resizes RGB in floats by two neighbours each way with half-pixel centres, columns first. A shrinking
/// picture is not smoothed before.
func plainFloats(_ picture: Picture, to size: Size) -> [Float] {
    let columns = Neighbours(from: picture.width, to: size.width)
    let rows = Neighbours(from: picture.height, to: size.height)
    let line = size.width * 3
    var wide = [Float](repeating: 0, count: picture.height * line)
    for y in 0..<picture.height {
        let row = y * picture.width
        for x in 0..<size.width {
            let low = (row + columns.low[x]) * 3, high = (row + columns.high[x]) * 3
            for channel in 0..<3 {
                let first = Float(picture.rgb[low + channel]), second = Float(picture.rgb[high + channel])
                wide[y * line + x * 3 + channel] = first + (second - first) * Float(columns.part[x])
            }
        }
    }
    var out = [Float](repeating: 0, count: size.height * line)
    for y in 0..<size.height {
        let low = rows.low[y] * line, high = rows.high[y] * line, part = Float(rows.part[y])
        for x in 0..<line { out[y * line + x] = wide[low + x] + (wide[high + x] - wide[low + x]) * part }
    }
    return out
}

/// For each new place: the two old ones around it, and the share of the second.
struct Neighbours {
    let low: [Int]
    let high: [Int]
    let part: [Double]

    init(from old: Int, to new: Int) {
        let positions = (0..<new).map { max(0, (Double($0) + 0.5) * Double(old) / Double(new) - 0.5) }
        low = positions.map { min(Int($0), old - 1) }
        high = low.map { min($0 + 1, old - 1) }
        part = zip(positions, low).map { $0 - Double($1) }
    }
}

/// Resizes RGB bytes as OpenCV's INTER_LINEAR does, in whole numbers of 2048ths.
func opencvBytes(_ picture: Picture, to size: Size) -> [UInt8] {
    let columns = Fixed(from: picture.width, to: size.width, clampsFirst: true)
    let rows = Fixed(from: picture.height, to: size.height, clampsFirst: false)
    let line = size.width * 3
    var wide = [Int](repeating: 0, count: picture.height * line)
    for y in 0..<picture.height {
        for x in 0..<size.width {
            let left = (y * picture.width + columns.low[x]) * 3
            let right = (y * picture.width + columns.high[x]) * 3
            for channel in 0..<3 {
                wide[y * line + x * 3 + channel] =
                    Int(picture.rgb[left + channel]) * columns.near[x]
                    + Int(picture.rgb[right + channel]) * columns.far[x]
            }
        }
    }
    var out = [UInt8](repeating: 0, count: size.height * line)
    for y in 0..<size.height {
        let above = rows.low[y] * line, below = rows.high[y] * line
        for x in 0..<line {
            // The two halves lose their bits apart, even if both are the same row.
            let upper = ((wide[above + x] >> 4) * rows.near[y]) >> 16
            let lower = ((wide[below + x] >> 4) * rows.far[y]) >> 16
            out[y * line + x] = UInt8(clamping: (upper + lower + 2) >> 2)
        }
    }
    return out
}

private struct Fixed {
    var low: [Int] = []
    var high: [Int] = []
    var near: [Int] = []
    var far: [Int] = []

    /// Beyond the centre of the outermost pixel that pixel alone counts, if `clampsFirst`.
    init(from old: Int, to new: Int, clampsFirst: Bool) {
        let scale = 1 / (Double(new) / Double(old))
        for place in 0..<new {
            let position = Float((Double(place) + 0.5) * scale - 0.5)
            let first = Int(position.rounded(.down))
            let part = clampsFirst && first < 0 ? 0 : position - Float(first)
            low.append(min(max(first, 0), old - 1))
            high.append(min(max(first + 1, 0), old - 1))
            near.append(Int(((1 - part) * 2048).rounded(.toNearestOrEven)))
            far.append(Int((part * 2048).rounded(.toNearestOrEven)))
        }
    }
}
