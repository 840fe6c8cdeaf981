import Foundation

/// One process's work, as `runtimes/remote/job.py` writes it: a line is a word and its values.
public struct Job: Sendable {
    public enum Mode: String, Sendable { case check, graph, session }

    public struct Tensor: Sendable, Equatable {
        public let name: String
        public let dtype: String
        public let shape: [Int]
    }

    /// Where an input comes from.
    public enum Source: Sendable, Equatable {
        case file(String)
        case output(graph: String, name: String)
    }

    public struct Case: Sendable {
        public let name: String
        public var inputs: [String: Source] = [:]
        /// Output -> the file to write it to.
        public var outputs: [String: String] = [:]
    }

    public struct Graph: Sendable {
        public let name: String
        public var model = ""
        public var inputs: [Tensor] = []
        public var outputs: [Tensor] = []
        public var cases: [Case] = []
    }

    /// Of the job and of the report; job.py has the same number.
    public static let version = 3
    public static let mostCalls = 64

    public let mode: Mode
    public let runtime: String
    public let delegate: String
    public let threads: Int
    public let runs: Int
    public let seconds: Double
    public let warmupSeconds: Double
    public let warmupLeastSeconds: Double
    public let stableCalls: Int
    public let stableWithin: Double
    public let graphs: [Graph]
    /// The graphs that a session calls again and again, in turn.
    public let repeated: [String]

    /// Reads a job. Throws `RunnerError`, which names the faulty line.
    public init(_ text: String) throws {
        var reader = Reader()
        let lines = text.split(separator: "\n")
        for (at, line) in lines.enumerated() {
            let words = line.split(separator: " ").map(String.init)
            do { try reader.take(words) } catch let error as RunnerError {
                throw RunnerError("job: line \(at + 1): \(error.message)")
            }
        }
        guard reader.ended else { throw RunnerError("job: it is cut short after \(lines.count) lines") }
        mode = try reader.mode()
        runtime = try reader.word("runtime")
        delegate = try reader.word("delegate")
        threads = try reader.whole("threads", 1...1024)
        runs = try reader.whole("runs", 1...1_000_000)
        seconds = try reader.number("seconds")
        warmupSeconds = try reader.number("warmup_seconds")
        warmupLeastSeconds = try reader.number("warmup_least_seconds")
        stableCalls = try reader.whole("stable_calls", 1...Job.mostCalls)
        stableWithin = try reader.number("stable_within")
        graphs = reader.graphs
        repeated = reader.repeated
        try check()
    }

    private func check() throws {
        guard !graphs.isEmpty, mode != .graph || graphs.count == 1 else {
            throw RunnerError("job: a \(mode.rawValue) job cannot have \(graphs.count) graphs")
        }
        for name in repeated where !graphs.contains(where: { $0.name == name }) {
            throw RunnerError("job: there is no graph \(name) to repeat")
        }
        var earlier: Set<String> = []
        for graph in graphs {
            guard !graph.model.isEmpty, !graph.cases.isEmpty else {
                throw RunnerError("job: \(graph.name) has no model or no case")
            }
            for one in graph.cases { try check(one, graph, earlier) }
            earlier.insert(graph.name)
        }
    }

    private func check(_ one: Case, _ graph: Graph, _ earlier: Set<String>) throws {
        for input in graph.inputs {
            guard let source = one.inputs[input.name] else {
                throw RunnerError("job: case \(one.name) of \(graph.name) gives no \(input.name)")
            }
            if case .output(let given, _) = source, !earlier.contains(given) {
                throw RunnerError("job: \(graph.name) links to \(given), which is not earlier")
            }
        }
        guard one.inputs.count == graph.inputs.count else {
            throw RunnerError("job: case \(one.name) gives \(graph.name) inputs that it does not have")
        }
    }
}

/// The lines read so far.
private struct Reader {
    var graphs: [Job.Graph] = []
    var repeated: [String] = []
    var ended = false
    private var values: [String: [String]] = [:]
    private static let settings: Set = [
        "mode", "runtime", "library", "delegate", "threads", "cores", "runs", "seconds", "warmup_seconds",
        "warmup_least_seconds", "stable_calls", "stable_within",
    ]

