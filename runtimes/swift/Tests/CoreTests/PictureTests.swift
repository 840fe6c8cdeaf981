import Foundation
import SegmentAnythingCore
import Testing

@testable import Pictures

private func file(_ bytes: [UInt8], _ name: String) throws -> URL {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    let url = folder.appendingPathComponent(name)
    try Data(bytes).write(to: url)
    return url
}

private func ppm(_ header: String, _ pixels: Int) -> [UInt8] {
    Array(header.utf8) + (0..<pixels * 3).map { UInt8($0 % 256) }
}

@Suite struct PictureTests {
    @Test func ppmWithAComment() throws {
        let picture = try readPicture(file(ppm("P6\n# made by hand\n3 2\n255\n", 6), "a.ppm"))
        #expect((picture.width, picture.height) == (3, 2))
        #expect(picture.rgb == (0..<18).map { UInt8($0) })
    }

    @Test(arguments: ["P6 3 2 255\n", "P6 3 2 65535\n", "P6 0 2 255\n", "P6 x", "P5 3 2 255\n", "P6 99999999999999999999 2 255\n", ""])
    func whatIsNoPPMIsRefused(_ header: String) throws {
        let url = try file(ppm(header, 5), "a.ppm")
        let error = try #require(throws: SegmentAnythingError.self) { try readPicture(url) }
        guard case .image = error else {
            Issue.record("\(error)")
            return
        }
    }

    /// Of each type of colour, with every number of bits; those that PNG does not have are refused.
    @Test(arguments: [0, 2, 3, 4, 6], [1, 2, 3, 4, 8])
    func bitsOfAColour(_ colour: UInt8, _ depth: UInt8) throws {
        let header: [UInt8] = [0, 0, 0, 40, 0, 0, 0, 30, depth, colour, 0, 0, 0]
        let palette = (0..<768).map { UInt8($0 / 3) }
        let channels = [2: 3, 4: 2, 6: 4][colour] ?? 1, line = (40 * channels * Int(depth) + 7) / 8
        let rows = try #require(packed([UInt8](repeating: 0, count: 30 * (line + 1))))
        let file =
            pngSignature + chunk("IHDR", header) + chunk("PLTE", palette) + chunk("IDAT", rows)
            + chunk("IEND", [])
        let reading = { try PNGReader(file).picture() }
        guard depth == 8 || depth != 3 && [0, 3].contains(colour) else {
            let fault = try #require(throws: PictureFault.self) { try reading() }
            #expect(fault.text == "has a damaged header")
            return
        }
        #expect(try reading().rgb == [UInt8](repeating: 0, count: 3600))
    }

    @Test func aDamagedOrientationIsUpright() {
        #expect(exifOrientation([]) == 1)
        #expect(exifOrientation(Array("II*\0".utf8) + [255, 255, 255, 255]) == 1)
        let head: [UInt8] = [0x4d, 0x4d, 0, 42, 0, 0, 0, 8, 0, 1]
        #expect(exifOrientation(head + [1, 0x12, 0, 3, 0, 0, 0, 1, 0, 6, 0, 0]) == 6)
        #expect(exifOrientation(head + [1, 0x12, 0, 3, 0, 0, 0, 1, 0, 9, 0, 0]) == 1)
    }

    @Test func aNameWithALineBreakStaysOnOneLine() throws {
        let url = URL(fileURLWithPath: "/nowhere/dog\n\u{1b}[2J.png")
        let error = try #require(throws: SegmentAnythingError.self) { try readPicture(url) }
        #expect(error.message == #"/nowhere/dog\u{a}\u{1b}[2J.png is missing or cannot be read"#)
    }

    @Test func aMissingPictureIsNamed() {
        let url = URL(fileURLWithPath: "/nowhere/dog.png")
        #expect(throws: SegmentAnythingError.image("/nowhere/dog.png is missing or cannot be read")) {
            try readPicture(url)
        }
    }
}
