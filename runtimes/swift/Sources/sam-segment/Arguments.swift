import Foundation
import SegmentAnythingCore

let usage = """
    usage: sam-segment BUNDLE PICTURE [--point X,Y[,LABEL]]... [--box X0,Y0,X1,Y1] [--multimask]
                       [--mask-input LOGITS.npy] [--mask OUT.png] [--onnxruntime LIBRARY] [--threads N]
                       [--times N]
           sam-segment BUNDLE PICTURE --everything [METHOD] [options of everything] [--mask OUT.png]
                       [--onnxruntime LIBRARY] [--threads N]
           sam-segment BUNDLE --frames FOLDER [--point X,Y[,LABEL]]... [--box X0,Y0,X1,Y1] [--mask OUT.png]
                       [--onnxruntime LIBRARY] [--threads N]
           sam-segment BUNDLE --verify [--onnxruntime LIBRARY] [--threads N]

    Segments a picture (PNG or PPM) with an ONNX bundle, on a Mac also with one of Core ML or Core AI.
    Prompts are in pixels of the picture; a point's LABEL is 1 (foreground) or 0 (background). With
    --multimask, masks are OUT_0.png, OUT_1.png, ...
    --frames follows an object through a folder of frames (PNG or PPM, in the order of the numbers in their names)
    with a bundle of sam-export --video; prompts are on the first, and OUT_0.png, OUT_1.png, ... are its masks.
    --verify runs the bundle's goldens and compares every output with its floor; nothing is kept.
    --times repeats both steps and prints their median times: of this computer, not of a phone.
    --everything finds every object; OUT_0.png, OUT_1.png, ... are their masks, and Ctrl-C keeps what is done. METHOD:
      grid          (default) a click on every point of a grid
      hierarchical  a coarse grid, then the points that no sure mask covers
      proposed      clicks where a head in the bundle proposes them; the demo's of sam-export --everything has one
      object-aware  one mask for --box, or for each box that --detector, a FastSAM bundle, finds
      detector      what a FastSAM bundle itself finds
    Options of everything, with the published names and defaults; the method says if it does not take one:
      --points-per-side N                  of the grid (32)
      --points-per-batch N                 prompts between two looks at the clock (64; changes no mask)
      --pred-iou-thresh X                  least predicted IoU, itself left out (0.88; SAM 2: 0.8); 0 keeps all
      --stability-score-thresh X           least stability (0.95); 0 keeps all
      --stability-score-offset X           how far the threshold moves for it (1)
      --box-nms-thresh X                   IoU of boxes above which the worse mask goes (0.7)
      --crop-n-layers N                    layers of crops that are asked as well (0)
      --crop-nms-thresh X                  as --box-nms-thresh, between crops (0.7)
      --crop-overlap-ratio X               overlap of the first layer's crops (0.341)
      --crop-n-points-downscale-factor X   layer i has fewer points a side by this to the power i (1)
      --min-mask-region-area X             holes and islands below so many pixels are removed from masks (0)
      --mask-threshold X                   of logits (the bundle's)
      --high-score-thresh X                hierarchical: logit that covers a pixel (8.5)
      --proposal-thresh X                  proposed: least score of a point, itself left out (0.1)
      --max-proposals N                    proposed: points at most, the best first (64)
      --detector BUNDLE                    object-aware: finds the boxes
      --rules sam|sam2                     whose generator (the bundle's)
      --refine                             each mask again by its own logits (SAM 2's use_m2m)
      --single-mask                        one mask a point instead of three
      --leave-small-regions                as SAM 2 without its CUDA extension
      --fast                               stability and boxes from the network's own pixels: other masks may be
                                           kept, and a line says how far the boxes are off
    """

/// What the command was asked for.
struct Arguments {
    var bundle = URL(fileURLWithPath: "")
    var picture = URL(fileURLWithPath: "")
    var prompts = Prompts()
    var multimask = false
    var maskInput: URL?
    var mask: URL?
    var frames: URL?
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
            case "--everything":
                let method = waiting.first.flatMap { $0.hasPrefix("--") ? nil : $0 }
                if method != nil { waiting.removeFirst() }
                change { ($0.asked, $0.method) = (true, method ?? $0.method) }
            case _ where EverythingArguments.has(word): try change { try $0.take(word) { try value(word) } }
            case "--mask-input": maskInput = URL(fileURLWithPath: try value(word))
            case "--frames": frames = URL(fileURLWithPath: try value(word))
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
        let single = [
            (multimask, "--multimask"), (maskInput != nil, "--mask-input"), (times > 0, "--times"),
            (verify, "--verify"),
        ]
        if everything != nil, let (_, odd) = single.first(where: \.0) {
            throw wrong("--everything asks for all objects: leave out \(odd)")
        }
        if frames != nil, let (_, odd) = (single + [(everything != nil, "--everything")]).first(where: \.0) {
            throw wrong("--frames follows one object: leave out \(odd)")
        }
        let isAlone = verify || frames != nil
        guard places.count == (isAlone ? 1 : 2) else {
            let what = verify ? "to verify" : "and its --frames"
            throw wrong(isAlone ? "give a BUNDLE alone \(what)" : "give a BUNDLE and a PICTURE")
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

func one(_ text: String) throws -> Double {
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
