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
        let desk = Desk(
            home: URL(fileURLWithPath: home), machine: Computer(file: state),
            runtimes: version.isEmpty ? [:] : ["ort": onnx])
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
