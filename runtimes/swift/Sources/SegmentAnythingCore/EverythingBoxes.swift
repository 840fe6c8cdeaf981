/// First and last set column and row of a mask; zeros if it is empty.
struct Extent: Equatable {
    let x0, y0, x1, y1: Int

    static let empty = Extent(x0: 0, y0: 0, x1: 0, y1: 0)

    var floats: [Float] { [Float(x0), Float(y0), Float(x1), Float(y1)] }
}

/// Pixels from a crop's side within which a mask may be cut off by it.
private let nearEdge: Float = 20

/// Tells whether a box in a crop lies near a side of it that is not near the picture's own.
func nearCropEdge(_ box: Extent, _ crop: Crop, _ size: Size) -> Bool {
    let moved = [box.x0 + crop.x0, box.y0 + crop.y0, box.x1 + crop.x0, box.y1 + crop.y0]
    let ofCrop = [crop.x0, crop.y0, crop.x1, crop.y1], ofPicture = [0, 0, size.width, size.height]
    func near(_ sides: [Int], _ at: Int) -> Bool { abs(Float(moved[at]) - Float(sides[at])) <= nearEdge }
    return moved.indices.contains { near(ofCrop, $0) && !near(ofPicture, $0) }
}

/// IoU of two boxes of pixels, both ends inclusive.
func pixelIou(_ a: Extent, _ b: Extent) -> Double {
    let wide = min(a.x1, b.x1) + 1 - max(a.x0, b.x0), tall = min(a.y1, b.y1) + 1 - max(a.y0, b.y0)
    let both = max(wide, 0) * max(tall, 0)
    let areas = [a, b].map { ($0.x1 - $0.x0 + 1) * ($0.y1 - $0.y0 + 1) }
    return Double(both) / Double(areas[0] + areas[1] - both)
}

/// Keeps the best of boxes (x0, y0, x1, y1) that overlap, as torchvision's suppression does on a CPU: a side is a
/// difference without "+ 1", all in float32; equal scores keep their order.
///
/// - Parameter most: an IoU above it with a better box that stays is too much.
/// - Returns: the indices of those that stay, best first.
func suppress(_ boxes: [[Float]], _ scores: [Float], above most: Double) -> [Int] {
    let areas = boxes.map { ($0[2] - $0[0]) * ($0[3] - $0[1]) }, limit = Float(most)
    var kept: [Int] = []
    // Every box is compared with those that stay. 0 / 0 is not above anything.
    for at in indices(of: scores, byFalling: { $0 }) {
        let isClear = !kept.contains { better in
            let both = shared(boxes[better], boxes[at])
            return both / (areas[better] + areas[at] - both) > limit
        }
        if isClear { kept.append(at) }
    }
    return kept
}

private func shared(_ a: [Float], _ b: [Float]) -> Float {
    let wide = min(a[2], b[2]) - max(a[0], b[0]), tall = min(a[3], b[3]) - max(a[1], b[1])
    return max(wide, 0) * max(tall, 0)
}
