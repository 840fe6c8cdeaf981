import CZlib
import Foundation
import SegmentAnythingCore

/// Writes a mask as a grey PNG of 0 and 255, whole or not at all.
///
/// - Throws: `SegmentAnythingError.request` if it cannot be written.
public func writeMask(_ mask: Mask, to url: URL) throws {
    var raw = [UInt8](repeating: 0, count: mask.height * (mask.width + 1))
    for y in 0..<mask.height {
        for x in 0..<mask.width { raw[y * (mask.width + 1) + 1 + x] = mask.pixels[y * mask.width + x] * 255 }
    }
    guard let packed = packed(raw) else {
        throw SegmentAnythingError.request("\(url.path) cannot be compressed")
    }
    let header = bytes(mask.width) + bytes(mask.height) + [8, 0, 0, 0, 0]
    let file = pngSignature + chunk("IHDR", header) + chunk("IDAT", packed) + chunk("IEND", [])
    do { try Data(file).write(to: url, options: .atomic) } catch {
        throw SegmentAnythingError.request("cannot write \(url.path)")
    }
}

/// Compresses as zlib does; nil if it cannot.
func packed(_ raw: [UInt8]) -> [UInt8]? {
    var length = compressBound(uLong(raw.count))
    var made = [UInt8](repeating: 0, count: Int(length))
    guard compress(&made, &length, raw, uLong(raw.count)) == Z_OK else { return nil }
    return Array(made.prefix(Int(length)))
}

private func bytes(_ number: Int) -> [UInt8] {
    (0..<4).map { UInt8(truncatingIfNeeded: number >> (24 - 8 * $0)) }
}

func chunk(_ name: String, _ body: [UInt8]) -> [UInt8] {
    let named = Array(name.utf8) + body
    return bytes(body.count) + named + bytes(checksum(named[...]))
}
