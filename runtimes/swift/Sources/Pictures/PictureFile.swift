import Foundation
import SegmentAnythingCore

/// Reads a PNG or a binary PPM of 8 bits, upright; transparency is dropped.
///
/// - Throws: `SegmentAnythingError.image` if it is missing, damaged, or of another kind.
public func readPicture(_ url: URL) throws -> Picture {
    guard let data = try? Data(contentsOf: url) else {
        throw SegmentAnythingError.image("\(url.path) is missing or cannot be read")
    }
    let bytes = [UInt8](data)
    do {
        if bytes.starts(with: pngSignature) { return try PNGReader(bytes).picture() }
        if bytes.starts(with: [0x50, 0x36]) { return try readPPM(bytes) }
    } catch let fault as PictureFault {
        throw SegmentAnythingError.image("\(url.path) \(fault.text)")
    }
    throw SegmentAnythingError.image("\(url.path) is no PNG and no PPM (P6): save it as PNG")
}

/// Why a picture's bytes cannot be read; the file's name comes before it.
struct PictureFault: Error {
    let text: String
}

/// Reads P6: width, height and 255 in text, then the pixels.
private func readPPM(_ bytes: [UInt8]) throws -> Picture {
    var at = 2
    var numbers: [Int] = []
    while numbers.count < 3 {
        guard at < bytes.count else { throw PictureFault(text: "is not whole") }
        switch bytes[at] {
        case 0x23: while at < bytes.count, bytes[at] != 0x0a { at += 1 }
        case 0x30...0x39:
            var number = 0
            while at < bytes.count, 0x30...0x39 ~= bytes[at], number < 1 << 32 {
                number = number * 10 + Int(bytes[at] - 0x30)
                at += 1
            }
            numbers.append(number)
        case 0x09, 0x0a, 0x0d, 0x20: at += 1
        default: throw PictureFault(text: "has a damaged header")
        }
    }
    guard numbers[2] == 255 else { throw PictureFault(text: "has not 8 bits a colour: save it as PNG") }
    let (width, height) = (numbers[0], numbers[1])
    guard width <= 65_535, height <= 65_535, bytes.count - at - 1 >= width * height * 3 else {
        throw PictureFault(text: "is not whole")
    }
    return try Picture(
        width: width, height: height, rgb: Array(bytes[(at + 1)..<(at + 1 + width * height * 3)]))
}
