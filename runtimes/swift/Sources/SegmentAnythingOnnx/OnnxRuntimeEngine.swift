import COnnxRuntime
import Foundation
@_exported import SegmentAnythingCore

/// ONNX Runtime on the CPU, on Linux and macOS.
public struct OnnxRuntimeEngine: Engine {
    public let target = "onnx"
    /// Of the library.
    public let version: String
    private let runtime: Runtime
    private let threads: Int

    /// Opens ONNX Runtime; the first library of a process is kept.
    ///
    /// - Parameters:
    ///   - library: path of `libonnxruntime.so` or `.dylib`; nil for that of the environment's
    ///     `SAM_ONNXRUNTIME`, else the one that the system finds.
    ///   - threads: of one graph.
    /// - Throws: `SegmentAnythingError.request` if it cannot be opened.
    public init(library: String? = nil, threads: Int = 2) throws {
        guard 1...1024 ~= threads else {
            throw SegmentAnythingError.request("threads must be 1 to 1024, not \(threads)")
        }
        #if os(Linux)
            let usual = "libonnxruntime.so"
        #else
            let usual = "libonnxruntime.dylib"
        #endif
        let named = library ?? ProcessInfo.processInfo.environment["SAM_ONNXRUNTIME"] ?? usual
        var handle: OpaquePointer?
        if let fault = sam_ort_open(named, &handle) {
            throw SegmentAnythingError.request(
                "\(taken(fault)); name libonnxruntime by --onnxruntime or SAM_ONNXRUNTIME")
        }
        guard let handle else { throw SegmentAnythingError.request("no ONNX Runtime") }
        runtime = Runtime(handle: handle)
        version = String(cString: sam_ort_version(handle))
        self.threads = threads
    }

    public func open(_ graph: GraphFile, at url: URL, of manifest: Manifest) async throws -> any LoadedGraph {
        var session: OpaquePointer?
        if let fault = sam_ort_load(runtime.handle, url.path, Int32(threads), &session) {
            throw SegmentAnythingError.bundle("onnxruntime cannot load \(graph.file): \(taken(fault))")
        }
        guard let session else { throw SegmentAnythingError.bundle("onnxruntime loads no \(graph.file)") }
        return OnnxGraph(graph, Session(runtime, session))
    }
}

/// The library's handle; it stays open as long as the process.
private struct Runtime: @unchecked Sendable {
    let handle: OpaquePointer
}

private final class Session: @unchecked Sendable {
    let runtime: Runtime
    let handle: OpaquePointer

    init(_ runtime: Runtime, _ handle: OpaquePointer) { (self.runtime, self.handle) = (runtime, handle) }

    deinit { sam_ort_release_session(runtime.handle, handle) }
}

/// An output, which a later graph takes without a copy. Nobody writes to it.
private final class OnnxValue: HeldTensor, @unchecked Sendable {
    let runtime: Runtime
    let handle: OpaquePointer

    init(_ runtime: Runtime, _ handle: OpaquePointer) { (self.runtime, self.handle) = (runtime, handle) }

    init(_ runtime: Runtime, _ tensor: Tensor) throws {
        var made: OpaquePointer?
        let dims = tensor.shape.map(Int64.init)
        let fault = sam_ort_value(runtime.handle, tensor.values, dims, dims.count, &made)
        if let fault { throw SegmentAnythingError.bundle(taken(fault)) }
        guard let made else { throw SegmentAnythingError.bundle("onnxruntime makes no tensor") }
        (self.runtime, handle) = (runtime, made)
    }

    deinit { sam_ort_release_value(runtime.handle, handle) }

    func tensor() throws -> Tensor {
        var numbers: UnsafePointer<Float>?
        var dims = [Int64](repeating: 0, count: Int(SAM_ORT_MOST_RANK))
        var rank = 0
        if let fault = sam_ort_look(runtime.handle, handle, &numbers, &dims, &rank) {
            throw SegmentAnythingError.bundle(taken(fault))
        }
        let shape = dims.prefix(rank).map(Int.init)
        let buffer = UnsafeBufferPointer(start: numbers, count: shape.reduce(1, *))
        return Tensor(shape: shape, values: Array(buffer))
    }
}

private struct OnnxGraph: LoadedGraph {
    let graph: GraphFile
    let session: Session

    init(_ graph: GraphFile, _ session: Session) { (self.graph, self.session) = (graph, session) }

    func run(_ inputs: [String: Value]) throws -> [String: Value] {
        let runtime = session.runtime
        let given = try graph.inputs.map { spec in
            guard let value = inputs[spec.name] else {
                throw SegmentAnythingError.bundle("nothing gives \(graph.name) \(spec.name)")
            }
            if case .held(let held as OnnxValue) = value { return held }
            return try OnnxValue(runtime, value.tensor())
        }
        var made = [OpaquePointer?](repeating: nil, count: graph.outputs.count)
        let fault = withNames(graph.inputs) { inNames in
            withNames(graph.outputs) { outNames in
                sam_ort_run(
                    runtime.handle, session.handle, inNames, given.map { Optional($0.handle) }, given.count,
                    outNames, &made, made.count)
            }
        }
        if let fault {
            throw SegmentAnythingError.bundle("onnxruntime cannot run \(graph.name): \(taken(fault))")
        }
        var outputs: [String: Value] = [:]
        for (spec, handle) in zip(graph.outputs, made) {
            guard let handle else { throw SegmentAnythingError.bundle("\(graph.name) gives no \(spec.name)") }
            let value = OnnxValue(runtime, handle)
            guard try value.tensor().shape == spec.shape else {
                throw SegmentAnythingError.bundle("\(graph.name) \(spec.name) is not \(spec.shape)")
            }
            outputs[spec.name] = .held(value)
        }
        return outputs
    }
}

/// Takes a fault's text and frees it.
private func taken(_ fault: UnsafeMutablePointer<CChar>) -> String {
    defer { free(fault) }
    return String(cString: fault)
}

private func withNames<T>(
    _ specs: [TensorSpec], _ body: ([UnsafePointer<CChar>?]) -> T
) -> T {
    let names = specs.map { strdup($0.name) }
    defer { names.forEach { free($0) } }
    return body(names.map { UnsafePointer($0) })
}
