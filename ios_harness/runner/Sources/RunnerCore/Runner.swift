import Foundation
import SegmentAnything

/// What a job gave.
struct Measured {
    var loads: [(graph: String, ns: Int)] = []
    var firsts: [(graph: String, ns: Int)] = []
    var timing = Timing()
    var firstMaskNs: Int?
    var coldLoadNs: Int?
    var placement: [Placed] = []
    var outputs: [(name: String, content: Data)] = []
}

/// Does a job: loads the graphs, calls them, times every call.
struct Runner {
    let job: Job
    let files: URL
    let engine: any RunnerEngine
    /// Told what is done next, for whoever finds the process dead.
    let stage: (String) -> Void

    func perform() async throws -> Measured {
        var measured = Measured()
        switch job.mode {
        case .check: try await check(&measured)
        case .graph: try await timeGraph(&measured)
        case .session: try await timeSession(&measured)
        }
        return measured
    }

    private func check(_ measured: inout Measured) async throws {
        var given: [String: [String: Value]] = [:]
        for graph in job.graphs {
            let (loaded, ns) = try await load(graph)
            measured.loads.append((graph.name, ns))
            for one in graph.cases {
                let inputs = try self.inputs(graph, one, given, written: measured.outputs)
                stage("calling \(graph.name) with the case \(one.name)")
                let start = now()
                let outputs = try await loaded.run(inputs)
                if measured.firsts.last?.graph != graph.name { measured.firsts.append((graph.name, now() - start)) }
                given[graph.name] = outputs
                measured.outputs += try written(graph, one, outputs)
            }
        }
    }

    private func timeGraph(_ measured: inout Measured) async throws {
        let graph = job.graphs[0]
        let inputs = try self.inputs(graph, graph.cases[0], [:])
        let (manifest, url) = try bundle(graph)
        if try engine.forget(file(graph, manifest), at: url, of: manifest) {
            // On a new phone the first load compiles; an app's every later one does not.
            let (_, cold) = try await load(graph)
            measured.coldLoadNs = cold
        }
        let (loaded, ns) = try await load(graph)
        measured.loads = [(graph.name, ns)]
        stage("the first call of \(graph.name)")
        func call() async throws -> Int {
            let start = now()
            _ = try await loaded.run(inputs)
            return now() - start
        }
        try await measured.timing.warmUp(job) {
            let ns = try await call()
            stage("calling \(graph.name)")
            return ns
        }
        measured.firsts = [(graph.name, measured.timing.warmup[0])]
        try await measured.timing.take(runs: job.runs, seconds: job.seconds, call)
        stage("asking where \(graph.name) runs")
        measured.placement = await engine.placement(try file(graph, manifest), of: manifest)
    }

    private func timeSession(_ measured: inout Measured) async throws {
        var read: [String: [String: Value]] = [:]
        for graph in job.graphs { read[graph.name] = try fromFiles(graph, graph.cases[0]) }
        let start = now()
        var loaded: [String: any LoadedGraph] = [:]
        for graph in job.graphs {
            let (one, ns) = try await load(graph)
            loaded[graph.name] = one
            measured.loads.append((graph.name, ns))
        }
        var given: [String: [String: Value]] = [:]
        for graph in job.graphs {
            let inputs = try linked(graph, read[graph.name] ?? [:], given)
            stage("the first call of \(graph.name)")
            let begun = now()
            given[graph.name] = try await loaded[graph.name]?.run(inputs)
            measured.firsts.append((graph.name, now() - begun))
        }
        measured.firstMaskNs = now() - start
        let again = job.graphs.filter { job.repeated.contains($0.name) }
        guard !again.isEmpty else { return }
        stage("calling \(again.map(\.name).joined(separator: ", "))")
        try await measured.timing.take(runs: job.runs, seconds: 0) {
            let begun = now()
            for graph in again {
                given[graph.name] = try await loaded[graph.name]?.run(
                    linked(graph, read[graph.name] ?? [:], given))
            }
            return now() - begun
        }
    }

    // MARK: graphs and tensors

    private func load(_ graph: Job.Graph) async throws -> (any LoadedGraph, Int) {
        stage("loading \(graph.name)")
        let (manifest, url) = try bundle(graph)
        let entry = try file(graph, manifest)
        let start = now()
        let loaded = try await engine.open(entry, at: url, of: manifest)
        return (loaded, now() - start)
    }

