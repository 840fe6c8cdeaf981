/// Width and height in pixels.
public struct Size: Sendable, Equatable {
    public let width: Int
    public let height: Int

    public init(width: Int, height: Int) {
        self.width = width
        self.height = height
    }

    var longest: Int { max(width, height) }
}

/// Where a picture lies in the square input.
struct Frame: Sendable {
    let original: Size
    let resized: Size
    /// Side of the square.
    let side: Int
    /// Where it lies in the square of the published code's prompts and masks, if that is another.
    let published: (resized: Size, side: Int)?
    /// The picture's top left corner in the input.
    let offset: (x: Int, y: Int)
    let oneScale: Bool

    init(_ original: Size, _ rule: Preprocess) {
        self.original = original
        resized = fitted(original, rule, rule.size)
        side = rule.size
        published = rule.frameSize.map { (fitted(original, rule, $0), $0) }
        oneScale = rule.promptScale == .longestSide
        // Where the padding is odd, its smaller half is left or above.
        offset =
            rule.resize == .letterbox
            ? ((side - resized.width) / 2, (side - resized.height) / 2) : (0, 0)
    }

    /// Moves a point from pixels of the picture to pixels of the input.
    func toInput(x: Double, y: Double) -> (x: Float, y: Float) {
        let (inner, square) = published ?? (resized, side)
        let wide = oneScale ? inner.longest : inner.width, tall = oneScale ? inner.longest : inner.height
        let width = oneScale ? original.longest : original.width
        let height = oneScale ? original.longest : original.height
        let share = Double(side) / Double(square)
        return (
            Float(x * (Double(wide) / Double(width)) * share + Double(offset.x)),
            Float(y * (Double(tall) / Double(height)) * share + Double(offset.y))
        )
    }
}

private func fitted(_ size: Size, _ rule: Preprocess, _ side: Int) -> Size {
    if rule.resize == .stretch { return Size(width: side, height: side) }
    if rule.rounding == .truncate { return truncated(size, side) }
    let scale = Double(side) / Double(size.longest)
    let round: (Double) -> Int =
        rule.resize == .letterbox
        ? { Int($0.rounded(.toNearestOrEven)) } : { Int($0 + 0.5) }
    return Size(
        width: max(1, round(Double(size.width) * scale)), height: max(1, round(Double(size.height) * scale)))
}

/// Keeps the published order of operations: it decides where a quotient comes out whole.
private func truncated(_ size: Size, _ side: Int) -> Size {
    let ratio = Double(size.width) / Double(size.height)
    let wide = ratio >= 1 ? Double(side) : Double(side) * ratio
    let tall = ratio >= 1 ? Double(side) / ratio : Double(side)
    return Size(width: max(1, Int(wide)), height: max(1, Int(tall)))
}
