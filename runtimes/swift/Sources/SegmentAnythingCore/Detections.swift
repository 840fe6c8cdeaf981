/// One object that a detector found; outside its box its mask is empty.
struct Piece: Sendable {
    let score: Float
    let left: Int
    let top: Int
    let width: Int
    let height: Int
    let pixels: [UInt8]
    let area: Int

    func holds(_ column: Int, _ row: Int) -> Bool {
        let (x, y) = (column - left, row - top)
        return x >= 0 && x < width && y >= 0 && y < height && pixels[y * width + x] != 0
    }

    /// Counts pixels of the mask in a rectangle of the picture.
    func area(x: Range<Int>, y: Range<Int>) -> Int {
        let columns = x.clamped(to: left..<(left + width)), rows = y.clamped(to: top..<(top + height))
        return rows.reduce(0) { sum, row in
            sum + columns.reduce(0) { $0 + Int(pixels[(row - top) * width + $1 - left]) }
        }
    }

    /// Sets the mask's pixels in a whole picture.
    func put(_ value: UInt8, into picture: inout [UInt8], _ size: Size) {
        for y in 0..<height {
            for x in 0..<width where pixels[y * width + x] != 0 {
                picture[(y + top) * size.width + x + left] = value
            }
        }
    }
}

private struct Box {
    var x0, y0, x1, y1: Float

    var area: Float { (x1 - x0) * (y1 - y0) }

    func iou(_ other: Box) -> Float {
        let wide = max(min(x1, other.x1) - max(x0, other.x0), 0)
        let tall = max(min(y1, other.y1) - max(y0, other.y0), 0)
        let both = wide * tall, either = area + other.area - both
        return both / (either == 0 ? 1 : either)
    }
}

/// Does all steps of the manifest's detection rule: every object's mask, the highest score first.
func findPieces(
    _ outputs: [String: Tensor], _ rule: DetectionRule, _ mask: MaskRule, _ frame: Frame
) throws -> [Piece] {
    func output(_ name: String) throws -> Tensor {
        guard let tensor = outputs[name] else {
            throw SegmentAnythingError.bundle("no graph gives \(name); export the bundle again")
        }
        return tensor
    }
    let boxes = try output("boxes").values, scores = try output("scores").values
    let coefficients = try output("coefficients"), prototypes = try output("prototypes")
    let kinds = coefficients.shape.last ?? 0
    guard boxes.count == 4 * scores.count, coefficients.values.count == kinds * scores.count,
        prototypes.shape.count == 4, prototypes.shape[1] == kinds
    else { throw SegmentAnythingError.bundle("the detector's outputs do not fit each other") }
    // An accelerator that is silently wrong gives boxes that are no numbers.
    let order = scores.indices.filter { row in
        scores[row] > Float(rule.confidence) && boxes[(row * 4)..<(row * 4 + 4)].allSatisfy(\.isFinite)
    }
    .sorted { scores[$0] > scores[$1] || (scores[$0] == scores[$1] && $0 < $1) }
    func box(_ row: Int) -> Box {
        Box(x0: boxes[row * 4], y0: boxes[row * 4 + 1], x1: boxes[row * 4 + 2], y1: boxes[row * 4 + 3])
    }
    let making = Making(prototypes, frame, Float(mask.threshold))
    return suppressed(order, rule, box).map { row in
        let placed = toOriginal(snapped(box(row), rule, frame.side), frame)
        let parts = Array(coefficients.values[(row * kinds)..<((row + 1) * kinds)])
        return making.piece(placed, parts, scores[row])
    }
}

private func suppressed(_ order: [Int], _ rule: DetectionRule, _ box: (Int) -> Box) -> [Int] {
    var kept: [Int] = [], left = order
    while let best = left.first, kept.count < rule.maxDetections {
        kept.append(best)
        let taken = box(best)
        left = left.dropFirst().filter { taken.iou(box($0)) <= Float(rule.nmsIou) }
    }
    return kept
}

/// Moves edges near the input's border onto it; a box that nearly fills the input becomes it.
private func snapped(_ box: Box, _ rule: DetectionRule, _ side: Int) -> Box {
    let whole = Box(x0: 0, y0: 0, x1: Float(side), y1: Float(side))
    let near = Float(rule.border), far = Float(side) - near
    let moved = Box(
        x0: box.x0 < near ? 0 : box.x0, y0: box.y0 < near ? 0 : box.y0,
        x1: box.x1 > far ? whole.x1 : box.x1, y1: box.y1 > far ? whole.y1 : box.y1)
    return whole.iou(moved) > Float(rule.fullBoxIou) ? whole : moved
}

private func toOriginal(_ box: Box, _ frame: Frame) -> Box {
    let side = Double(frame.side)
    let (width, height) = (Double(frame.original.width), Double(frame.original.height))
    let gain = min(side / width, side / height)
    let left = Float(((side - width * gain) / 2 - 0.1).rounded(.toNearestOrEven))
    let top = Float(((side - height * gain) / 2 - 0.1).rounded(.toNearestOrEven))
    func moved(_ value: Float, _ pad: Float, _ most: Double) -> Float {
        min(max((value - pad) / Float(gain), 0), Float(most))
    }
    return Box(
        x0: moved(box.x0, left, width), y0: moved(box.y0, top, height),
        x1: moved(box.x1, left, width), y1: moved(box.y1, top, height))
}