    /// Reads the manifest beside a model.
    private func bundle(_ graph: Job.Graph) throws -> (Manifest, URL) {
        let folder = graph.model.split(separator: "/", maxSplits: 1)[0]
        let manifest = files.appendingPathComponent(String(folder)).appendingPathComponent("manifest.json")
        guard let data = try? Data(contentsOf: manifest) else { throw RunnerError("\(folder) has no manifest.json") }
        return (try Manifest(data), files.appendingPathComponent(graph.model))
    }

    /// Finds the manifest's graph. Throws if its tensors are not the job's.
    private func file(_ graph: Job.Graph, _ manifest: Manifest) throws -> GraphFile {
        let entry = try manifest.graph(graph.name)
        func same(_ ours: [Job.Tensor], _ theirs: [TensorSpec]) -> Bool {
            ours == theirs.map { Job.Tensor(name: $0.name, dtype: $0.dtype, shape: $0.shape) }
        }
        guard same(graph.inputs, entry.inputs), same(graph.outputs, entry.outputs) else {
            throw RunnerError("\(graph.name) has other tensors in its manifest than in the job")
        }
        return entry
    }

    private func inputs(
        _ graph: Job.Graph, _ one: Job.Case, _ given: [String: [String: Value]],
        written: [(name: String, content: Data)] = []
    ) throws -> [String: Value] {
        try linked(graph, fromFiles(graph, one, written: written), given, one)
    }

    private func fromFiles(
        _ graph: Job.Graph, _ one: Job.Case, written: [(name: String, content: Data)] = []
    ) throws -> [String: Value] {
        var found: [String: Value] = [:]
        for input in graph.inputs {
            guard case .file(let name)? = one.inputs[input.name] else { continue }
            let data =
                try written.last(where: { $0.name == name })?.content
                ?? Data(contentsOf: files.appendingPathComponent(name))
            found[input.name] = try value(input, data, name)
        }
        return found
    }

    private func linked(
        _ graph: Job.Graph, _ read: [String: Value], _ given: [String: [String: Value]], _ one: Job.Case? = nil
    ) throws -> [String: Value] {
        var inputs = read
        for (name, source) in (one ?? graph.cases[0]).inputs {
            guard case .output(let from, let output) = source else { continue }
            guard let value = given[from]?[output] else { throw RunnerError("\(from) gave no \(output)") }
            inputs[name] = value
        }
        return inputs
    }

    private func value(_ spec: Job.Tensor, _ data: Data, _ name: String) throws -> Value {
        let count = spec.shape.reduce(1, *)
        guard data.count == count * (spec.dtype == "uint8" ? 1 : 4) else {
            throw RunnerError("\(name) has \(data.count) bytes, which is no \(spec.name) \(spec.shape)")
        }
        guard spec.dtype == "uint8" else { return .floats(Tensor(shape: spec.shape, values: floats(data))) }
        guard spec.shape.count == 4, spec.shape[1] == 3, spec.shape[2] == spec.shape[3] else {
            throw RunnerError("\(spec.name) is no square RGB image")
        }
        // Planes in the file, pixels in the buffer.
        let plane = spec.shape[2] * spec.shape[3], bytes = [UInt8](data)
        var pixels = [UInt8](repeating: 0, count: count)
        for at in 0..<plane {
            for channel in 0..<3 { pixels[at * 3 + channel] = bytes[channel * plane + at] }
        }
        return .pixels(pixels, side: spec.shape[2])
    }

    private func written(
        _ graph: Job.Graph, _ one: Job.Case, _ outputs: [String: Value]
    ) throws -> [(name: String, content: Data)] {
        try graph.outputs.compactMap { spec in
            guard let name = one.outputs[spec.name] else { return nil }
            guard let tensor = try outputs[spec.name]?.tensor(), tensor.shape == spec.shape else {
                throw RunnerError("\(graph.name) gives no \(spec.name) \(spec.shape)")
            }
            return (name, tensor.values.withUnsafeBytes { Data($0) })
        }
    }
}

/// Little-endian floats, which every system here is.
private func floats(_ data: Data) -> [Float] {
    [Float](unsafeUninitializedCapacity: data.count / 4) { buffer, count in
        _ = data.copyBytes(to: UnsafeMutableRawBufferPointer(buffer))
        count = data.count / 4
    }
}
