#if canImport(CoreVideo)
    import CoreVideo
    import Foundation
    import SegmentAnythingCore

    /// Square 32BGRA buffers that the Neural Engine reads without a copy; a pool reuses their memory.
    final class PixelBuffers: @unchecked Sendable {
        let side: Int
        private let pool: CVPixelBufferPool

        init(side: Int) throws {
            let attributes: [String: Any] = [
                kCVPixelBufferPixelFormatTypeKey as String: kCVPixelFormatType_32BGRA,
                kCVPixelBufferWidthKey as String: side,
                kCVPixelBufferHeightKey as String: side,
                kCVPixelBufferIOSurfacePropertiesKey as String: [String: Any](),
            ]
            var made: CVPixelBufferPool?
            let status = CVPixelBufferPoolCreate(nil, nil, attributes as CFDictionary, &made)
            guard status == kCVReturnSuccess, let made else {
                throw SegmentAnythingError.image("no pixel buffers of \(side) x \(side): status \(status)")
            }
            (self.side, pool) = (side, made)
        }

        /// Copies RGB bytes, row by row: a buffer's rows may be longer than the picture's.
        func filled(_ rgb: [UInt8]) throws -> CVPixelBuffer {
            var made: CVPixelBuffer?
            let status = CVPixelBufferPoolCreatePixelBuffer(nil, pool, &made)
            guard status == kCVReturnSuccess, let buffer = made else {
                throw SegmentAnythingError.image("no pixel buffer: status \(status)")
            }
            try withRows(of: buffer, readOnly: false) { memory, stride in
                for y in 0..<side {
                    for x in 0..<side {
                        let from = (y * side + x) * 3, to = y * stride + x * 4
                        memory[to] = rgb[from + 2]
                        memory[to + 1] = rgb[from + 1]
                        memory[to + 2] = rgb[from]
                        memory[to + 3] = 255
                    }
                }
            }
            return buffer
        }
    }

    extension Picture {
        /// Copies a 32BGRA pixel buffer, such as a camera's.
        ///
        /// - Throws: `SegmentAnythingError.image` if it is of another format.
        public init(_ buffer: CVPixelBuffer) throws {
            guard CVPixelBufferGetPixelFormatType(buffer) == kCVPixelFormatType_32BGRA else {
                throw SegmentAnythingError.image(
                    "a pixel buffer has to be 32BGRA: set it in the capture output's videoSettings")
            }
            let width = CVPixelBufferGetWidth(buffer), height = CVPixelBufferGetHeight(buffer)
            var rgb = [UInt8](repeating: 0, count: width * height * 3)
            try withRows(of: buffer, readOnly: true) { memory, stride in
                for y in 0..<height {
                    for x in 0..<width {
                        let from = y * stride + x * 4, to = (y * width + x) * 3
                        rgb[to] = memory[from + 2]
                        rgb[to + 1] = memory[from + 1]
                        rgb[to + 2] = memory[from]
                    }
                }
            }
            try self.init(width: width, height: height, rgb: rgb)
        }
    }

    /// Gives a buffer's bytes and those of a row.
    private func withRows(
        of buffer: CVPixelBuffer, readOnly: Bool, _ body: (UnsafeMutablePointer<UInt8>, Int) -> Void
    ) throws {
        let flags: CVPixelBufferLockFlags = readOnly ? .readOnly : []
        guard CVPixelBufferLockBaseAddress(buffer, flags) == kCVReturnSuccess else {
            throw SegmentAnythingError.image("a pixel buffer cannot be locked")
        }
        defer { CVPixelBufferUnlockBaseAddress(buffer, flags) }
        guard let base = CVPixelBufferGetBaseAddress(buffer) else {
            throw SegmentAnythingError.image("a pixel buffer has no memory")
        }
        body(base.assumingMemoryBound(to: UInt8.self), CVPixelBufferGetBytesPerRow(buffer))
    }
#endif
