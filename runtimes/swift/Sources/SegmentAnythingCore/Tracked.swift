import Foundation

/// One object on one frame of a video.
public struct Tracked: Sendable {
    /// The object's.
    public let name: String
    /// Number of the frame.
    public let frame: Int
    /// Logits (1, h, w); -1024 everywhere if the object is not there.
    public let lowResMask: Tensor
    /// Logit of whether it is there.
    public let score: Float
    /// Whether it is there: by the published rule, whether the score is above 0.
    public let present: Bool
    /// The network's own estimate of the mask's quality.
    public let iouPrediction: Float
    /// Whether it was prompted or corrected on this frame.
    public let prompted: Bool
    private let place: Frame
    private let rule: MaskRule

    init(_ name: String, _ frame: Int, _ found: FoundObject, _ place: Frame, _ rule: MaskRule) {
        (self.name, self.frame, self.place, self.rule) = (name, frame, place, rule)
        lowResMask = Tensor(shape: [1, rule.lowResSize, rule.lowResSize], values: found.logits)
        (score, present, iouPrediction) = (found.score, found.present, found.iou)
        prompted = found.prompted
    }

    /// Makes the mask at the size of the video.
    public func mask() -> Mask {
        let decoded = Decoded(logits: lowResMask.values, iou: [iouPrediction], side: rule.lowResSize)
        return decoded.mask(0, Upscaling(rule.lowResSize, place, rule.upscale), place, rule)
    }
}

extension [Tracked] {
    /// What was found of the object of that name, if it was looked for.
    public subscript(name: String) -> Tracked? { first { $0.name == name } }
}

/// Where an object is on a frame: points and a box, or a mask that is taken as it is.
public struct ObjectPrompt: Sendable, Equatable {
    enum Given: Sendable, Equatable {
        case prompts(Prompts)
        case mask(DrawnMask)
    }

    let given: Given

    /// Points and a box, in pixels of the frame.
    public init(_ prompts: Prompts) { given = .prompts(prompts) }

    /// Points, a label for each (1 foreground, 0 background), and a box, in pixels of the frame.
    public init(points: [CGPoint] = [], labels: [Int] = [], box: CGRect? = nil) {
        self.init(Prompts(points: points, labels: labels, rectangle: box))
    }

    /// A mask of an earlier result, or of another network.
    public init(_ mask: Mask) {
        given = .mask(DrawnMask(size: Size(width: mask.width, height: mask.height), inside: mask.pixels))
    }

    /// A mask of a byte a pixel, row by row, 0 outside; it is stretched over the frame. Throws
    /// `SegmentAnythingError.prompt` if there are not so many.
    public init(width: Int, height: Int, inside: [UInt8]) throws {
        guard width > 0, height > 0, width <= 65_535, height <= 65_535, inside.count == width * height else {
            throw SegmentAnythingError.prompt(
                "a mask has a byte for each of its pixels, not \(inside.count) for \(width) x \(height)")
        }
        given = .mask(DrawnMask(size: Size(width: width, height: height), inside: inside))
    }
}

extension Prompts {
    init(points: [CGPoint], labels: [Int], rectangle: CGRect?) {
        let corners = rectangle.map { box in
            let (x, y) = (Double(box.origin.x), Double(box.origin.y))
            return Box(x0: x, y0: y, x1: x + Double(box.size.width), y1: y + Double(box.size.height))
        }
        self.init(points: points, labels: labels, box: corners)
    }
}
