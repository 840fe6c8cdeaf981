// Declarations of Apple's CoreGraphics that the package uses, to type-check it where there is none. Nothing
// here runs. Foundation has CGRect and CGPoint on every system.
import Foundation

public final class CGColorSpace {
    public static let sRGB: String = ""
    public init?(name: String) { nil }
    fileprivate init() {}
}

public func CGColorSpaceCreateDeviceGray() -> CGColorSpace { fatalError() }

public enum CGImageAlphaInfo: UInt32, Sendable {
    case none, premultipliedLast, premultipliedFirst, last, first, noneSkipLast, noneSkipFirst, alphaOnly
}

public final class CGImage: Sendable {
    fileprivate init() {}
    public var width: Int { fatalError() }
    public var height: Int { fatalError() }
}

public final class CGContext {
    public init?(
        data: UnsafeMutableRawPointer?, width: Int, height: Int, bitsPerComponent: Int, bytesPerRow: Int,
        space: CGColorSpace, bitmapInfo: UInt32
    ) { nil }
    public var data: UnsafeMutableRawPointer? { fatalError() }
    public var bytesPerRow: Int { fatalError() }
    public func draw(_ image: CGImage, in rect: CGRect) { fatalError() }
    public func makeImage() -> CGImage? { fatalError() }
}
