import Foundation

@testable import SegmentAnythingCore

/// A network of the golden vectors of tracking: its graphs are stand-ins, computed as golden_vectors/stand_ins.py
/// says.
struct StandInEngine: Engine {
    let target = "onnx"
    let salt: UInt32
    /// An output whose values are no numbers; empty for none.
    var broken = ""
    let log = CallLog()

    func open(_ graph: GraphFile, at url: URL, of manifest: Manifest) async throws -> any LoadedGraph {
        StandInGraph(graph: graph, engine: self)
    }
}

/// The calls since they were last asked for.
final class CallLog: @unchecked Sendable {
    private let lock = NSLock()
    private var calls: [String] = []

    func add(_ call: String) { lock.withLock { calls.append(call) } }

    func taken() -> String {
        lock.withLock {
            defer { calls = [] }
            return calls.joined(separator: "; ")
        }
    }
}

private let letters = [
    "image_encoder": "I", "mask_decoder": "D", "memory_encoder": "M", "memory_query": "Q",
    "memory_attention": "A", "memory_attention_first": "F",
]
/// Values in slots -> their ages.
private let banks = ["memories": "memory_age", "object_pointers": "pointer_age"]

private struct StandInGraph: LoadedGraph {
    let graph: GraphFile
    let engine: StandInEngine

    func run(_ inputs: [String: Value]) async throws -> [String: Value] {
        let given = try inputs.mapValues { try $0.tensor() }
        engine.log.add(told(given))
        let seed = seed(given)
        var outputs: [String: Value] = [:]
        for (at, spec) in graph.outputs.enumerated() {
            outputs[spec.name] = .floats(output(spec, seed &+ UInt32(at) &* 0x9E37_79B9))
        }
        return outputs
    }

    private func seed(_ given: [String: Tensor]) -> UInt32 {
        var seed = stir(digest(graph.name.utf8.map(UInt32.init)) ^ engine.salt)
        for spec in graph.inputs where !banks.values.contains(spec.name) {
            let values = given[spec.name]!.values
            if let ages = given[banks[spec.name] ?? ""]?.values {
                let width = values.count / ages.count
                let rows = ages.indices.filter { ages[$0] != -1 }.map { slot in
                    stir(digest([whole(ages[slot])]) ^ digest(values[(slot * width)..<((slot + 1) * width)].map(whole)))
                }
                seed = stir(seed ^ rows.reduce(0, &+))
            } else {
                seed = stir(seed ^ digest(values.map(whole)))
            }
        }
        return seed
    }

    private func output(_ spec: TensorSpec, _ seed: UInt32) -> Tensor {
        let more: Float = spec.name == "object_score_logits" ? 4 : 0
        if spec.name == engine.broken { return Tensor(shape: spec.shape, filledWith: .nan) }
        let values = (0..<spec.shape.reduce(1, *)).map { k in
            Float(stir(seed &+ UInt32(k) &* 0x85EB_CA6B) >> 16) / 4096 - 8 + more
        }
        return Tensor(shape: spec.shape, values: values)
    }

    /// Says what a call is about, of the inputs that the host chose.
    private func told(_ given: [String: Tensor]) -> String {
        var told = [letters[graph.name] ?? graph.name]
        if let ages = given["memory_age"]?.values, let seen = given["pointer_age"]?.values.filter({ $0 != -1 }) {
            told.append(ages.filter { $0 != -1 }.sorted().map { "\(Int($0))" }.joined(separator: ","))
            told.append("\(seen.count):\(seen.map { whole($0) }.max() ?? 0)")
        }
        if let labels = given["point_labels"]?.values {
            told.append(labels.filter { $0 != -2 }.map { "\(Int($0))" }.joined(separator: ","))
        }
        for name in ["has_mask_input", "from_prompt", "object_present"] {
            if let flag = given[name]?.values[0] { told.append("\(Int(flag))") }
        }
        return told.joined(separator: " ")
    }
}

func stir(_ number: UInt32) -> UInt32 {
    var x = number
    x ^= x >> 16
    x = x &* 0x7FEB_352D
    x ^= x >> 15
    x = x &* 0x846C_A68B
    return x ^ x >> 16
}

func whole(_ value: Float) -> UInt32 { UInt32(truncatingIfNeeded: Int((Double(value) * 4096 + 0.5).rounded(.down))) }

func digest(_ numbers: [UInt32]) -> UInt32 { numbers.reduce(0x811C_9DC5) { ($0 ^ $1) &* 0x0100_0193 } }

extension Picture {
    /// The picture of a frame.
    static func standIn(_ frame: Int, _ size: Size) throws -> Picture {
        let first = UInt32(truncatingIfNeeded: frame) &* 65_536
        let bytes = (0..<(size.width * size.height * 3)).map { UInt8(stir(first &+ UInt32($0)) & 255) }
        return try Picture(width: size.width, height: size.height, rgb: bytes)
    }
}
