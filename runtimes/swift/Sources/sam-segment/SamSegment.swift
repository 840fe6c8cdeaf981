import Foundation
import Pictures
import SegmentAnythingCore

/// `sam-segment`: the example to copy. It sets an image once, predicts, and writes the masks.
@main
struct SamSegment {
    static func main() async {
        let words = Array(CommandLine.arguments.dropFirst())
        if words.contains("--help") {
            print(usage)
            return
        }
        do {
            try await segment(try Arguments(words))
        } catch let error as SegmentAnythingError {
            FileHandle.standardError.write(Data("sam-segment: error: \(error.message)\n".utf8))
            exit(2)
        } catch {
            FileHandle.standardError.write(Data("sam-segment: error: \(error)\n".utf8))
            exit(1)
        }
    }

    private static func segment(_ asked: Arguments) async throws {
        if let folder = asked.frames { return try await followFrames(asked, folder) }
        if asked.verify { return try await verify(asked) }
        let sam = try opened(asked)
        if let how = asked.everything { return try await segmentEverything(sam, asked, how) }
        let earlier = try asked.maskInput.map(readLogits)
        try await sam.setImage(try readPicture(asked.picture))
        let masks = try await sam.predict(asked.prompts, mask: earlier, multimask: asked.multimask)
        if asked.multimask, masks.count == 1 {
            warn("this bundle has one mask an object: --multimask changes nothing")
        }
        for (at, mask) in masks.enumerated() { try show(mask, at, of: masks.count, asked.mask) }
        if asked.times > 0 { try await time(sam, asked, earlier) }
    }

    /// Prints every figure, and what they mean; nothing is remembered.
    private static func verify(_ asked: Arguments) async throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
        defer { try? FileManager.default.removeItem(at: folder) }
        let store = VerificationStore(folder: folder)
        let tracks = try ModelBundle(asked.bundle, verify: false).manifest.video != nil
        let found = tracks
            ? try await openedTracker(asked).verify(store: store) : try await opened(asked).verify(store: store)
        for figure in found.trials.flatMap(\.figures) { print(figure) }
        print("\(found)\n  times of this computer, not of a phone")
        guard found.chosen != nil else {
            throw SegmentAnythingError.bundle("the masks differ from the published network's")
        }
    }

    private static func time(_ sam: SegmentAnything, _ asked: Arguments, _ earlier: Tensor?) async throws {
        let picture = try readPicture(asked.picture)
        var (images, clicks): ([Duration], [Duration]) = ([], [])
        let clock = ContinuousClock()
        for _ in 0..<asked.times {
            images.append(try await clock.measure { try await sam.setImage(picture) })
            clicks.append(
                try await clock.measure {
                    _ = try await sam.predict(asked.prompts, mask: earlier, multimask: asked.multimask)
                })
        }
        print("setImage \(median(images)) ms, predict \(median(clicks)) ms: medians of \(asked.times) here")
    }

    private static func median(_ times: [Duration]) -> String {
        let (seconds, atto) = times.sorted()[times.count / 2].components
        return String(format: "%.2f", Double(seconds) * 1e3 + Double(atto) * 1e-15)
    }

}

/// Prints a mask, and writes it into a file of its own if one was asked for.
func show(_ mask: Mask, _ at: Int, of count: Int, _ url: URL?) throws {
    print("mask \(at): \(String(format: "%.3f", mask.score)), \(mask.area) pixels")
    guard let url else { return }
    let file = count == 1 ? url : numbered(url, at)
    try writeMask(mask, to: file)
    print(file.path)
}

private func numbered(_ url: URL, _ at: Int) -> URL {
    let stem = url.deletingPathExtension()
    return stem.deletingLastPathComponent()
        .appendingPathComponent("\(stem.lastPathComponent)_\(at).\(url.pathExtension)")
}
