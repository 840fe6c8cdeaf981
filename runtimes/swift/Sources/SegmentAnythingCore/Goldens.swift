import Foundation

/// Inputs and the published network's outputs of every graph, of a bundle's `goldens.npz`.
///
/// A key is `GRAPH/CASE/NAME`; an array that all cases of a graph share is `GRAPH/*/NAME`.
struct Goldens: Sendable {
    private let arrays: Npz
    private let sizes: [String: Int]
    private let shared = Shared()

    /// The arrays that every case of a graph takes, unpacked once.
    private final class Shared: @unchecked Sendable {
        private let lock = NSLock()
        private var kept: [String: Tensor] = [:]

        func array(_ key: String, _ read: () throws -> Tensor) rethrows -> Tensor {
            try lock.withLock {
                let tensor = try kept[key] ?? read()
                kept[key] = tensor
                return tensor
            }
        }
    }

    init(_ bundle: ModelBundle) throws {
        arrays = try Npz(bundle.url.appendingPathComponent("goldens.npz"))
        var sizes: [String: Int] = [:]
        for graph in bundle.manifest.graphs {
            for tensor in graph.inputs + graph.outputs {
                sizes["\(graph.name)/\(tensor.name)"] = tensor.shape.reduce(1, *)
            }
        }
        self.sizes = sizes
    }

    /// Lists the cases of a graph, sorted. Throws if there is none.
    func cases(_ graph: GraphFile) throws -> [String] {
        let names = arrays.names.compactMap { key -> String? in
            let parts = key.split(separator: "/")
            return parts.count == 3 && parts[0] == graph.name && parts[1] != "*" ? String(parts[1]) : nil
        }
        guard !names.isEmpty else {
            throw SegmentAnythingError.bundle("goldens.npz has no case of \(graph.name): export the bundle again")
        }
        return Set(names).sorted()
    }

    /// Tells whether the case has an array of its own, not the shared one.
    func owns(_ graph: GraphFile, _ case: String, _ name: String) -> Bool {
        arrays.names.contains("\(graph.name)/\(`case`)/\(name)")
    }

    /// Reads a case's array, or the one that its graph's cases share; channels first.
    func array(_ graph: GraphFile, _ case: String, _ name: String) throws -> Tensor {
        let most = sizes["\(graph.name)/\(name)"] ?? 0
        if owns(graph, `case`, name) {
            return try arrays.array("\(graph.name)/\(`case`)/\(name)", most: most)
        }
        let key = "\(graph.name)/*/\(name)"
        return try shared.array(key) { try arrays.array(key, most: most) }
    }

    /// Reads a case's inputs, as the graph takes them.
    func inputs(_ graph: GraphFile, _ case: String) throws -> [String: Value] {
        var inputs: [String: Value] = [:]
        for spec in graph.inputs {
            let tensor = try array(graph, `case`, spec.name)
            guard tensor.values.count == spec.shape.reduce(1, *) else {
                throw SegmentAnythingError.bundle(
                    "golden \(graph.name)/\(`case`)/\(spec.name) is \(tensor.shape), and the graph takes "
                        + "\(spec.shape): export the bundle again")
            }
            inputs[spec.name] = spec.value(of: tensor.values)
        }
        return inputs
    }
}

extension TensorSpec {
    /// Lays numbers out, channels first, as the graph takes them.
    fileprivate func value(of numbers: [Float]) -> Value {
        guard layout == "NHWC" || dtype == "uint8", shape.count == 4 else {
            return .floats(Tensor(shape: shape, values: numbers))
        }
        // An RGB image is (1, 3, S, S) in a manifest, and pixels in a buffer.
        let channels = dtype == "uint8" ? shape[1] : shape[3], plane = numbers.count / channels
        var turned = [Float](repeating: 0, count: numbers.count)
        for channel in 0..<channels {
            for at in 0..<plane { turned[at * channels + channel] = numbers[channel * plane + at] }
        }
        if dtype == "uint8" {
            return .pixels(turned.map { UInt8(clamping: Int($0.rounded(.toNearestOrEven))) }, side: shape[2])
        }
        return .floats(Tensor(shape: shape, values: turned))
    }
}
