import Foundation
import Pictures
import SegmentAnythingOnnx

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
        let engine = try OnnxRuntimeEngine(library: asked.library, threads: asked.threads)
        let sam = try SegmentAnything(bundle: asked.bundle, engine: engine)
        let earlier = try asked.maskInput.map(readLogits)
        try await sam.setImage(try readPicture(asked.picture))
        let masks = try sam.predict(asked.prompts, mask: earlier, multimask: asked.multimask)
        for (at, mask) in masks.enumerated() {
            print("mask \(at): \(String(format: "%.3f", mask.score)), \(mask.area) pixels")
            guard let url = asked.mask else { continue }
            let file = masks.count == 1 ? url : numbered(url, at)
            try writeMask(mask, to: file)
            print(file.path)
        }
    }

    private static func numbered(_ url: URL, _ at: Int) -> URL {
        let stem = url.deletingPathExtension()
        return stem.deletingLastPathComponent()
            .appendingPathComponent("\(stem.lastPathComponent)_\(at).\(url.pathExtension)")
    }
}
