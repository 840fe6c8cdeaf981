import Foundation

/// One prompt set, in pixels of the picture.
public struct Prompts: Sendable, Equatable {
    /// x0, y0 is top left, x1, y1 bottom right.
    public struct Box: Sendable, Equatable {
        public var x0, y0, x1, y1: Double

        public init(x0: Double, y0: Double, x1: Double, y1: Double) {
            (self.x0, self.y0, self.x1, self.y1) = (x0, y0, x1, y1)
        }
    }

    public var points: [CGPoint]
    /// 1 (foreground) or 0 (background), one for each point.
    public var labels: [Int]
    public var box: Box?

    public init(points: [CGPoint] = [], labels: [Int] = [], box: Box? = nil) {
        (self.points, self.labels, self.box) = (points, labels, box)
    }

    var isEmpty: Bool { points.isEmpty && box == nil }

    func slots(_ rule: PromptRule) -> Int {
        let padded = box == nil ? rule.padWithoutBox : rule.padWithBox
        return points.count + (box == nil ? 0 : 2) + (padded ? 1 : 0)
    }

    /// Checks the set, and moves what is barely outside the picture onto its edge. Throws
    /// `SegmentAnythingError.prompt` if it is impossible, or wholly outside.
    func placed(_ size: Size) throws -> Prompts {
        guard points.count == labels.count else {
            throw SegmentAnythingError.prompt(
                "points: \(points.count), labels: \(labels.count); give each point a label")
        }
        if let wrong = labels.first(where: { $0 != 0 && $0 != 1 }) {
            throw SegmentAnythingError.prompt(
                "a point's label is 1 (foreground) or 0 (background), not \(wrong)")
        }
        return Prompts(
            points: try points.map { try placedPoint($0, size) }, labels: labels,
            box: try box.map { try placedBox($0, size) })
    }

    func checkNotEmpty() throws {
        guard !isEmpty else { throw SegmentAnythingError.prompt("no prompt: give a point or a box") }
    }

    /// Checks the set against the slots and places it.
    func checked(_ size: Size, _ rule: PromptRule) throws -> Prompts {
        let prompts = try placed(size)
        try prompts.checkNotEmpty()
        let needed = prompts.slots(rule)
        guard needed <= rule.slots else {
            var note = rule.padWithoutBox && box == nil ? " (SAM adds one slot if there is no box)" : ""
            if rule.padWithBox { note = " (SAM 2 adds one slot)" }
            let possible = needed <= (rule.mostSlots ?? 64)
            let cure = possible ? "export again with --max-points \(needed)" : "give fewer prompts"
            throw SegmentAnythingError.prompt(
                "these prompts take \(needed) slots\(note) and the bundle has \(rule.slots): \(cure)")
        }
        return prompts
    }

    /// Fills the slots: x, y of each in pixels of the input, and labels.
    func packed(_ frame: Frame, _ rule: PromptRule) throws -> (coords: [Float], labels: [Float]) {
        let prompts = try checked(frame.original, rule)
        var corners = prompts.points.map { (Double($0.x), Double($0.y)) }
        var kinds = prompts.labels.map { $0 == 1 ? Label.foreground : Label.background }
        if let box = prompts.box {
            corners += [(box.x0, box.y0), (box.x1, box.y1)]
            kinds += [Label.topLeft, Label.bottomRight]
        }
        var coords: [Float] = []
        for (x, y) in corners {
            let moved = frame.toInput(x: x, y: y)
            coords += [moved.x, moved.y]
        }
        if prompts.box == nil ? rule.padWithoutBox : rule.padWithBox { kinds.append(Label.notAPoint) }
        coords += [Float](repeating: 0, count: 2 * rule.slots - coords.count)
        kinds += [Float](repeating: Label.empty, count: rule.slots - kinds.count)
        return (coords, kinds)
    }
}

/// A point may be outside by a pixel. Written so that a NaN is outside.
private func placedPoint(_ point: CGPoint, _ size: Size) throws -> CGPoint {
    let (width, height) = (Double(size.width), Double(size.height))
    let (x, y) = (Double(point.x), Double(point.y))
    guard x >= -1, x <= width + 1, y >= -1, y <= height + 1 else {
        throw SegmentAnythingError.prompt(
            "the point \(plain(x)),\(plain(y)) is outside the image (\(size.width) x \(size.height))")
    }
    return CGPoint(x: min(max(x, 0), width), y: min(max(y, 0), height))
}

/// Of a box that reaches over the edge, the part inside is meant.
private func placedBox(_ box: Prompts.Box, _ size: Size) throws -> Prompts.Box {
    let (width, height) = (Double(size.width), Double(size.height))
    let corners = [box.x0, box.y0, box.x1, box.y1].map(plain).joined(separator: ",")
    if box.x1 <= box.x0 || box.y1 <= box.y0 {
        throw SegmentAnythingError.prompt(
            "the box \(corners) is empty: X0,Y0 is top left and X1,Y1 bottom right")
    }
    guard box.x0 < width, box.y0 < height, box.x1 > 0, box.y1 > 0 else {
        throw SegmentAnythingError.prompt(
            "the box \(corners) is outside the image (\(size.width) x \(size.height))")
    }
    return Prompts.Box(
        x0: max(box.x0, 0), y0: max(box.y0, 0), x1: min(box.x1, width), y1: min(box.y1, height))
}
