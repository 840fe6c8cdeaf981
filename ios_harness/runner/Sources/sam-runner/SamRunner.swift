import Foundation
import RunnerCore
import SegmentAnythingOnnx

/// `sam-runner VERB NAME SECONDS`: the runner on a computer, with ONNX Runtime. Tests drive it as a phone.
///
/// `SAM_RUNNER_HOME` is its Documents, `SAM_RUNNER_STATE` the state that it tells, `SAM_ONNXRUNTIME` the
/// library.
@main
struct SamRunner {
    static func main() async {
        let environment = ProcessInfo.processInfo.environment
        guard let home = environment["SAM_RUNNER_HOME"] else {
            FileHandle.standardError.write(Data("sam-runner: error: set SAM_RUNNER_HOME to a folder\n".utf8))
            exit(2)
        }
        let state = environment["SAM_RUNNER_STATE"].map { URL(fileURLWithPath: $0) }
        let version = (try? OnnxRuntimeEngine().version) ?? ""
        let onnx = EngineKind(version: version) { units, threads in
            OnnxRunnerEngine(engine: try OnnxRuntimeEngine(threads: threads), units: units)
        }
        // Core AI, played: an .aimodel of the tests holds an ONNX file for each function.
        let core = EngineKind(version: version) { units, threads in
            let runtime = OnnxRunnerEngine(engine: try OnnxRuntimeEngine(threads: threads), units: units)
            return PlayedEngine(
                engine: runtime, isWrong: units == environment["SAM_RUNNER_WRONG"],
                ends: units == environment["SAM_RUNNER_ENDS"])
        }
        let desk = Desk(
            home: URL(fileURLWithPath: home), machine: Computer(file: state),
            runtimes: version.isEmpty ? [:] : ["ort": onnx, "coreai": core])
        exit(await desk.serve(Array(CommandLine.arguments.dropFirst())))
    }
}

private struct OnnxRunnerEngine: RunnerEngine {
    let engine: OnnxRuntimeEngine
    let units: String

    var title: String { "ONNX Runtime \(engine.version)" }
    var notes: [String] { units == "cpuOnly" ? [] : ["ONNX Runtime computes on the CPU, not on \(units)"] }

    func open(_ graph: GraphFile, at url: URL, of manifest: Manifest) async throws -> any LoadedGraph {
        try await engine.open(graph, at: url, of: manifest)
    }

    func forget(_ graph: GraphFile, at url: URL, of manifest: Manifest) throws -> Bool { false }

    func placement(_ graph: GraphFile, of manifest: Manifest) async -> [Placed] { [] }
}

/// A runtime whose file has a function for each graph. On the units that a test names it computes something
/// else, as accelerators do, or ends the process.
private struct PlayedEngine: RunnerEngine {
    let engine: OnnxRunnerEngine
    let isWrong: Bool
    let ends: Bool

    var title: String { "\(engine.title), playing Core AI" }
    var notes: [String] { engine.notes }

    func open(_ graph: GraphFile, at url: URL, of manifest: Manifest) async throws -> any LoadedGraph {
        if ends { abort() }
        let file = url.appendingPathComponent("\(graph.function).onnx")
        return PlayedGraph(loaded: try await engine.open(graph, at: file, of: manifest), isWrong: isWrong)
    }

    func forget(_ graph: GraphFile, at url: URL, of manifest: Manifest) throws -> Bool { true }

    func placement(_ graph: GraphFile, of manifest: Manifest) async -> [Placed] { [] }
}

private struct PlayedGraph: LoadedGraph {
    let loaded: any LoadedGraph
    let isWrong: Bool

    func run(_ inputs: [String: Value]) async throws -> [String: Value] {
        let outputs = try await loaded.run(inputs)
        guard isWrong else { return outputs }
        return try outputs.mapValues { value in
            let tensor = try value.tensor()
            return .floats(Tensor(shape: tensor.shape, values: tensor.values.map { $0 * 0.5 }))
        }
    }
}
