import Foundation
import SegmentAnythingCore

let usage = """
    usage: sam-segment BUNDLE PICTURE [--point X,Y[,LABEL]]... [--box X0,Y0,X1,Y1] [--multimask]
                       [--mask-input LOGITS.npy] [--mask OUT.png] [--onnxruntime LIBRARY] [--threads N]
                       [--times N]

    Segments a picture (PNG or PPM) with an ONNX bundle. Prompts are in pixels of the picture; a point's
    LABEL is 1 (foreground) or 0 (background). With --multimask, masks are OUT_0.png, OUT_1.png, ...
    --times repeats both steps and prints their median times: of this computer, not of a phone.
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
        guard places.count == 2 else { throw wrong("give a BUNDLE and a PICTURE") }
        (bundle, picture) = (URL(fileURLWithPath: places[0]), URL(fileURLWithPath: places[1]))
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

private func wrong(_ text: String) -> SegmentAnythingError { .request("\(text); see sam-segment --help") }

/// Reads an array of float32 that numpy saved, (h, w) or (1, h, w): one mask of `sam-run --save-logits`.
func readLogits(_ url: URL) throws -> Tensor {
    let fault = SegmentAnythingError.prompt("\(url.path) is no array of numpy: float32, (1, h, w)")
    guard let data = try? Data(contentsOf: url), data.count > 10, data.starts(with: Array("\u{93}NUMPY".unicodeScalars.map { UInt8($0.value) }))
    else { throw fault }
    let bytes = [UInt8](data)
    let end = 10 + Int(bytes[8]) + Int(bytes[9]) << 8
    guard bytes[6] == 1, end <= bytes.count else { throw fault }
    let header = String(decoding: bytes[10..<end], as: UTF8.self)
    guard header.contains("'<f4'"), header.contains("'fortran_order': False"),
        let open = header.firstIndex(of: "("), let close = header.firstIndex(of: ")")
    else { throw fault }
    let sides = header[header.index(after: open)..<close].split(separator: ",").map {
        Int($0.trimmingCharacters(in: .whitespaces)) ?? 0
    }
    let count = sides.allSatisfy({ 1...65_535 ~= $0 }) && sides.count <= 3 ? sides.reduce(1, *) : 0
    guard count > 0, bytes.count - end >= count * 4 else { throw fault }
    let values = (0..<count).map { at in
        Float(bitPattern: (0..<4).reduce(0) { $0 | UInt32(bytes[end + at * 4 + $1]) << (8 * UInt32($1)) })
    }
    return Tensor(shape: sides, values: values)
}