    mutating func take(_ words: [String]) throws {
        guard !ended else { throw RunnerError("it stands after the end") }
        guard let verb = words.first else { return }
        let rest = Array(words.dropFirst())
        switch verb {
        case "sam-runner":
            guard rest == [String(Job.version)] else {
                throw RunnerError("the job is of version \(rest.first ?? "?"), this runner of \(Job.version)")
            }
            values[verb] = rest
        case "end": ended = true
        case "repeat": repeated.append(try one(rest))
        case "graph": graphs.append(Job.Graph(name: try one(rest)))
        case "model", "input", "output", "case", "read", "link", "write", "signature":
            guard var graph = graphs.popLast() else { throw RunnerError("\(verb) stands before any graph") }
            try Reader.add(verb, rest, to: &graph)
            graphs.append(graph)
        default:
            guard graphs.isEmpty, Reader.settings.contains(verb) else { throw RunnerError("\(verb) is unknown") }
            values[verb] = rest
        }
    }

    private static func add(_ verb: String, _ rest: [String], to graph: inout Job.Graph) throws {
        switch verb {
        case "model": graph.model = try inside(rest.first)
        case "input": graph.inputs.append(try tensor(rest))
        case "output": graph.outputs.append(try tensor(rest))
        case "case":
            guard rest.count == 1 else { throw RunnerError("a case has one name") }
            graph.cases.append(Job.Case(name: rest[0]))
        case "signature": break  // of TFLite
        default:
            guard var last = graph.cases.popLast() else { throw RunnerError("\(verb) stands before any case") }
            try step(verb, rest, &last)
            graph.cases.append(last)
        }
    }

    private static func step(_ verb: String, _ rest: [String], _ one: inout Job.Case) throws {
        guard rest.count == (verb == "link" ? 3 : 2) else { throw RunnerError("\(verb) has too few or many words") }
        switch verb {
        case "read": one.inputs[rest[0]] = .file(try inside(rest[1]))
        case "link": one.inputs[rest[0]] = .output(graph: rest[1], name: rest[2])
        default: one.outputs[rest[0]] = try inside(rest[1])
        }
    }

    private static func tensor(_ rest: [String]) throws -> Job.Tensor {
        let sides = rest.count == 3 ? rest[2].split(separator: ",").compactMap { Int($0) } : []
        let most = 1 << 29  // a side and a product are cut there, so that no product overflows
        let count = sides.reduce(1) { min($0, most) * max(0, min($1, most)) }
        guard 1...8 ~= sides.count, 1...(1 << 28) ~= count, ["float32", "uint8"].contains(rest[1]) else {
            throw RunnerError("a tensor is NAME float32|uint8 SIDES")
        }
        return Job.Tensor(name: rest[0], dtype: rest[1], shape: sides)
    }

    private func one(_ rest: [String]) throws -> String {
        guard rest.count == 1 else { throw RunnerError("one name is needed") }
        return rest[0]
    }

    func mode() throws -> Job.Mode {
        guard values["sam-runner"] != nil else { throw RunnerError("job: it does not begin with sam-runner") }
        guard let mode = Job.Mode(rawValue: try word("mode")) else { throw RunnerError("job: no such mode") }
        return mode
    }

    func word(_ name: String) throws -> String {
        guard let value = values[name]?.first else { throw RunnerError("job: \(name) is missing") }
        return value
    }

    func whole(_ name: String, _ range: ClosedRange<Int>) throws -> Int {
        guard let value = Int(try word(name)), range.contains(value) else {
            throw RunnerError("job: \(name) should be \(range.lowerBound) to \(range.upperBound)")
        }
        return value
    }

    func number(_ name: String) throws -> Double {
        guard let value = Double(try word(name)), value.isFinite, value >= 0 else {
            throw RunnerError("job: \(name) should be a number from 0")
        }
        return value
    }
}

/// Accepts a path that is plainly inside the runner's folder.
func inside(_ path: String?) throws -> String {
    guard let path, path.split(separator: "/", omittingEmptySubsequences: false).allSatisfy({
        !["", ".", ".."].contains($0)
    }), !path.contains("\\"), !path.contains("\0") else {
        throw RunnerError("'\(path ?? "")' is no path inside the runner's folder")
    }
    return path
}
