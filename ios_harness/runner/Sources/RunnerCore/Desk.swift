import Foundation
import SegmentAnything

/// Answers requests: `look`, `state`, `run`, `clean`. ios_harness/exchange.py asks.
///
///     requests/NAME.pack    what a request needs
///     answers/NAME.pack     what it gives; NAME.done follows it
///     answers/NAME.stage    what is done at the moment
///     files/                models and inputs, kept for the next run
public struct Desk: Sendable {
    /// Of the answer; answers.py has the same number.
    static let version = 1
    private static let hung: Int32 = 3
    private let home: URL
    private let machine: any Machine
    private let runtimes: [String: EngineKind]

    /// - Parameters:
    ///   - home: the app's Documents.
    ///   - machine: what it runs on.
    ///   - runtimes: name in a job -> the engine.
    public init(home: URL, machine: any Machine, runtimes: [String: EngineKind]) {
        (self.home, self.machine, self.runtimes) = (home, machine, runtimes)
    }

    private var files: URL { home.appendingPathComponent("files") }

    private func answer(_ name: String, _ suffix: String) -> URL {
        home.appendingPathComponent("answers").appendingPathComponent("\(name).\(suffix)")
    }

    /// Does one request and writes its answer, an error too.
    ///
    /// - Parameter words: verb, name, and the seconds after which the watchdog ends the process.
    /// - Returns: the exit status: 0 done, 1 an error that the answer tells, 2 no request.
    public func serve(_ words: [String]) async -> Int32 {
        guard words.count == 3, let name = try? inside(words[1]), !name.contains("/"),
            let seconds = Double(words[2]), seconds > 0
        else { return 2 }
        let before = machine.state()
        do {
            try tidy(except: name)
            let stage = watch(name, seconds)
            var (fields, outputs) = try await work(words[0], name, stage)
            fields["state"] = before.json
            try write(name, fields, outputs)
            return 0
        } catch {
            let fields: [String: JSONValue] = ["error": .text(RunnerError.line(error)), "kind": .text("failed")]
            try? write(name, fields, [])
            return 1
        }
    }

    /// Removes what earlier requests left.
    private func tidy(except name: String) throws {
        let manager = FileManager.default
        for folder in ["requests", "answers"] {
            let url = home.appendingPathComponent(folder)
            try manager.createDirectory(at: url, withIntermediateDirectories: true)
            for old in try manager.contentsOfDirectory(atPath: url.path) where !old.hasPrefix("\(name).") {
                try? manager.removeItem(at: url.appendingPathComponent(old))
            }
        }
        try manager.createDirectory(at: files, withIntermediateDirectories: true)
    }

    /// Starts the watchdog, a thread that nothing of a runtime can hold up; returns who is told of stages.
    private func watch(_ name: String, _ seconds: Double) -> (String) -> Void {
        let stages = Stages(answer(name, "stage"))
        let desk = self
        Thread.detachNewThread {
            Thread.sleep(forTimeInterval: seconds)
            let told = "\(stages.last) took longer than \(String(format: "%g", seconds)) s"
            try? desk.write(name, ["error": .text(told), "kind": .text("hung")], [])
            _exit(Desk.hung)
        }
        return { stages.tell($0) }
    }

    private func work(
        _ verb: String, _ name: String, _ stage: @escaping (String) -> Void
    ) async throws -> ([String: JSONValue], [(name: String, content: Data)]) {
        var fields: [String: JSONValue] = [
            "facts": machine.facts().json,
            "runtimes": .object(runtimes.mapValues { .text($0.version) }),
        ]
        stage("a \(verb)")
        switch verb {
        case "look":
            try unpack(name)
            fields["kept"] = .object(kept().mapValues(JSONValue.text))
        case "state": break
        case "clean": fields["freed_bytes"] = .whole(clean())
        case "run":
            let measured = try await run(name, stage)
            fields.merge(measured.fields) { _, new in new }
            return (fields, measured.outputs)
        default: throw RunnerError("there is no request \(verb)")
        }
        return (fields, [])
    }

