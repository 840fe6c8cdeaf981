import Foundation

/// The arrays of a file that `numpy.savez` wrote, each read when it is asked for.
public struct Npz: Sendable {
    private struct Entry {
        let offset: Int
        let packed: Int
        let count: Int
        let isDeflated: Bool
    }

    private let data: Data
    private let entries: [String: Entry]

    /// Reads the list of the arrays. Throws `SegmentAnythingError.bundle` if the file is none.
    public init(_ url: URL) throws {
        guard let data = try? Data(contentsOf: url, options: .mappedIfSafe) else {
            throw SegmentAnythingError.bundle("\(printable(url.path)) cannot be read: copy the bundle again")
        }
        self.data = data
        do { entries = try data.withUnsafeBytes(Npz.list) } catch {
            throw SegmentAnythingError.bundle("\(printable(url.path)) is no .npz: copy the bundle again")
        }
    }

    public var names: Set<String> { Set(entries.keys) }

    /// Reads an array as floats.
    ///
    /// - Parameter most: numbers that it may have.
    /// - Throws: `SegmentAnythingError.bundle` if it is missing, damaged, or has more.
    public func array(_ name: String, most: Int) throws -> Tensor {
        guard let entry = entries[name] else {
            throw SegmentAnythingError.bundle("the goldens have no \(printable(name)): export the bundle again")
        }
        do {
            let fault = UnpackFault(text: "is too large")
            guard entry.count <= most * 8 + 65_546 else { throw fault }  // before it is unpacked
            let tensor = try data.withUnsafeBytes { bytes in
                let packed = UnsafeRawBufferPointer(rebasing: bytes[entry.offset..<(entry.offset + entry.packed)])
                guard entry.isDeflated else { return try Tensor(npy: packed) }
                return try inflate(packed, count: entry.count).withUnsafeBytes { try Tensor(npy: $0) }
            }
            guard tensor.values.count <= most else { throw fault }
            return tensor
        } catch let fault as UnpackFault {
            throw SegmentAnythingError.bundle(
                "the goldens' \(printable(name)) \(fault.text): copy or export the bundle again")
        }
    }

    /// Reads a zip's directory, at its end; sizes above 4 GB are refused.
    private static func list(_ bytes: UnsafeRawBufferPointer) throws -> [String: Entry] {
        guard bytes.count >= 22 else { throw UnpackFault.damaged }
        let earliest = max(0, bytes.count - 22 - 65_535)
        guard
            let end = stride(from: bytes.count - 22, through: earliest, by: -1).first(where: {
                word(bytes, $0) == 0x0605_4b50
            })
        else { throw UnpackFault.damaged }
        var at = word(bytes, end + 16), entries: [String: Entry] = [:]
        for _ in 0..<short(bytes, end + 10) {
            guard at + 46 <= bytes.count, word(bytes, at) == 0x0201_4b50 else { throw UnpackFault.damaged }
            let lengths = (short(bytes, at + 28), short(bytes, at + 30), short(bytes, at + 32))
            let method = short(bytes, at + 10), local = word(bytes, at + 42)
            guard at + 46 + lengths.0 <= bytes.count, local + 30 <= bytes.count, [0, 8].contains(method),
                word(bytes, local) == 0x0403_4b50
            else { throw UnpackFault.damaged }
            let offset = local + 30 + short(bytes, local + 26) + short(bytes, local + 28)
            let packed = word(bytes, at + 20)
            guard offset + packed <= bytes.count else { throw UnpackFault.damaged }
            let name = String(decoding: bytes[(at + 46)..<(at + 46 + lengths.0)], as: UTF8.self)
            entries[name.hasSuffix(".npy") ? String(name.dropLast(4)) : name] = Entry(
                offset: offset, packed: packed, count: word(bytes, at + 24), isDeflated: method == 8)
            at += 46 + lengths.0 + lengths.1 + lengths.2
        }
        return entries
    }
}

private func short(_ bytes: UnsafeRawBufferPointer, _ at: Int) -> Int {
    Int(bytes[at]) | Int(bytes[at + 1]) << 8
}

private func word(_ bytes: UnsafeRawBufferPointer, _ at: Int) -> Int {
    short(bytes, at) | short(bytes, at + 2) << 16
}

extension Tensor {
    /// Reads an array that `numpy.save` wrote, of whole numbers or floats. Throws `SegmentAnythingError.bundle`.
    public init(npy data: Data) throws {
        do {
            self = try data.withUnsafeBytes { try Tensor(npy: $0) }
        } catch let fault as UnpackFault {
            throw SegmentAnythingError.bundle("an array of numpy \(fault.text)")
        }
    }

    fileprivate init(npy bytes: UnsafeRawBufferPointer) throws {
        guard bytes.count >= 12, Array(bytes.prefix(6)) == [0x93] + Array("NUMPY".utf8) else {
            throw UnpackFault(text: "is no array of numpy")
        }
        let start = bytes[6] == 1 ? 10 : 12
        let end = start + (bytes[6] == 1 ? short(bytes, 8) : word(bytes, 8))
        guard [1, 2, 3].contains(bytes[6]), end <= bytes.count else { throw UnpackFault.damaged }
        let header = String(decoding: bytes[start..<end], as: UTF8.self)
        guard header.contains("'fortran_order': False"), let open = header.firstIndex(of: "("),
            let close = header.firstIndex(of: ")"), open < close,
            let (dtype, read) = readers.first(where: { header.contains("'\($0.0)'") })
        else { throw UnpackFault(text: "is of a kind that is not read") }
        let sides = header[header.index(after: open)..<close].split(separator: ",").compactMap {
            Int($0.trimmingCharacters(in: .whitespaces))
        }
        let most = 1 << 28
        let count = sides.reduce(1) { min(most, $0) * min(most, max(0, $1)) }
        let width = Int(dtype.suffix(1)) ?? 1
        guard count <= most, bytes.count - end == count * width else { throw UnpackFault.damaged }
        let values = [Float](unsafeUninitializedCapacity: count) { out, filled in
            for at in 0..<count { out[at] = read(bytes, end + at * width) }
            filled = count
        }
        self.init(shape: sides, values: values)
    }
}

/// Type of numpy -> how a number of it is read.
private let readers: [(String, @Sendable (UnsafeRawBufferPointer, Int) -> Float)] = [
    ("<f4", { $0.loadUnaligned(fromByteOffset: $1, as: Float.self) }),
    ("|u1", { Float($0[$1]) }),
    ("|b1", { Float($0[$1]) }),
    ("<f2", { half($0.loadUnaligned(fromByteOffset: $1, as: UInt16.self)) }),
    ("<f8", { Float($0.loadUnaligned(fromByteOffset: $1, as: Double.self)) }),
    ("<i4", { Float($0.loadUnaligned(fromByteOffset: $1, as: Int32.self)) }),
    ("<i8", { Float($0.loadUnaligned(fromByteOffset: $1, as: Int64.self)) }),
]
