extension Prompts {
    /// Checks the set for a network that takes prompts as pictures, and places it.
    func drawable(_ size: Size, _ rule: DrawnPrompts) throws -> Prompts {
        let prompts = try placed(size)
        try prompts.checkNotEmpty()
        guard rule.backgroundPoints || !prompts.labels.contains(0) else {
            throw SegmentAnythingError.prompt(
                "this network has no background points: give foreground points or a box")
        }
        return prompts
    }

    /// Draws `prompt_masks` (1, 2, S, S) of 0 and 1.
    func drawn(_ frame: Frame, _ rule: DrawnPrompts) throws -> Tensor {
        let prompts = try drawable(frame.original, rule)
        let side = frame.side, plane = side * side
        var values = [Float](repeating: 0, count: 2 * plane)
        var (columns, rows) = (0..<side, 0..<side)
        if let box = prompts.box {
            let low = frame.toInput(x: box.x0, y: box.y0), high = frame.toInput(x: box.x1, y: box.y1)
            columns = within(low.x, high.x, side)
            rows = within(low.y, high.y, side)
        }
        for y in rows {
            for x in columns { values[rule.boxChannel * plane + y * side + x] = 1 }
        }
        for point in prompts.points {
            let centre = frame.toInput(x: point.x, y: point.y)
            for y in 0..<side {
                for x in 0..<side {
                    let (dx, dy) = (Float(x) - centre.x, Float(y) - centre.y)
                    if Double(dx * dx + dy * dy) <= rule.radius * rule.radius {
                        values[rule.pointChannel * plane + y * side + x] = 1
                    }
                }
            }
        }
        return Tensor(shape: [1, 2, side, side], values: values)
    }
}

/// The whole numbers from `low` to `high`, both included, of 0..<side.
private func within(_ low: Float, _ high: Float, _ side: Int) -> Range<Int> {
    let first = max(0, Int(low.rounded(.up))), last = min(side - 1, Int(high.rounded(.down)))
    return first <= last ? first..<(last + 1) : 0..<0
}
