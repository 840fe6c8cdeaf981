// Declarations of Apple's UIKit that the package uses, to type-check it where there is none. Nothing here
// runs.
import CoreGraphics
import Foundation

public final class UIImage: Sendable {
    public enum Orientation: Int, Sendable {
        case up, down, left, right, upMirrored, downMirrored, leftMirrored, rightMirrored
    }
    fileprivate init() {}
    public var cgImage: CGImage? { fatalError() }
    public var imageOrientation: Orientation { fatalError() }
}
