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
