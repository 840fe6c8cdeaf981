import Foundation
import Testing

@testable import SegmentAnythingCore

/// One case of `runtimes/golden_vectors/cases`, whose README says what it holds.
struct Case: Sendable, CustomTestStringConvertible {
    let name: String
    let fields: Fields
    private let content: Data

    var testDescription: String { name }

    static let folder = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().appendingPathComponent("../../../golden_vectors/cases").standardized

    /// Every case of a topic; the test is told if there is none.
    static func all(_ topic: String) -> [Case] {
        do {
            let text = try Data(contentsOf: folder.appendingPathComponent("\(topic).json"))
            guard case .list(let rows) = try JSON.parse(text) else { return [] }
            let content = try? Data(contentsOf: folder.appendingPathComponent("\(topic).bin"))
            return try rows.map { row in
                let fields = try Fields(row, at: topic)
                return Case(name: try fields.text("name"), fields: fields, content: content ?? Data())
            }
        } catch {
            Issue.record("\(topic) cannot be read: \(error)")
            return []
        }
    }

    /// Reads an array: its shape and numbers; bits are 0 and 1.
    func array(_ name: String, in given: Fields? = nil) throws -> Tensor {
        try stored((given ?? fields).object(name))
    }

    func stored(_ place: Fields) throws -> Tensor {
        let shape = try place.wholes("shape", 0...65_535)
        let count = shape.reduce(1, *), offset = try place.whole("offset", 0...1 << 30)
        let bytes = content[offset...]
        let values: [Float] =
            switch try place.text("dtype") {
            case "uint8": bytes.prefix(count).map(Float.init)
            case "bits":
                (0..<count).map { Float(bytes[offset + $0 / 8] >> (7 - UInt8($0 % 8)) & 1) }
            default:
                (0..<count).map { at in
                    Float(
                        bitPattern: (0..<4).reduce(0) {
                            $0 | UInt32(bytes[offset + at * 4 + $1]) << (8 * UInt32($1))
                        })
                }
            }
        return Tensor(shape: shape, values: values)
    }

    func bytes(_ name: String, in given: Fields? = nil) throws -> [UInt8] {
        try array(name, in: given).values.map { UInt8($0) }
    }

    func picture(_ name: String = "picture") throws -> Picture {
        let pixels = try array(name)
        return try Picture(width: pixels.shape[1], height: pixels.shape[0], rgb: bytes(name))
    }

    func size() throws -> Size {
        let sides = try fields.wholes("size", 0...65_535)
        return Size(width: sides[0], height: sides[1])
    }

    func frame() throws -> Frame { Frame(try size(), try Preprocess(fields.object("preprocess"))) }

    /// Reads a prompt set; a coordinate that JSON cannot hold is a text.
    func prompts(in given: Fields? = nil) throws -> Prompts {
        let set = try (given ?? fields).object("given")
        let points = try set.list("points").map { point in
            guard case .list(let pair) = point else { throw set.wrong("points", "pairs") }
            return CGPoint(x: coordinate(pair[0]), y: coordinate(pair[1]))
        }
        let corners = set.has("box") ? try set.list("box").map(coordinate) : []
        return Prompts(
            points: points, labels: try set.wholes("labels", -9...9),
            box: corners.isEmpty
                ? nil : Prompts.Box(x0: corners[0], y0: corners[1], x1: corners[2], y1: corners[3]))
    }
}

func coordinate(_ json: JSON) -> Double {
    switch json {
    case .number(let number): number
    case .text("inf"): .infinity
    case .text("-inf"): -.infinity
    default: .nan
    }
}

/// Compares masks with what a case expects of them.
func expect(_ masks: [Mask], are expected: Fields, of given: Case) throws {
    #expect(masks.flatMap(\.pixels) == (try given.bytes("masks", in: expected)))
    #expect(masks.map(\.iouPrediction) == (try given.array("iou_predictions", in: expected).values))
    #expect(masks.map(\.area) == (try expected.wholes("areas", 0...1 << 30)))
    #expect((masks.best ?? -1) == (try expected.whole("best", -1...1000)))
    let boxes: [CGRect?] = try expected.list("boxes").map { box in
        guard case .list(let corners) = box else { return nil }
        let at = corners.map(coordinate)
        return CGRect(x: at[0], y: at[1], width: at[2] - at[0], height: at[3] - at[1])
    }
    #expect(masks.map(\.boundingBox) == boxes)
}
