import Foundation
import Pictures
import SegmentAnythingCore

/// Follows one object through a folder of frames; prints it on each, and writes a mask for each if one was asked for.
func followFrames(_ asked: Arguments, _ folder: URL) async throws {
    let files = try frames(in: folder)
    let tracker = try openedTracker(asked)
    for (at, file) in files.enumerated() {
        let picture = try readPicture(file)
        let found: Tracked?
        if at == 0 {
            try await tracker.start(picture, frames: files.count)
            found = try await tracker.addObject("object", ObjectPrompt(asked.prompts))
        } else {
            found = try await tracker.track(picture)["object"]
        }
        guard let found else { continue }
        print("frame \(at): \(found.present ? "there" : "gone"), score \(String(format: "%.3f", found.score))")
        try show(found.mask(), at, of: max(2, files.count), asked.mask)
    }
}

/// The PNG and PPM files of a folder, in the order of the numbers in their names.
private func frames(in folder: URL) throws -> [URL] {
    let files = (try? FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)) ?? []
    let kinds: Set = ["png", "ppm"]
    let found = files.filter { kinds.contains($0.pathExtension.lowercased()) && !$0.lastPathComponent.hasPrefix(".") }
    guard !found.isEmpty else {
        throw SegmentAnythingError.image("\(folder.path) holds no pictures: give a folder of frames, PNG or PPM")
    }
    return found.sorted { $0.lastPathComponent.compare($1.lastPathComponent, options: .numeric) == .orderedAscending }
}
