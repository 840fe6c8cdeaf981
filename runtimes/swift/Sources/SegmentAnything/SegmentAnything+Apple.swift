#if canImport(CoreML)
    import CoreGraphics
    import CoreML
    import CoreVideo
    import Foundation
    import SegmentAnythingCore

    extension SegmentAnything {
        /// Reads and verifies a Core ML bundle. Its graphs are compiled and loaded by the first `setImage`,
        /// or by `load`; compiled ones are kept under the bundle's hash.
        ///
        /// - Throws: `SegmentAnythingError.bundle` if the bundle is not as it was exported, `.request` if it
        ///   is for another engine.
        public convenience init(
            bundle url: URL, computeUnits: MLComputeUnits = .all, verify: Bool = true
        ) throws {
            try self.init(bundle: url, engine: CoreMLEngine(computeUnits: computeUnits), verify: verify)
        }

        /// Takes an image; see `setImage(_:)` of a `Picture`.
        public func setImage(_ image: CGImage) async throws { try await setImage(Picture(image)) }

        /// Takes a camera's picture, 32BGRA, as it lies in the buffer.
        public func setImage(_ buffer: sending CVPixelBuffer) async throws {
            try await setImage(Picture(buffer))
        }
    }
#endif

#if canImport(UIKit) && canImport(CoreML)
    import UIKit

    extension SegmentAnything {
        /// Takes an image as it is shown, turned by its orientation.
        public func setImage(_ image: UIImage) async throws { try await setImage(Picture(image)) }
    }
#endif