/// Makes detections' masks of the cells of the prototypes that the picture covers.
private struct Making {
    private let prototypes: Tensor
    private let rows: Range<Int>
    private let columns: Range<Int>
    private let upscaling: Upscaling
    private let threshold: Float

    init(_ prototypes: Tensor, _ frame: Frame, _ threshold: Float) {
        let (tall, wide) = (Double(prototypes.shape[2]), Double(prototypes.shape[3]))
        let (width, height) = (Double(frame.original.width), Double(frame.original.height))
        let gain = min(wide / width, tall / height)
        let padX = (wide - width * gain) / 2, padY = (tall - height * gain) / 2
        columns = Int(padX)..<Int(wide - padX)
        rows = Int(padY)..<Int(tall - padY)
        upscaling = Upscaling(
            rows: .bilinear(rows.count, frame.original.height),
            columns: .bilinear(columns.count, frame.original.width))
        (self.prototypes, self.threshold) = (prototypes, threshold)
    }

    /// A pixel counts if x0 <= x < x1: from the first whole number up to before the last.
    func piece(_ box: Box, _ parts: [Float], _ score: Float) -> Piece {
        let (x0, y0) = (Int(box.x0.rounded(.up)), Int(box.y0.rounded(.up)))
        let x1 = max(x0, Int(box.x1.rounded(.up))), y1 = max(y0, Int(box.y1.rounded(.up)))
        let pixels = logits(parts).withUnsafeBufferPointer {
            upscaling.mask($0, line: columns.count, threshold: threshold, y: y0..<y1, x: x0..<x1)
        }
        let area = pixels.reduce(0) { $0 + Int($1) }
        return Piece(
            score: score, left: x0, top: y0, width: x1 - x0, height: y1 - y0, pixels: pixels, area: area)
    }

    private func logits(_ parts: [Float]) -> [Float] {
        let line = prototypes.shape[3], plane = prototypes.shape[2] * line
        var sums = [Float](repeating: 0, count: rows.count * columns.count)
        for (kind, part) in parts.enumerated() {
            for (y, row) in rows.enumerated() {
                let from = kind * plane + row * line + columns.lowerBound
                for x in 0..<columns.count {
                    sums[y * columns.count + x] += part * prototypes.values[from + x]
                }
            }
        }
        return sums
    }
}

/// Chooses among a picture's masks: by points or a box, or all of them without a prompt.
func choose(_ pieces: [Piece], _ prompts: Prompts, _ size: Size) -> [Mask] {
    if !prompts.points.isEmpty { return [atPoints(pieces, prompts, size)] }
    if let box = prompts.box { return [mask(inBox(pieces, box, size), size)] }
    return pieces.map { mask($0, size) }
}

private func mask(_ piece: Piece?, _ size: Size) -> Mask {
    var pixels = [UInt8](repeating: 0, count: size.width * size.height)
    piece?.put(1, into: &pixels, size)
    return Mask(pixels, size, piece?.score ?? 0)
}

/// Larger masks first, so that the smallest around a point decides; of several points that a mask holds
/// the last one does.
private func atPoints(_ pieces: [Piece], _ prompts: Prompts, _ size: Size) -> Mask {
    var merged = [UInt8](repeating: 0, count: size.width * size.height)
    var score: Float = 0
    let order = pieces.indices.sorted {
        pieces[$0].area > pieces[$1].area || (pieces[$0].area == pieces[$1].area && $0 < $1)
    }
    for piece in order.map({ pieces[$0] }) {
        for (point, label) in zip(prompts.points, prompts.labels) {
            let column = min(Int(point.x), size.width - 1), row = min(Int(point.y), size.height - 1)
            guard piece.holds(column, row) else { continue }
            piece.put(label == 1 ? 1 : 0, into: &merged, size)
            if label == 1 { score = max(score, piece.score) }
        }
    }
    return Mask(merged, size, score)
}

/// The mask of the highest IoU with a box, rounded to whole pixels; nil if none meets it.
private func inBox(_ pieces: [Piece], _ box: Prompts.Box, _ size: Size) -> Piece? {
    let x0 = max(whole(box.x0), 0), x1 = max(x0, min(whole(box.x1), size.width))
    let y0 = max(whole(box.y0), 0), y1 = max(y0, min(whole(box.y1), size.height))
    var best: Piece?, most = 0.0
    for piece in pieces {
        let both = piece.area(x: x0..<x1, y: y0..<y1)
        let either = (x1 - x0) * (y1 - y0) + piece.area - both
        let iou = Double(both) / Double(max(either, 1))
        if iou > most { (best, most) = (piece, iou) }
    }
    return best
}

private func whole(_ value: Double) -> Int { Int(value.rounded(.toNearestOrEven)) }

extension Mask {
    fileprivate init(_ pixels: [UInt8], _ size: Size, _ score: Float) {
        self.init(
            width: size.width, height: size.height, pixels: pixels, iouPrediction: score, stability: nil,
            lowResMasks: nil)
    }
}
