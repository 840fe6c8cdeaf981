#if canImport(CoreML)
    import CoreGraphics
    import CoreML
    import CoreVideo
    import Foundation
    import SegmentAnythingCore

    extension SegmentAnything {
        /// Reads and verifies a Core ML or Core AI bundle. Its graphs are loaded by the first `setImage`, or
        /// by `load`; the form that the first load makes for the device is kept.
        ///
        /// - Parameter placement: where it computes; nil for what `verify` chose on this device, or every unit.
        /// - Throws: `SegmentAnythingError.bundle` if the bundle is not as it was exported, `.request` if this
        ///   system cannot run it, or not there.
        public convenience init(
            bundle url: URL, placement: Placement? = nil, verify: Bool = true
        ) throws {
            try self.init(bundle: url, engines: systemEngines(), placement: placement, verify: verify)
        }

        /// Takes the best bundle that this system can run: Core AI's on 27 and later, else Core ML's; none of
        /// which `verify` found here that it agrees on no placement.
        ///
        /// - Parameter urls: of one variant, as `sam-export --target apple` writes them.
        /// - Throws: as the other `init`; `.request` if it can run none.
        public convenience init(bundles urls: [URL], verify: Bool = true) throws {
            try self.init(bundles: urls, engines: systemEngines(), verify: verify)
        }

        /// Takes an image; see `setImage(_:)` of a `Picture`.
        public func setImage(_ image: CGImage) async throws { try await setImage { try Picture(image) } }

        /// Takes a camera's picture, 32BGRA, as it lies in the buffer. It is copied at once: a camera has few
        /// buffers, and waits for them.
        public func setImage(_ buffer: sending CVPixelBuffer) async throws {
            try await setImage(Picture(buffer))
        }

        /// Finds everything in an image; see `everything(in:)` of a `Picture`.
        public func everything(
            in image: CGImage, method: EverythingMethod = .grid(), keepPartial: Bool = false,
            progress: @escaping @Sendable (EverythingProgress) -> Void = { _ in }
        ) async throws -> Everything {
            try await everything(
                in: try Picture(image), method: method, keepPartial: keepPartial, progress: progress)
        }
    }
#endif

#if canImport(CoreML)
    extension Tracker {
        /// Reads and verifies a Core ML or Core AI bundle of `sam-export --video`. Frames are `Picture`s, which
        /// a `CGImage`, a `UIImage` or a camera's `CVPixelBuffer` becomes by `Picture(...)`.
        ///
        /// - Parameters:
        ///   - placement: where it computes; nil for what `verify` chose on this device, or every unit.
        ///   - turns: whether frames will be tracked both ways from the first prompt; costs memory.
        ///   - maxObjects: more are refused: each has a bank of its own.
        /// - Throws: `SegmentAnythingError.bundle` if the bundle is not as it was exported, or has no memory;
        ///   `.request` if this system cannot run it, or not there.
        public convenience init(
            bundle url: URL, placement: Placement? = nil, turns: Bool = false, maxObjects: Int = 16,
            verify: Bool = true
        ) throws {
            try self.init(
                bundle: url, engines: systemEngines(), placement: placement, turns: turns, maxObjects: maxObjects,
                verify: verify)
        }
    }
#endif

#if canImport(CoreML)
    /// The runtimes of this system, the best first.
    private func systemEngines() throws -> [any Engine] {
        #if canImport(CoreAI)
            if #available(iOS 27, macOS 27, *) {
                return [try CoreAIEngine(), try CoreMLEngine()]
            }
        #endif
        return [try CoreMLEngine()]
    }
#endif

#if canImport(UIKit) && canImport(CoreML)
    import UIKit

    extension SegmentAnything {
        /// Takes an image as it is shown, turned by its orientation.
        public func setImage(_ image: UIImage) async throws { try await setImage { try Picture(image) } }

        /// Finds everything in an image as it is shown, turned by its orientation.
        public func everything(
            in image: UIImage, method: EverythingMethod = .grid(), keepPartial: Bool = false,
            progress: @escaping @Sendable (EverythingProgress) -> Void = { _ in }
        ) async throws -> Everything {
            try await everything(
                in: try Picture(image), method: method, keepPartial: keepPartial, progress: progress)
        }
    }
#endif
