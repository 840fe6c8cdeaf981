/// One mask of a picture, as the published generators record it.
public struct Segment: Sendable {
    /// Lengths of clear and set pixels by turns, down the columns: COCO's counts.
    public let runs: [Int32]
    /// Of the picture.
    public let size: Size
    /// Set pixels.
    public let area: Int
    /// From the first set column and row to the last: as published, its width and height are one less than the
    /// number of columns and rows.
    public let bbox: PixelBox
    /// The network's own estimate; of a detector its score.
    public let predictedIou: Float
    /// The share that stays when the threshold rises; nil of a detector.
    public let stabilityScore: Float?
    /// The click; nil if it was none.
    public let pointCoords: EverythingPoint?
    /// The crop that was asked.
    public let cropBox: PixelBox

    /// The pixels; made anew at each call.
    public var mask: Mask {
        Mask(
            width: size.width, height: size.height, pixels: pixels(of: runs, size), iouPrediction: predictedIou,
            stability: nil, lowResMasks: nil)
    }

    /// `runs` as COCO's compressed text, which pycocotools reads.
    public var cocoCounts: String { cocoText(runs) }
}

/// A rectangle of whole pixels.
public struct PixelBox: Sendable, Equatable {
    public let x, y, width, height: Int
}

/// A point in pixels of the picture, or of a crop, or a share of one.
public struct EverythingPoint: Sendable, Equatable {
    public let x, y: Double

    public init(x: Double, y: Double) { (self.x, self.y) = (x, y) }
}

/// How far a run is.
public struct EverythingProgress: Sendable {
    /// Prompts asked.
    public let done: Int
    /// Prompts in all, as far as is known.
    public let planned: Int
    /// Since it began.
    public let seconds: Double
}

/// The masks of a picture, in the order of the published code, and how they came about.
public struct Everything: Sendable {
    /// Runs of the encoder, calls of the decoder, prompts in these calls, and prompts that were planned.
    public struct Asked: Sendable, Equatable {
        public var images = 0, calls = 0, prompts = 0, planned = 0
    }

    /// How many masks each filter left; `nms` before and after each suppression: one a crop, one between crops,
    /// one after small regions were removed.
    public struct Left: Sendable, Equatable {
        public var candidates = 0, afterIou = 0, afterStability = 0, afterEdges = 0
        public var nms: [[Int]] = []
    }

    public let segments: [Segment]
    public let size: Size
    public let asked: Asked
    public let left: Left
    /// By stage: `encode`, `decode`, `measure`, `suppress`, `encode_masks`, `clean`, `detect`, `propose`.
    public let seconds: [String: Double]
    /// Whether it was cancelled before all was asked; only with `keepPartial`.
    public let partial: Bool
    /// Sentences for the reader, such as what `fast` cost; mostly none.
    public let notes: [String]

    /// One number a pixel, row by row: 0 for none, i + 1 for mask i; smaller masks lie on larger.
    public func labels() -> [Int32] {
        var numbers = [Int32](repeating: 0, count: size.width * size.height)
        for at in indices(of: segments, byFalling: { $0.area }) {
            eachSpan(segments[at].runs, size.height) { column, low, high in
                for row in low..<high { numbers[row * size.width + column] = Int32(at + 1) }
            }
        }
        return numbers
    }
}

/// Sorts places by falling value; equal ones keep their order.
func indices<T, V: Comparable>(of items: [T], byFalling value: (T) -> V) -> [Int] {
    let values = items.map(value)
    return items.indices.sorted { values[$0] > values[$1] || (values[$0] == values[$1] && $0 < $1) }
}
