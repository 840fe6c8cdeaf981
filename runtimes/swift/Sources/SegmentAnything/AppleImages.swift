#if canImport(CoreGraphics)
    import CoreGraphics
    import Foundation
    import SegmentAnythingCore

    extension Picture {
        /// Decodes an image at its full size into sRGB of 8 bits. It is not resized here: Core Graphics
        /// resamples otherwise than the bundle's rules. What is transparent comes out on black.
        ///
        /// - Throws: `SegmentAnythingError.image` if there is no memory for it.
        public init(_ image: CGImage) throws {
            let width = image.width, height = image.height
            guard let space = CGColorSpace(name: CGColorSpace.sRGB),
                let context = CGContext(
                    data: nil, width: width, height: height, bitsPerComponent: 8, bytesPerRow: 0,
                    space: space, bitmapInfo: CGImageAlphaInfo.noneSkipLast.rawValue)
            else { throw SegmentAnythingError.image("no memory for an image of \(width) x \(height)") }
            context.draw(image, in: CGRect(x: 0, y: 0, width: width, height: height))
            guard let data = context.data else {
                throw SegmentAnythingError.image("an image of \(width) x \(height) cannot be decoded")
            }
            let memory = data.assumingMemoryBound(to: UInt8.self)
            var rgb = [UInt8](repeating: 0, count: width * height * 3)
            for y in 0..<height {
                for x in 0..<width {
                    let from = y * context.bytesPerRow + x * 4, to = (y * width + x) * 3
                    rgb[to] = memory[from]
                    rgb[to + 1] = memory[from + 1]
                    rgb[to + 2] = memory[from + 2]
                }
            }
            try self.init(width: width, height: height, rgb: rgb)
        }
    }

    extension Mask {
        /// Makes a grey image, white inside; nil if there is no memory.
        public func cgImage() -> CGImage? {
            guard
                let context = CGContext(
                    data: nil, width: width, height: height, bitsPerComponent: 8, bytesPerRow: 0,
                    space: CGColorSpaceCreateDeviceGray(), bitmapInfo: CGImageAlphaInfo.none.rawValue),
                let data = context.data
            else { return nil }
            let memory = data.assumingMemoryBound(to: UInt8.self)
            for y in 0..<height {
                for x in 0..<width {
                    memory[y * context.bytesPerRow + x] = pixels[y * width + x] == 0 ? 0 : 255
                }
            }
            return context.makeImage()
        }
    }
#endif

#if canImport(UIKit)
    import UIKit

    extension Picture {
        /// Decodes an image as it is shown, turned by its orientation.
        ///
        /// - Throws: `SegmentAnythingError.image` if it holds no pixels.
        public init(_ image: UIImage) throws {
            guard let pixels = image.cgImage else {
                throw SegmentAnythingError.image("the image has no pixels of its own: render it first")
            }
            self = try Picture(pixels).upright(Picture.exif(image.imageOrientation))
        }

        private static func exif(_ orientation: UIImage.Orientation) -> Int {
            switch orientation {
            case .up: 1
            case .upMirrored: 2
            case .down: 3
            case .downMirrored: 4
            case .leftMirrored: 5
            case .right: 6
            case .rightMirrored: 7
            case .left: 8
            @unknown default: 1
            }
        }
    }
#endif
