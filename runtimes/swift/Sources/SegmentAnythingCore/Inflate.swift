/// Why bytes cannot be unpacked.
struct UnpackFault: Error, Equatable {
    let text: String
}

/// Unpacks a DEFLATE stream (RFC 1951): Foundation has none that every system has.
///
/// - Parameters:
///   - packed: the stream, without zlib's or gzip's header.
///   - count: bytes that it has to give; no more are made, whatever the stream says.
/// - Throws: `UnpackFault` if it is damaged, or gives another count.
func inflate(_ packed: UnsafeRawBufferPointer, count: Int) throws -> [UInt8] {
    var fault: UnpackFault?
    let bytes = [UInt8](unsafeUninitializedCapacity: count) { out, filled in
        var stream = Inflating(bits: Bits(packed), out: out)
        do { try stream.run() } catch { fault = error as? UnpackFault ?? .damaged }
        filled = stream.at
    }
    if let fault { throw fault }
    guard bytes.count == count else { throw UnpackFault.damaged }
    return bytes
}

extension UnpackFault {
    static let damaged = UnpackFault(text: "is damaged")
}

/// Reads bits, the lowest of a byte first.
private struct Bits {
    private let bytes: UnsafeRawBufferPointer
    private var next = 0
    private var held: UInt64 = 0
    private var count = 0

    init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    /// Looks at the next 16 bits at least; those after the end are 0.
    @inline(__always)
    mutating func peek() -> Int {
        while count <= 48, next < bytes.count {
            held |= UInt64(bytes[next]) << UInt64(count)
            next += 1
            count += 8
        }
        return Int(truncatingIfNeeded: held)
    }

    @inline(__always)
    mutating func skip(_ bits: Int) throws {
        guard bits <= count else { throw UnpackFault.damaged }
        held >>= UInt64(bits)
        count -= bits
    }

    @inline(__always)
    mutating func take(_ bits: Int) throws -> Int {
        let value = peek() & ((1 << bits) - 1)
        try skip(bits)
        return value
    }

    mutating func alignToByte() throws { try skip(count % 8) }
}

/// A prefix code as a table: the next bits -> its symbol and length.
private struct Code {
    private let table: [UInt16]  // symbol << 4 | length
    private let mask: Int

    /// - Parameter lengths: of each symbol's code, 0...15; 0 if it has none.
    init(_ lengths: some Collection<UInt8>) throws {
        var counts = [Int](repeating: 0, count: 16)
        for length in lengths { counts[Int(length)] += 1 }
        counts[0] = 0
        let longest = counts.lastIndex { $0 > 0 } ?? 1
        var first = [Int](repeating: 0, count: 17), code = 0
        for length in 1...15 {
            first[length] = code
            code = (code + counts[length]) << 1
            guard code <= 2 << length else { throw UnpackFault.damaged }  // more codes than bits can tell
        }
        var table = [UInt16](repeating: 0, count: 1 << longest)
        for (symbol, length) in lengths.enumerated() where length > 0 {
            let length = Int(length), turned = reversed(first[length], length)
            first[length] += 1
            for at in stride(from: turned, to: table.count, by: 1 << length) {
                table[at] = UInt16(symbol << 4 | length)
            }
        }
        (self.table, mask) = (table, table.count - 1)
    }

    @inline(__always)
    func symbol(_ bits: inout Bits) throws -> Int {
        let entry = table[bits.peek() & mask]
        guard entry != 0 else { throw UnpackFault.damaged }
        try bits.skip(Int(entry & 15))
        return Int(entry >> 4)
    }
}

private func reversed(_ code: Int, _ length: Int) -> Int {
    (0..<length).reduce(0) { $0 << 1 | (code >> $1 & 1) }
}

private struct Inflating {
    var bits: Bits
    let out: UnsafeMutableBufferPointer<UInt8>
    var at = 0

    mutating func run() throws {
        var isLast = false
        while !isLast {
            isLast = try bits.take(1) == 1
            switch try bits.take(2) {
            case 0: try stored()
            case 1: try block(Code(Inflating.fixed), Code([UInt8](repeating: 5, count: 30)))
            case 2: try dynamic()
            default: throw UnpackFault.damaged
            }
        }
    }

    private mutating func stored() throws {
        try bits.alignToByte()
        let count = try bits.take(16), check = try bits.take(16)
        guard count ^ check == 0xffff, at + count <= out.count else { throw UnpackFault.damaged }
        for _ in 0..<count {
            out[at] = UInt8(try bits.take(8))
            at += 1
        }
    }

    private mutating func dynamic() throws {
        let literals = try bits.take(5) + 257, distances = try bits.take(5) + 1
        let known = try bits.take(4) + 4
        var small = [UInt8](repeating: 0, count: 19)
        for place in Inflating.order.prefix(known) { small[place] = UInt8(try bits.take(3)) }
        let code = try Code(small)
        var lengths: [UInt8] = []
        while lengths.count < literals + distances {
            let symbol = try code.symbol(&bits)
            switch symbol {
            case 0..<16: lengths.append(UInt8(symbol))
            case 16:
                guard let last = lengths.last else { throw UnpackFault.damaged }
                lengths += [UInt8](repeating: last, count: try bits.take(2) + 3)
            case 17: lengths += [UInt8](repeating: 0, count: try bits.take(3) + 3)
            default: lengths += [UInt8](repeating: 0, count: try bits.take(7) + 11)
            }
        }
        guard lengths.count == literals + distances else { throw UnpackFault.damaged }
        try block(Code(lengths.prefix(literals)), Code(lengths.dropFirst(literals)))
    }

    private mutating func block(_ literals: Code, _ distances: Code) throws {
        while true {
            let symbol = try literals.symbol(&bits)
            if symbol < 256 {
                guard at < out.count else { throw UnpackFault.damaged }
                out[at] = UInt8(symbol)
                at += 1
                continue
            }
            if symbol == 256 { return }
            guard symbol < 286 else { throw UnpackFault.damaged }
            let (base, extra) = Inflating.lengths[symbol - 257]
            let length = base + (try bits.take(extra))
            let far = try distances.symbol(&bits)
            guard far < 30 else { throw UnpackFault.damaged }
            let distance = Inflating.distances[far].0 + (try bits.take(Inflating.distances[far].1))
            guard distance <= at, at + length <= out.count else { throw UnpackFault.damaged }
            for _ in 0..<length {
                out[at] = out[at - distance]
                at += 1
            }
        }
    }

    private static let fixed =
        [UInt8](repeating: 8, count: 144) + [UInt8](repeating: 9, count: 112)
        + [UInt8](repeating: 7, count: 24) + [UInt8](repeating: 8, count: 8)
    private static let order = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15]
    /// Symbol -> its least value, and the bits that are added to it.
    private static let lengths = steps(from: 3, free: 8, each: 4, count: 28) + [(258, 0)]
    private static let distances = steps(from: 1, free: 4, each: 2, count: 30)

    private static func steps(from first: Int, free: Int, each: Int, count: Int) -> [(Int, Int)] {
        var made: [(Int, Int)] = [], least = first
        for at in 0..<count {
            let bits = at < free ? 0 : (at - free) / each + 1
            made.append((least, bits))
            least += 1 << bits
        }
        return made
    }
}
