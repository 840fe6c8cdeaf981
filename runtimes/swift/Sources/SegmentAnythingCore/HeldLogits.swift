import Foundation

/// Logits until suppression: in memory up to a limit, then in a file that ends with this.
final class HeldLogits {
    /// A way back to logits.
    enum Place {
        case memory([Float])
        case file(at: UInt64, count: Int)
    }

    private let most: Int
    private var bytes = 0
    private var end: UInt64 = 0
    private var file: FileHandle?
    private var path: URL?

    init(most: Int = 64 << 20) { self.most = most }

    deinit {
        try? file?.close()
        if let path { try? FileManager.default.removeItem(at: path) }
    }

    /// Holds logits. Throws `SegmentAnythingError.request` for want of room.
    func keep(_ logits: [Float]) throws -> Place {
        bytes += 4 * logits.count
        if bytes <= most { return .memory(logits) }
        return try guarded {
            let file = try opened()
            try file.seek(toOffset: end)
            try file.write(contentsOf: logits.withUnsafeBytes { Data($0) })
            defer { end += UInt64(4 * logits.count) }
            return .file(at: end, count: logits.count)
        }
    }

    func read(_ place: Place) throws -> [Float] {
        switch place {
        case .memory(let logits): return logits
        case .file(let at, let count):
            return try guarded {
                let file = try opened()
                try file.seek(toOffset: at)
                let content = try file.read(upToCount: 4 * count) ?? Data()
                guard content.count == 4 * count else { throw CocoaError(.fileReadCorruptFile) }
                return [Float](unsafeUninitializedCapacity: count) { out, filled in
                    content.copyBytes(to: UnsafeMutableRawBufferPointer(out))
                    filled = count
                }
            }
        }
    }

    private func opened() throws -> FileHandle {
        if let file { return file }
        let made = FileManager.default.temporaryDirectory.appendingPathComponent("\(UUID().uuidString).logits")
        try Data().write(to: made)
        path = made
        let handle = try FileHandle(forUpdating: made)
        file = handle
        return handle
    }

    private func guarded<T>(_ work: () throws -> T) throws -> T {
        do { return try work() } catch {
            throw SegmentAnythingError.request("masks cannot wait in a temporary file: \(error)")
        }
    }
}
