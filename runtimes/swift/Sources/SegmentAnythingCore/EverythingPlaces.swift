import Foundation

/// A part of a picture, in its pixels; x1 and y1 are exclusive.
struct Crop: Equatable {
    let x0, y0, x1, y1: Int

    var size: Size { Size(width: x1 - x0, height: y1 - y0) }
    var box: PixelBox { PixelBox(x: x0, y: y0, width: x1 - x0, height: y1 - y0) }
}

/// The centres of side x side cells, in 0...1, row by row: numpy's `linspace` to the last bit.
func pointGrid(_ side: Int) throws -> [EverythingPoint] {
    guard side >= 1 else {
        throw SegmentAnythingError.request(
            "a grid of points needs at least one point a side: ask for more points")
    }
    let half = 1 / Double(2 * side), end = 1 - half
    let step = side > 1 ? (end - half) / Double(side - 1) : 0
    let along = (0..<side).map { side > 1 && $0 == side - 1 ? end : Double($0) * step + half }
    return (0..<(side * side)).map { EverythingPoint(x: along[$0 % side], y: along[$0 / side]) }
}

extension EverythingSettings {
    /// The grid of the picture, then those of each layer's crops.
    func grids() throws -> [[EverythingPoint]] {
        guard let side = pointsPerSide else { return pointGrids ?? [] }
        return try (0...cropNLayers).map { layer in
            try pointGrid(Int(Double(side) / pow(cropNPointsDownscaleFactor, Double(layer))))
        }
    }
}

/// The whole picture, then 2^i x 2^i overlapping crops of each layer i, x outer; each with its layer.
func crops(of size: Size, layers: Int, overlap: Double) -> [(crop: Crop, layer: Int)] {
    var found = [(crop: Crop(x0: 0, y0: 0, x1: size.width, y1: size.height), layer: 0)]
    for layer in stride(from: 1, through: layers, by: 1) {
        let count = 1 << layer
        let shared = Int(overlap * Double(min(size.height, size.width)) * (2 / Double(count)))
        func side(_ whole: Int) -> Int {
            Int((Double(shared * (count - 1) + whole) / Double(count)).rounded(.up))
        }
        let wide = side(size.width), tall = side(size.height)
        for column in 0..<count {
            for row in 0..<count {
                let x = (wide - shared) * column, y = (tall - shared) * row
                let crop = Crop(x0: x, y0: y, x1: min(x + wide, size.width), y1: min(y + tall, size.height))
                found.append((crop, layer))
            }
        }
    }
    return found
}

/// TinySAM's first grid has fewer points a side by this.
let coarser = 4

/// The fine points around each coarse one that no pixel of `sure` covers, as TinySAM lists them: eight
/// neighbours at strides of whole pixels, x outer; then two strides to the right, two down, and both, if the
/// picture goes so far. They come back from shares of the picture.
func secondPoints(_ sure: [Bool], _ size: Size, _ coarse: [EverythingPoint], side: Int) -> [EverythingPoint] {
    let across = Double(size.width / side), down = Double(size.height / side)
    let wide = Double(size.width), tall = Double(size.height)
    let near = [-1.0, 0, 1]
    let around = near.flatMap { x in near.map { y in (x, y) } }.filter { $0 != (0, 0) }
    var found: [EverythingPoint] = []
    for point in coarse {
        var steps = around
        let right = point.x + across * 2 < wide, below = point.y + down * 2 < tall
        if right { steps += near.map { (2, $0) } }
        if below { steps += near.map { ($0, 2) } }
        if right && below { steps.append((2, 2)) }
        for (stepX, stepY) in steps {
            let x = point.x + across * stepX, y = point.y + down * stepY
            guard !sure[Int(y) * size.width + Int(x)] else { continue }
            found.append(EverythingPoint(x: x / wide * wide, y: y / tall * tall))
        }
    }
    return found
}
