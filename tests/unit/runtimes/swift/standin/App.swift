// What an app writes, with every entry of the package's API on Apple's systems.
import CoreGraphics
import CoreML
import CoreVideo
import Foundation
import SegmentAnything
import UIKit

@MainActor func segment(url: URL, cgImage: CGImage, photo: UIImage, tap: CGPoint) async throws -> [CGImage?] {
    let sam = try SegmentAnything(bundle: url, computeUnits: .all)
    try await sam.setImage(cgImage)
    let masks = try sam.predict(points: [tap], labels: [1])
    let refined = try sam.predict(points: [tap], labels: [0], mask: masks[0].lowResMasks)
    try await sam.setImage(photo)
    let all = try sam.predict(box: CGRect(x: 1, y: 2, width: 30, height: 40), multimask: true)
    let outline: [[CGPoint]] = try all[all.best ?? 0].polygon(tolerance: 1)
    print(masks[0].iouPrediction, masks[0].boundingBox ?? .null, outline.count)
    return refined.map { $0.cgImage() }
}

func frames(_ sam: SegmentAnything, _ buffer: sending CVPixelBuffer) async throws {
    try await sam.setImage(buffer)
}
