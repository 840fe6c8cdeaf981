// What an app writes, with every entry of the package's API on Apple's systems.
import CoreGraphics
import CoreML
import CoreVideo
import Foundation
import SegmentAnything
import UIKit

@MainActor func segment(url: URL, photo: UIImage, tap: CGPoint) async throws -> CGImage? {
    let sam = try SegmentAnything(bundle: url)                           // reads and verifies the bundle
    try await sam.setImage(photo)                                        // once; also CGImage, CVPixelBuffer
    let masks = try await sam.predict(points: [tap], labels: [1])        // in pixels of the photo, milliseconds
    let outline = try masks[0].polygon(tolerance: 1)                     // also .boundingBox, .iouPrediction
    let refined = try await sam.predict(points: [tap], labels: [1], mask: masks[0].lowResMasks)
    print(outline.count, masks[0].boundingBox ?? .null, masks[0].iouPrediction)
    return refined[0].cgImage()
}

func check(coreML: URL, coreAI: URL) async throws -> SegmentAnything {
    let sam = try SegmentAnything(bundles: [coreAI, coreML])             // the best that this system runs
    let found = try await sam.verify()                                   // once a device and system; then remembered
    if found.chosen == nil { print("no placement is right here: do not use the bundle") }
    for trial in found.refused { print(trial.placement, trial.refusal!) }
    print(sam.placement, try await sam.load())                           // seconds of each graph, kept or made
    return sam
}

func everything(_ sam: SegmentAnything, in photo: UIImage) async throws -> [CGImage?] {
    let found = try await sam.everything(in: photo, method: .grid(pointsPerSide: 16)) { progress in
        print(progress.done, "of", progress.planned)                     // not on the main thread
    }
    let masks = found.segments.map { $0.mask.cgImage() }                 // also .area, .bbox, .predictedIou, .cocoCounts
    let labels = found.labels()                                          // one number a pixel, small masks on large
    return labels.isEmpty ? [] : masks
}

final class Button { var action: () -> Void = {} }

func stoppable(_ sam: SegmentAnything, in photo: UIImage, _ stopButton: Button) async throws -> [Segment] {
    let finding = Task { try await sam.everything(in: photo, method: .proposed(fast: true), keepPartial: true) }
    stopButton.action = { finding.cancel() }
    let found = try await finding.value                                  // what was found until then
    if found.partial { print(found.asked.prompts, "of", found.asked.planned) }
    found.notes.forEach { print($0) }                                    // what fast cost
    return found.segments
}

func follow(_ url: URL, _ image: CGImage, _ later: UIImage, tap: CGPoint, miss: CGPoint) async throws -> Mask? {
    let (frame, next) = (try Picture(image), try Picture(later))
    let tracker = try Tracker(bundle: url)                               // maxObjects: 16, turns: false (both ways)
    try await tracker.start(frame)                                       // a Picture: of a CGImage, UIImage, CVPixelBuffer
    try await tracker.addObject("dog", points: [tap], labels: [1])       // or box:, or ObjectPrompt(mask)
    let dog = try await tracker.track(next)["dog"]                       // .mask(), .score, .present, .lowResMask
    try await tracker.correct("dog", points: [miss], labels: [0])        // improves this frame's mask
    return dog?.mask()
}

func boxes(_ sam: SegmentAnything, in image: CGImage, of fastSam: SegmentAnything) async throws -> Int {
    let found = try await sam.everything(in: image, method: .objectAware(detector: fastSam))
    return try await found.segments.count + sam.everything(in: image).segments.count
}

func frames(_ sam: SegmentAnything, _ cgImage: CGImage, _ buffer: sending CVPixelBuffer) async throws -> Mask {
    try await sam.setImage(cgImage)
    try await sam.setImage(buffer)
    let all = try await sam.predict(box: CGRect(x: 1, y: 2, width: 30, height: 40), multimask: true)
    return all[all.best ?? 0]
}

func elsewhere(_ url: URL) throws -> [SegmentAnything] {
    var made = [try SegmentAnything(bundle: url, placement: .cpuAndGPU)]
    made.append(try SegmentAnything(bundle: url, engine: CoreMLEngine(placement: .cpuOnly)))
    if #available(iOS 27, macOS 27, *) {
        made.append(try SegmentAnything(bundle: url, engine: CoreAIEngine(placement: .preferNeuralEngine)))
    }
    return made
}

/// Foundation's `Bundle` means itself beside the package.
func shipped(in app: Bundle) throws -> SegmentAnything {
    try SegmentAnything(bundle: app.bundleURL.appendingPathComponent("demo-coreml-fp16"))
}
