import Foundation
import SegmentAnythingCore

let usage = """
    usage: sam-segment BUNDLE PICTURE [--point X,Y[,LABEL]]... [--box X0,Y0,X1,Y1] [--multimask]
                       [--mask-input LOGITS.npy] [--mask OUT.png] [--onnxruntime LIBRARY] [--threads N]
                       [--times N]
           sam-segment BUNDLE PICTURE --everything METHOD [--points-per-side N] [--pred-iou-thresh X]
                       [--stability-score-thresh X] [--detector BUNDLE] [--fast] [--mask OUT.png] ...
           sam-segment BUNDLE --verify [--onnxruntime LIBRARY] [--threads N]

    Segments a picture (PNG or PPM) with an ONNX bundle, on a Mac also with one of Core ML or Core AI.
    Prompts are in pixels of the picture; a point's LABEL is 1 (foreground) or 0 (background). With
    --multimask, masks are OUT_0.png, OUT_1.png, ...
    --verify runs the bundle's goldens and compares every output with its floor; nothing is kept.
    --times repeats both steps and prints their median times: of this computer, not of a phone.
    --everything finds every object: METHOD is grid, hierarchical, object-aware (of a --box, or those that the
    --detector finds, a FastSAM bundle), proposed (clicks where a head in the bundle proposes them; the demo's of
    sam-export --everything has one), or detector (of a FastSAM bundle itself). --fast takes stability and boxes
    from the network's own pixels: other masks may be kept, and a line says how far the boxes are off. Ctrl-C keeps
    what is done.
    """

/// What the command was asked for.
struct Arguments {
    var bundle = URL(fileURLWithPath: "")
    var picture = URL(fileURLWithPath: "")
    var prompts = Prompts()
    var multimask = false
    var maskInput: URL?
    var mask: URL?
    var library: String?
    var threads = 2
    var times = 0
    var verify = false
    var everything: EverythingArguments?

    /// Parses words. Throws `SegmentAnythingError.request`, which names the wrong one.
    init(_ words: [String]) throws {
        var places: [String] = []
        var waiting = words[...]
        func value(_ option: String) throws -> String {
            guard let value = waiting.popFirst() else { throw wrong("\(option) needs a value") }
            return value
        }
        while let word = waiting.popFirst() {
            switch word {
            case "--point": try addPoint(value(word))
            case "--box": try addBox(value(word))
            case "--multimask": multimask = true
            case "--verify": verify = true
            case "--everything": try change { $0.method = try value(word) }
            case "--points-per-side": try change { $0.pointsPerSide = Int(try value(word)) ?? 0 }
            case "--pred-iou-thresh": try change { $0.predIouThresh = try one(value(word)) }
            case "--stability-score-thresh": try change { $0.stabilityScoreThresh = try one(value(word)) }
            case "--detector": try change { $0.detector = URL(fileURLWithPath: try value(word)) }
            case "--fast": change { $0.fast = true }
            case "--mask-input": maskInput = URL(fileURLWithPath: try value(word))
            case "--mask": mask = URL(fileURLWithPath: try value(word))
            case "--onnxruntime": library = try value(word)
            case "--threads":
                guard let number = Int(try value(word)) else { throw wrong("--threads takes a number") }
                threads = number
            case "--times":
                guard let number = Int(try value(word)), 1...10_000 ~= number else {
                    throw wrong("--times takes a number from 1 to 10000")
                }
                times = number
            case _ where word.hasPrefix("--"): throw wrong("there is no option \(word)")
            default: places.append(word)
            }
        }
        try everything?.check(prompts)
        guard places.count == (verify ? 1 : 2) else {
            throw wrong(verify ? "give a BUNDLE alone to verify" : "give a BUNDLE and a PICTURE")
        }
        (bundle, picture) = (URL(fileURLWithPath: places[0]), URL(fileURLWithPath: places.last ?? ""))
    }

    private mutating func change(_ edit: (inout EverythingArguments) throws -> Void) rethrows {
        var own = everything ?? EverythingArguments()
        try edit(&own)
        everything = own
    }

    private mutating func addPoint(_ text: String) throws {
        let numbers = try split(text)
        guard 2...3 ~= numbers.count, numbers.count == 2 || [0, 1].contains(numbers[2]) else {
            throw wrong("a point is X,Y or X,Y,LABEL with a LABEL of 0 or 1, not \(text)")
        }
        prompts.points.append(CGPoint(x: numbers[0], y: numbers[1]))
        prompts.labels.append(numbers.count == 3 ? Int(numbers[2]) : 1)
    }

    private mutating func addBox(_ text: String) throws {
        let numbers = try split(text)
        guard numbers.count == 4, prompts.box == nil else {
            throw wrong("a box is X0,Y0,X1,Y1, given once, not \(text)")
        }
        prompts.box = Prompts.Box(x0: numbers[0], y0: numbers[1], x1: numbers[2], y1: numbers[3])
    }
}

private func split(_ text: String) throws -> [Double] {
    try text.split(separator: ",", omittingEmptySubsequences: false).map { part in
        guard let number = Double(part), number.isFinite else { throw wrong("\(text) is not numbers") }
        return number
    }
}

private func one(_ text: String) throws -> Double {
    let numbers = try split(text)
    guard numbers.count == 1 else { throw wrong("\(text) is not one number") }
    return numbers[0]
}

func wrong(_ text: String) -> SegmentAnythingError { .request("\(text); see sam-segment --help") }

/// Reads an array that numpy saved, (h, w) or (1, h, w): one mask of `sam-run --save-logits`.
func readLogits(_ url: URL) throws -> Tensor {
    do {
        let tensor = try Tensor(npy: Data(contentsOf: url))
        if 2...3 ~= tensor.shape.count, !tensor.values.isEmpty { return tensor }
    } catch {}
    throw SegmentAnythingError.prompt("\(url.path) is no array of numpy: float32, (1, h, w)")
}
