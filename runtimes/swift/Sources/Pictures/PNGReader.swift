import CZlib
import Foundation
import SegmentAnythingCore

let pngSignature: [UInt8] = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]

/// Decodes a PNG of up to 8 bits that is not interlaced.
struct PNGReader {
    private var width = 0
    private var height = 0
    private var depth = 0
    private var colour = 0
    private var palette: [UInt8] = []
    private var compressed: [UInt8] = []
    private var orientation = 1

    /// Values of a pixel, by type of colour: grey, RGB, palette, grey and alpha, RGB and alpha.
    private static let channels = [0: 1, 2: 3, 3: 1, 4: 2, 6: 4]

    init(_ bytes: [UInt8]) throws {
        var at = pngSignature.count
        while at + 12 <= bytes.count {
            let length = word(bytes, at)
            guard at + 12 + length <= bytes.count else { break }
            let body = bytes[(at + 8)..<(at + 8 + length)]
            guard word(bytes, at + 8 + length) == checksum(bytes[(at + 4)..<(at + 8 + length)]) else {
                throw PictureFault(text: "is damaged: a checksum does not fit")
            }
            switch String(decoding: bytes[(at + 4)..<(at + 8)], as: UTF8.self) {
            case "IHDR": try header(Array(body))
            case "PLTE": palette = Array(body)
            case "IDAT": compressed += body
            case "eXIf": orientation = exifOrientation(Array(body))
            case "IEND": return
            default: break
            }
            at += 12 + length
        }
        throw PictureFault(text: "is not whole")
    }

    private mutating func header(_ body: [UInt8]) throws {
        guard body.count == 13 else { throw PictureFault(text: "has a damaged header") }
        (width, height) = (word(body, 0), word(body, 4))
        (depth, colour) = (Int(body[8]), Int(body[9]))
        guard depth <= 8 else { throw PictureFault(text: "has 16 bits a colour: save it with 8") }
        guard body[12] == 0 else { throw PictureFault(text: "is interlaced: save it without") }
        guard 1...65_535 ~= width, 1...65_535 ~= height, width * height <= 180_000_000 else {
            throw PictureFault(text: "is \(width) x \(height): too large, or without pixels")
        }
        // Fewer bits than 8 are of grey and of palettes alone.
        guard PNGReader.channels[colour] != nil, depth == 8 || [1, 2, 4].contains(depth) && [0, 3].contains(colour)
        else { throw PictureFault(text: "has a damaged header") }
    }

    func picture() throws -> Picture {
        guard width > 0, let channels = PNGReader.channels[colour] else { throw PictureFault(text: "has no header") }
        let line = (width * channels * depth + 7) / 8
        var raw = [UInt8](repeating: 0, count: height * (line + 1))
        var length = uLong(raw.count)
        let status = uncompress(&raw, &length, compressed, uLong(compressed.count))
        guard status == Z_OK, length == raw.count else { throw PictureFault(text: "is damaged") }
        try unfilter(&raw, line, step: max(1, channels * depth / 8))
        return try Picture(width: width, height: height, rgb: try colours(raw, line, channels))
            .upright(orientation)
    }

    /// Undoes the filter of every line, in place.
    private func unfilter(_ raw: inout [UInt8], _ line: Int, step: Int) throws {
        for y in 0..<height {
            let at = y * (line + 1) + 1, above = at - line - 1
            let filter = raw[at - 1]
            guard filter <= 4 else { throw PictureFault(text: "is damaged") }
            if filter == 0 { continue }
            for x in 0..<line {
                let left = x >= step ? Int(raw[at + x - step]) : 0
                let up = y > 0 ? Int(raw[above + x]) : 0
                let corner = x >= step && y > 0 ? Int(raw[above + x - step]) : 0
                let guess =
                    switch filter {
                    case 1: left
                    case 2: up
                    case 3: (left + up) / 2
                    default: paeth(left, up, corner)
                    }
                raw[at + x] = raw[at + x] &+ UInt8(guess)
            }
        }
    }

    private func colours(_ raw: [UInt8], _ line: Int, _ channels: Int) throws -> [UInt8] {
        var rgb = [UInt8](repeating: 0, count: width * height * 3)
        for y in 0..<height {
            for x in 0..<width {
                let to = (y * width + x) * 3
                if channels >= 3 {
                    let from = y * (line + 1) + 1 + x * channels
                    for channel in 0..<3 { rgb[to + channel] = raw[from + channel] }
                    continue
                }
                let value = sample(raw, y * (line + 1) + 1, x * channels)
                if colour == 3 {
                    guard value * 3 + 2 < palette.count else { throw PictureFault(text: "is damaged") }
                    for channel in 0..<3 { rgb[to + channel] = palette[value * 3 + channel] }
                } else {
                    let grey = UInt8(value * 255 / ((1 << depth) - 1))
                    for channel in 0..<3 { rgb[to + channel] = grey }
                }
            }
        }
        return rgb
    }

    private func sample(_ raw: [UInt8], _ line: Int, _ place: Int) -> Int {
        let bit = place * depth
        return Int(raw[line + bit / 8]) >> (8 - depth - bit % 8) & ((1 << depth) - 1)
    }
}

private func paeth(_ left: Int, _ up: Int, _ corner: Int) -> Int {
    let guess = left + up - corner
    let (a, b, c) = (abs(guess - left), abs(guess - up), abs(guess - corner))
    return a <= b && a <= c ? left : b <= c ? up : corner
}

func word(_ bytes: [UInt8], _ at: Int) -> Int {
    (0..<4).reduce(0) { $0 << 8 | Int(bytes[at + $1]) }
}

func checksum(_ bytes: ArraySlice<UInt8>) -> Int {
    bytes.withUnsafeBufferPointer { Int(crc32(0, $0.baseAddress, uInt($0.count))) }
}

/// Finds how a picture was held, 1...8; 1 if its EXIF says nothing that can be read.
func exifOrientation(_ tiff: [UInt8]) -> Int {
    guard tiff.count >= 8, tiff.starts(with: [0x49, 0x49]) || tiff.starts(with: [0x4d, 0x4d]) else { return 1 }
    let little = tiff[0] == 0x49
    func number(_ at: Int, _ count: Int) -> Int? {
        guard at >= 0, at + count <= tiff.count else { return nil }
        let part = tiff[at..<(at + count)].map(Int.init)
        return (little ? part.reversed() : part).reduce(0) { $0 << 8 | $1 }
    }
    guard let directory = number(4, 4), let entries = number(directory, 2) else { return 1 }
    for entry in 0..<entries {
        let at = directory + 2 + 12 * entry
        guard let tag = number(at, 2) else { return 1 }
        if tag == 0x0112, let found = number(at + 8, 2), 1...8 ~= found { return found }
    }
    return 1
}
