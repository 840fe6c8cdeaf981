import Foundation
import Testing

@testable import RunnerCore

@Suite struct PackTests {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)

    init() throws { try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true) }

    @Test func whatGoesInComesOut() throws {
        let pack = folder.appendingPathComponent("a.pack")
        let big = Data((0..<1_100_000).map { UInt8(truncatingIfNeeded: $0) })
        try Pack.write([("a/b.bin", big), ("empty", Data())], to: pack)
        let found = try Pack.unpack(pack, into: folder.appendingPathComponent("out"))
        #expect(found.keys.sorted() == ["a/b.bin", "empty"])
        let file = folder.appendingPathComponent("out/a/b.bin")
        #expect(try Data(contentsOf: file) == big)
        #expect(Pack.hash(file) == found["a/b.bin"])
    }

    @Test func aCutPackLeavesNoHalfFile() throws {
        let pack = folder.appendingPathComponent("a.pack")
        try Pack.write([("a", Data(repeating: 7, count: 1000))], to: pack)
        let whole = try Data(contentsOf: pack)
        for length in [0, 4, 12, 20, whole.count - 1] {
            try whole.prefix(length).write(to: pack)
            let out = folder.appendingPathComponent("out\(length)")
            #expect(throws: RunnerError.self) { try Pack.unpack(pack, into: out) }
            #expect((try? FileManager.default.contentsOfDirectory(atPath: out.path)) ?? [] == [])
        }
    }

    @Test func aDamagedFileIsNotTaken() throws {
        let pack = folder.appendingPathComponent("a.pack")
        try Pack.write([("a", Data(repeating: 7, count: 1000))], to: pack)
        var raw = try Data(contentsOf: pack)
        raw[raw.count - 1] = 8
        try raw.write(to: pack)
        #expect(throws: RunnerError("a was damaged on its way")) { try Pack.unpack(pack, into: folder) }
    }

    @Test func noFileGoesOutside() throws {
        let pack = folder.appendingPathComponent("a.pack")
        for name in ["../b", "/b", "a/../../b", "", "a//b"] {
            try Pack.write([(name, Data([1]))], to: pack)
            #expect(throws: RunnerError.self) { try Pack.unpack(pack, into: folder.appendingPathComponent("in")) }
        }
        #expect(!FileManager.default.fileExists(atPath: folder.appendingPathComponent("b").path))
    }
}
