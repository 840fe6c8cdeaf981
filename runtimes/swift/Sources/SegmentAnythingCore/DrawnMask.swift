/// A mask given as the prompt of a frame, as SAM 2's video predictor takes one.
struct DrawnMask: Sendable, Equatable {
    let size: Size
    /// 1 inside, 0 outside, row by row.
    let inside: [UInt8]

    /// Lays the mask into the square input, a number of 0 or 1 a pixel. It is stretched over the picture.
    func inSquare(_ frame: Frame) -> [Float] {
        let resized = frame.resized, side = frame.side
        let shrunk = pillowFloats(inside.map { $0 == 0 ? 0 : 1 }, from: size, to: resized)
        var square = [Float](repeating: 0, count: side * side)
        for y in 0..<resized.height {
            let to = (y + frame.offset.y) * side + frame.offset.x
            for x in 0..<resized.width where shrunk[y * resized.width + x] >= 0.5 { square[to + x] = 1 }
        }
        return square
    }
}

/// Shrinks a square of 0 and 1 to logits: `logit` inside and minus that outside.
func lowResLogits(_ square: [Float], from old: Int, to side: Int, logit: Float) -> [Float] {
    pillowFloats(
        square.map { $0 * (2 * logit) - logit }, from: Size(width: old, height: old),
        to: Size(width: side, height: side))
}

extension VideoHostData {
    /// Makes `mask_input` of a square of 0 and 1, by the published convolution of stride 4.
    func maskInput(_ square: [Float], from old: Int, to side: Int) -> [Float] {
        let quarter = old / 4
        var shrunk = [Float](repeating: downsampleBias, count: quarter * quarter)
        for y in 0..<quarter {
            for x in 0..<quarter {
                var sum: Float = 0
                for i in 0..<4 {
                    for j in 0..<4 { sum += square[(4 * y + i) * old + 4 * x + j] * downsampleWeight[4 * i + j] }
                }
                shrunk[y * quarter + x] += sum
            }
        }
        return pillowFloats(
            shrunk, from: Size(width: quarter, height: quarter), to: Size(width: side, height: side))
    }
}
