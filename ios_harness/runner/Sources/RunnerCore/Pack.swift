import Foundation
import SegmentAnything

/// Many files as one: `SAMPACK1`, the index's length, the index, the contents. ios_harness/pack.py is the twin.
public enum Pack {
    static let magic = Data("SAMPACK1".utf8)
    static let mostIndex = 16 << 20
    private static let part = 1 << 20

    struct Entry: Codable {
        let name: String
        let size: Int
        let sha256: String
    }

    private struct Index: Codable { let files: [Entry] }

    /// Unpacks into a folder. A file takes its name when its hash was proved; others are left as they are.
    ///
    /// - Returns: name -> sha256.
    /// - Throws: `RunnerError` for a pack that is none, cut short or damaged.
    @discardableResult
    public static func unpack(_ url: URL, into folder: URL) throws -> [String: String] {
        guard let file = try? FileHandle(forReadingFrom: url) else { throw RunnerError("no pack has arrived") }
        defer { try? file.close() }
        let cut = RunnerError("the pack is cut short")
        guard try file.read(upToCount: magic.count) == magic, let length = try file.read(upToCount: 8),
            length.count == 8
        else { throw RunnerError("the pack is none") }
        let count = length.reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        guard count <= mostIndex, let raw = try file.read(upToCount: Int(count)), raw.count == Int(count),
            let index = try? JSONDecoder().decode(Index.self, from: raw)
        else { throw cut }
        var found: [String: String] = [:]
        for entry in index.files {
            let target = folder.appendingPathComponent(try inside(entry.name))
            try write(entry, from: file, to: target)
            found[entry.name] = entry.sha256
        }
        return found
    }

    private static func write(_ entry: Entry, from file: FileHandle, to target: URL) throws {
        let manager = FileManager.default
        try manager.createDirectory(
            at: target.deletingLastPathComponent(), withIntermediateDirectories: true)
        let arriving = target.appendingPathExtension("arriving")
        guard manager.createFile(atPath: arriving.path, contents: nil) else {
            throw RunnerError("cannot write \(entry.name): is the device full?")
        }
        var hash = Sha256()
        let output = try FileHandle(forWritingTo: arriving)
        var left = entry.size
        while left > 0 {
            guard let data = try file.read(upToCount: min(left, part)), !data.isEmpty else {
                try? output.close()
                try? manager.removeItem(at: arriving)
                throw RunnerError("the pack is cut short")
            }
            hash.update(data)
            try output.write(contentsOf: data)
            left -= data.count
        }
        try output.close()
        guard hash.finish() == entry.sha256 else {
            try? manager.removeItem(at: arriving)
            throw RunnerError("\(entry.name) was damaged on its way")
        }
        if manager.fileExists(atPath: target.path) { try manager.removeItem(at: target) }
        try manager.moveItem(at: arriving, to: target)
    }

    /// Writes a pack; it appears whole or not at all.
    public static func write(_ files: [(name: String, content: Data)], to url: URL) throws {
        let entries = files.map { Entry(name: $0.name, size: $0.content.count, sha256: sha256($0.content)) }
        let index = try JSONEncoder().encode(Index(files: entries))
        var pack = magic
        for shift in 0..<8 { pack.append(UInt8(truncatingIfNeeded: index.count >> (8 * shift))) }
        pack.append(index)
        for file in files { pack.append(file.content) }
        try pack.write(to: url, options: .atomic)
    }

    /// Hashes a file part by part; nil if it cannot be read.
    static func hash(_ url: URL) -> String? {
        guard let file = try? FileHandle(forReadingFrom: url) else { return nil }
        defer { try? file.close() }
        var hash = Sha256()
        while let data = try? file.read(upToCount: part), !data.isEmpty { hash.update(data) }
        return hash.finish()
    }
}
