// What an app writes, with every entry of the package's API on Apple's systems.
import CoreGraphics
import CoreML
import CoreVideo
import Foundation
import SegmentAnything
import UIKit

@MainActor func segment(url: URL, photo: UIImage, tap: CGPoint) async throws -> CGImage? {
    let sam = try SegmentAnything(bundle: url, computeUnits: .all)       // reads and verifies the bundle
    try await sam.setImage(photo)                                        // once; also CGImage, CVPixelBuffer
    let masks = try sam.predict(points: [tap], labels: [1])              // in pixels of the photo, milliseconds
    let outline = try masks[0].polygon(tolerance: 1)                     // also .boundingBox, .iouPrediction
    let refined = try sam.predict(points: [tap], labels: [1], mask: masks[0].lowResMasks)
    print(outline.count, masks[0].boundingBox ?? .null, masks[0].iouPrediction)
    return refined[0].cgImage()
}

func frames(_ sam: SegmentAnything, _ cgImage: CGImage, _ buffer: sending CVPixelBuffer) async throws -> Mask {
    try await sam.setImage(cgImage)
    try await sam.setImage(buffer)
    let all = try sam.predict(box: CGRect(x: 1, y: 2, width: 30, height: 40), multimask: true)
    return all[all.best ?? 0]
}
