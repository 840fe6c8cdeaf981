import Foundation
import Pictures
import SegmentAnythingCore

/// Finds everything, prints it, and writes a file for each mask; Ctrl-C ends the asking, and exits with 130 then.
func segmentEverything(_ sam: SegmentAnything, _ asked: Arguments, _ how: EverythingArguments) async throws {
    let finder = try how.detector.map { try opened(asked, $0) }
    let teller = Teller()
    let method = how.method(asked.prompts, finder)
    let picture = try readPicture(asked.picture)
    let running = Task {
        try await sam.everything(in: picture, method: method, keepPartial: true) { teller.tell($0) }
    }
    let interrupts = cancelling(running)
    let result = try await kept(running, how)
    interrupts.cancel()
    signal(SIGINT, SIG_DFL)
    guard let found = result else {
        warn("interrupted before anything was found")
        exit(130)
    }
    found.notes.forEach(warn)
    for (at, segment) in found.segments.enumerated() {
        try show(segment.mask, at, of: found.segments.count, asked.mask)
    }
    let stages = found.seconds.sorted { $0.key < $1.key }.map { "\($0.key) \(String(format: "%.2f", $0.value)) s" }
    let counts = "\(counted(found.segments.count, "mask")), \(counted(found.asked.prompts, "prompt"))"
    print("\(counts): \(stages.joined(separator: ", "))")
    if found.partial {
        warn("interrupted: the result is partial, \(found.asked.prompts) of \(found.asked.planned) prompts")
        exit(130)
    }
}

/// Returns nil if nothing is kept of a cancelled task.
private func kept(
    _ running: Task<Everything, any Error>, _ how: EverythingArguments
) async throws -> Everything? {
    do { return try await running.value } catch is CancellationError {
        return nil
    } catch let error as SegmentAnythingError { throw how.spelt(error) }
}

/// Cancels a task at the first Ctrl-C; the second ends the process.
private func cancelling(_ running: Task<Everything, any Error>) -> any DispatchSourceSignal {
    signal(SIGINT, SIG_IGN)
    let source = DispatchSource.makeSignalSource(signal: SIGINT, queue: .global())
    source.setEventHandler {
        running.cancel()
        signal(SIGINT, SIG_DFL)
    }
    source.resume()
    return source
}

private func counted(_ count: Int, _ what: String) -> String { "\(count) \(what)\(count == 1 ? "" : "s")" }

func warn(_ line: String) { FileHandle.standardError.write(Data("sam-segment: \(line)\n".utf8)) }

/// Prints progress every few seconds.
private final class Teller: @unchecked Sendable {
    private static let every = 2.0
    private let lock = NSLock()
    private var next = every

    func tell(_ progress: EverythingProgress) {
        lock.withLock {
            guard progress.seconds >= next, progress.done < progress.planned else { return }
            next = progress.seconds + Teller.every
            warn("\(progress.done) of \(progress.planned) prompts (Ctrl-C keeps what is done)")
        }
    }
}