    private func run(
        _ name: String, _ stage: @escaping (String) -> Void
    ) async throws -> (fields: [String: JSONValue], outputs: [(name: String, content: Data)]) {
        try unpack(name)
        let text = files.appendingPathComponent("job.txt")
        let job = try Job(String(decoding: Data(contentsOf: text), as: UTF8.self))
        try? FileManager.default.removeItem(at: text)
        guard let kind = runtimes[job.runtime] else { throw RunnerError("this runner has no runtime \(job.runtime)") }
        let engine = try kind.make(job.delegate, job.threads)
        let measured = try await Runner(job: job, files: files, engine: engine, stage: stage).perform()
        let report = report(job, measured, engine, peak: machine.peakBytes())
        let fields: [String: JSONValue] = [
            "report": report, "state_after": machine.state().json,
            "cold_load_ns": .optional(measured.coldLoadNs),
            "placement": .list(measured.placement.map(\.json)),
        ]
        return (fields, measured.outputs)
    }

    /// Takes what came with the request, if anything did.
    private func unpack(_ name: String) throws {
        let pack = home.appendingPathComponent("requests").appendingPathComponent("\(name).pack")
        guard FileManager.default.fileExists(atPath: pack.path) else { return }
        defer { try? FileManager.default.removeItem(at: pack) }
        try Pack.unpack(pack, into: files)
    }

    /// Hashes every file that is there.
    private func kept() -> [String: String] {
        var found: [String: String] = [:]
        let top = files.resolvingSymlinksInPath().path + "/"
        let walk = FileManager.default.enumerator(at: files.resolvingSymlinksInPath(), includingPropertiesForKeys: nil)
        while let url = walk?.nextObject() as? URL {
            var isFolder: ObjCBool = false
            guard FileManager.default.fileExists(atPath: url.path, isDirectory: &isFolder), !isFolder.boolValue,
                url.path.hasPrefix(top), let hash = Pack.hash(url)
            else { continue }
            found[String(url.path.dropFirst(top.count))] = hash
        }
        return found
    }

    /// Removes the files; the bytes that were freed.
    private func clean() -> Int {
        var freed = 0
        for name in kept().keys {
            let path = files.appendingPathComponent(name).path
            freed += (try? FileManager.default.attributesOfItem(atPath: path)[.size] as? Int) ?? 0
        }
        try? FileManager.default.removeItem(at: files)
        return freed
    }

    private func write(
        _ name: String, _ fields: [String: JSONValue], _ outputs: [(name: String, content: Data)]
    ) throws {
        var all = fields
        all["answer"] = .whole(Desk.version)
        all["request"] = .text(name)
        let head = (name: "answer.json", content: try JSONValue.object(all).data())
        try Pack.write([head] + outputs, to: answer(name, "pack"))
        try Data().write(to: answer(name, "done"))
    }
}

/// The report of a job, field by field as `runtimes/remote/report.py` reads it.
private func report(_ job: Job, _ measured: Measured, _ engine: any RunnerEngine, peak: Int?) -> JSONValue {
    func byGraph(_ pairs: [(graph: String, ns: Int)]) -> JSONValue {
        .object(Dictionary(pairs.map { ($0.graph, .whole($0.ns)) }) { first, _ in first })
    }
    let timing = measured.timing
    let capped = timing.capped ? ["stopped at a million calls"] : []
    return [
        "runner": .whole(Job.version), "mode": .text(job.mode.rawValue), "runtime": .text(engine.title),
        "load_ns": byGraph(measured.loads), "first_ns": byGraph(measured.firsts),
        "warmup_ns": .wholes(timing.warmup), "stable": .flag(timing.stable),
        "samples_ns": .wholes(timing.samples), "cpu_ns": .optional(timing.cpuNanoseconds),
        "first_mask_ns": .optional(measured.firstMaskNs), "peak_bytes": .optional(peak),
        "threads": .whole(job.threads), "affinity": .list([]), "khz_before": [:], "khz_after": [:],
        "notes": .list((engine.notes + capped).map(JSONValue.text)),
    ]
}

/// What is done at the moment, in a file that outlives the process.
private final class Stages: @unchecked Sendable {
    private let url: URL
    private let lock = NSLock()
    private var text = "the request"

    init(_ url: URL) { self.url = url }

    var last: String { lock.withLock { text } }

    func tell(_ stage: String) {
        lock.withLock {
            guard stage != text else { return }
            text = stage
            try? Data(stage.utf8).write(to: url, options: .atomic)  // a crash leaves the last word whole
        }
    }
}
