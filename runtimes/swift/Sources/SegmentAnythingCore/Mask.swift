import Foundation

/// One mask at the picture's size.
public struct Mask: Sendable {
    public let width: Int
    public let height: Int
    /// 1 inside, 0 outside, row by row.
    public let pixels: [UInt8]
    /// The network's own estimate of the mask's quality; of a detection its score.
    public let iouPrediction: Float
    /// What ranks masks, if the bundle ranks them by stability.
    public let stability: Float?
    /// Logits (1, h, w), a later `mask:`; nil if the bundle gives none.
    public let lowResMasks: Tensor?

    /// What ranks masks.
    public var score: Float { stability ?? iouPrediction }

    /// Pixels inside.
    public var area: Int { pixels.reduce(0) { $0 + Int($1) } }

    /// The smallest rectangle around the mask, in pixels of the picture; nil for an empty mask.
    public var boundingBox: CGRect? {
        var (left, right, top, bottom) = (width, -1, -1, -1)
        pixels.withUnsafeBufferPointer { pixels in
            for y in 0..<height {
                let row = y * width
                guard let first = (0..<width).first(where: { pixels[row + $0] != 0 }) else { continue }
                let last = (0..<width).last { pixels[row + $0] != 0 } ?? first
                (left, right) = (min(left, first), max(right, last))
                if top < 0 { top = y }
                bottom = y
            }
        }
        guard bottom >= 0 else { return nil }
        return CGRect(x: left, y: top, width: right - left + 1, height: bottom - top + 1)
    }

    /// Traces the outline, as rings of corners of pixels that are not closed.
    ///
    /// The mask is on the right of every step: outer rings are clockwise on a screen, those of holes
    /// counterclockwise. Pixels that touch at a corner only are apart. Rings that simplify to a line or a
    /// point are left out.
    ///
    /// - Parameter tolerance: pixels that the outline may deviate; 0 keeps every corner.
    /// - Throws: `SegmentAnythingError.request` if the tolerance is negative or not finite.
    public func polygon(tolerance: Double = 1) throws -> [[CGPoint]] {
        guard tolerance >= 0, tolerance.isFinite else {
            throw SegmentAnythingError.request(
                "a polygon's tolerance is 0 or more pixels, not \(plain(tolerance))")
        }
        return Outline(pixels, width: width, height: height).rings()
            .map { simplified($0, tolerance) }
            .filter { $0.count > 2 }
            .map { ring in ring.map { CGPoint(x: $0.x, y: $0.y) } }
    }
}

extension [Mask] {
    /// Index of the mask with the highest score, the first of several; nil if there is none.
    public var best: Int? { indices.max { self[$0].score < self[$1].score || (self[$0].score == self[$1].score && $0 > $1) } }
}
