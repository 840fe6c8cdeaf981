import Foundation
import Pictures
import SegmentAnythingCore

/// Finds everything, prints it, and writes a file for each mask.
func segmentEverything(_ sam: SegmentAnything, _ asked: Arguments, _ how: EverythingArguments) async throws {
    let finder = try how.detector.map { try opened(asked, $0) }
    let teller = Teller()
    let method = how.method(asked.prompts, finder)
    let found = try await sam.everything(in: try readPicture(asked.picture), method: method) { teller.tell($0) }
    for (at, segment) in found.segments.enumerated() {
        try show(segment.mask, at, of: found.segments.count, asked.mask)
    }
    let stages = found.seconds.sorted { $0.key < $1.key }.map { "\($0.key) \(String(format: "%.2f", $0.value)) s" }
    print("\(found.segments.count) masks, \(found.asked.prompts) prompts: \(stages.joined(separator: ", "))")
}

/// Prints progress every few seconds.
private final class Teller: @unchecked Sendable {
    private static let every = 2.0
    private let lock = NSLock()
    private var next = every

    func tell(_ progress: EverythingProgress) {
        lock.withLock {
            guard progress.seconds >= next, progress.done < progress.planned else { return }
            next = progress.seconds + Teller.every
            let line = "sam-segment: \(progress.done) of \(progress.planned) prompts\n"
            FileHandle.standardError.write(Data(line.utf8))
        }
    }
}
