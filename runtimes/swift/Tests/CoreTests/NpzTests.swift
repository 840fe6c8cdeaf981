import Foundation
import Testing

@testable import SegmentAnythingCore

/// Streams that Python's zlib wrote: `zlib.compressobj(level, zlib.DEFLATED, -15)`.
private enum Stream {
    static let stored = "AQ8A8P9hYmNhYmNhYmNhYmNhYmM="
    static let fixed = "y00szi5WyMUgE/NSFJLyK1KLAQ=="
    static let dynamic = """
        y00szi5WSMxLUUjKr0gt1lHIhQsU5GfmlRRbI4mMKhlVMqpkVMmoEoqVMDAyMbOwsrFzcHJx8/Dy8QsICgmLiIqJS0hKScvI\
        yskrKCopq6iqqWtoamnr6OrpGxgaGZuYmplbWFpZ29ja2Ts4Ojm7uLq5e3h6efv4+vkHBAYFh4SGhUdERkXHxMbFJyQmJaek\
        pqVnZGZl5+Tm5RcUFhWXlJaVV1RWVdfU1tU3NDY1t7S2tXd0dnX39Pb1T5g4afKUqdOmz5g5a/acufPmL1i4aPGSpcuWr1i5\
        avWatevWb9i4afOWrdu279i5a/eevfv2Hzh46PCRo8eOnzh56vSZs+fOX7h46fKVq9eu37h56/adu/fuP3j46PGTp8+ev3j5\
        6vWbt+/ef/j46fOXr9++//j56/efv//+AwA=
        """
    static let text =
        String(repeating: "masks and boxes, masks and points; ", count: 40).utf8.map { $0 }
        + (0...255).map { UInt8($0) }
}

private func unpack(_ bytes: [UInt8], _ count: Int) throws -> [UInt8] {
    try bytes.withUnsafeBytes { try inflate($0, count: count) }
}

private func bytes(_ text: String) throws -> [UInt8] { [UInt8](try #require(Data(base64Encoded: text))) }

@Suite struct NpzTests {
    @Test func everyKindOfBlockIsUnpacked() throws {
        #expect(try unpack(bytes(Stream.stored), 15) == Array("abcabcabcabcabc".utf8))
        #expect(try unpack(bytes(Stream.fixed), 33) == Array("masks masks masks masks and boxes".utf8))
        #expect(try unpack(bytes(Stream.dynamic), Stream.text.count) == Stream.text)
    }

    @Test(arguments: [(Stream.stored, 15), (Stream.fixed, 33), (Stream.dynamic, 1656)])
    func aDamagedStreamIsRefusedOrEnds(_ stream: String, _ count: Int) throws {
        let whole = try bytes(stream)
        for length in 0..<whole.count {
            #expect(throws: UnpackFault.self) { try unpack(Array(whole.prefix(length)), count) }
        }
        for wrong in [0, count - 1, count + 1] {
            #expect(throws: UnpackFault.self) { try unpack(whole, wrong) }
        }
        for bit in stride(from: 0, to: whole.count * 8, by: max(1, whole.count / 12)) {
            var damaged = whole
            damaged[bit / 8] ^= 1 << UInt8(bit % 8)
            let found = try? unpack(damaged, count)  // it may still be a stream; never a crash
            #expect(found == nil || found?.count == count)
        }
    }

    @Test func arraysOfNumpy() throws {
        let npz = try Npz(Case.folder.appendingPathComponent("bundles/checked/goldens.npz"))
        #expect(npz.names.contains("mask_decoder/*/has_mask_input"))
        let labels = try npz.array("mask_decoder/click_a/point_labels", most: 100)
        #expect(labels == Tensor(shape: labels.shape, filledWith: 1))
        #expect(throws: SegmentAnythingError.self) { try npz.array("mask_decoder/click_a/none", most: 100) }
        let picture = "image_encoder/scene/image"
        #expect(throws: SegmentAnythingError.bundle(
            "the goldens' \(picture) is too large: copy or export the bundle again")
        ) { try npz.array(picture, most: 1) }
    }

    @Test func aFileThatIsNoneIsRefused() throws {
        let folder = Case.folder.appendingPathComponent("bundles/checked")
        let whole = try Data(contentsOf: folder.appendingPathComponent("goldens.npz"))
        let file = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
        defer { try? FileManager.default.removeItem(at: file) }
        for length in [0, 21, 22, 100, whole.count / 2, whole.count - 1, whole.count - 30] {
            try whole.prefix(length).write(to: file)
            #expect(throws: SegmentAnythingError.self) { try Npz(file) }
        }
        var random = SystemRandomNumberGenerator()
        for _ in 0..<40 {  // the directory at the end: whatever it says, no crash
            var damaged = whole
            damaged[Int.random(in: (whole.count - 1200)..<whole.count, using: &random)] = .random(in: 0...255)
            try damaged.write(to: file)
            guard let npz = try? Npz(file) else { continue }
            for name in npz.names { _ = try? npz.array(name, most: 1 << 16) }
        }
    }

    @Test(arguments: ["", "|O1", "<c8", ">f4"]) func anotherKindOfArrayIsRefused(_ dtype: String) {
        #expect(throws: SegmentAnythingError.self) { try Tensor(npy: npy(dtype, "(2,)", [0, 0, 0, 0, 0, 0, 0, 0])) }
    }

    @Test func kindsOfNumbers() throws {
        #expect(try Tensor(npy: npy("|u1", "(2, 1)", [7, 255])) == Tensor(shape: [2, 1], values: [7, 255]))
        #expect(try Tensor(npy: npy("<f2", "(1,)", [0, 0x3c])).values == [1])
        #expect(try Tensor(npy: npy("<i4", "()", [3, 0, 0, 0])) == Tensor(shape: [], values: [3]))
        for shape in ["(3,)", "(1,)", "(-1,)", "(99999999999, 99999999999)"] {
            #expect(throws: SegmentAnythingError.self) { try Tensor(npy: npy("|u1", shape, [7, 255])) }
        }
    }

    private func npy(_ dtype: String, _ shape: String, _ content: [UInt8]) -> Data {
        let header = "{'descr': '\(dtype)', 'fortran_order': False, 'shape': \(shape), }\n"
        let start: [UInt8] = [0x93] + Array("NUMPY".utf8) + [1, 0, UInt8(header.utf8.count), 0]
        return Data(start + Array(header.utf8) + content)
    }
}
