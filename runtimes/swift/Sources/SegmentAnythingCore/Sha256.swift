import Foundation

/// Hashes bytes: sha256 in hex.
public func sha256(_ data: Data) -> String {
    var hash = Sha256()
    hash.update(data)
    return hash.finish()
}

/// FIPS 180-4. Foundation has none, and CryptoKit is Apple's alone.
public struct Sha256 {
    private var state: [UInt32] = [
        0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab,
        0x5be0_cd19,
    ]
    private var rest: [UInt8] = []
    private var length: UInt64 = 0

    public init() {}

    public mutating func update(_ data: Data) {
        length += UInt64(data.count)
        rest.append(contentsOf: data)
        let whole = rest.count / 64 * 64
        let bytes = rest
        bytes.withUnsafeBufferPointer { buffer in
            for block in stride(from: 0, to: whole, by: 64) { compress(buffer, block) }
        }
        rest.removeFirst(whole)
    }

    public mutating func finish() -> String {
        let bits = length * 8
        rest.append(0x80)
        rest.append(contentsOf: [UInt8](repeating: 0, count: (120 - rest.count % 64) % 64))
        rest.append(contentsOf: (0..<8).map { UInt8(truncatingIfNeeded: bits >> (56 - 8 * $0)) })
        let bytes = rest
        bytes.withUnsafeBufferPointer { buffer in
            for block in stride(from: 0, to: bytes.count, by: 64) { compress(buffer, block) }
        }
        return state.map { String(format: "%08x", $0) }.joined()
    }

    private mutating func compress(_ bytes: UnsafeBufferPointer<UInt8>, _ at: Int) {
        withUnsafeTemporaryAllocation(of: UInt32.self, capacity: 64) { w in
            for i in 0..<16 {
                let j = at + 4 * i
                w[i] =
                    UInt32(bytes[j]) << 24 | UInt32(bytes[j + 1]) << 16 | UInt32(bytes[j + 2]) << 8
                    | UInt32(bytes[j + 3])
            }
            for i in 16..<64 {
                let s0 = turn(w[i - 15], 7) ^ turn(w[i - 15], 18) ^ (w[i - 15] >> 3)
                let s1 = turn(w[i - 2], 17) ^ turn(w[i - 2], 19) ^ (w[i - 2] >> 10)
                w[i] = w[i - 16] &+ s0 &+ w[i - 7] &+ s1
            }
            var (a, b, c, d) = (state[0], state[1], state[2], state[3])
            var (e, f, g, h) = (state[4], state[5], state[6], state[7])
            for i in 0..<64 {
                let s1 = turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)
                let t1 = h &+ s1 &+ ((e & f) ^ (~e & g)) &+ Sha256.constants[i] &+ w[i]
                let s0 = turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)
                let t2 = s0 &+ ((a & b) ^ (a & c) ^ (b & c))
                (h, g, f, e, d, c, b, a) = (g, f, e, d &+ t1, c, b, a, t1 &+ t2)
            }
            for (i, value) in [a, b, c, d, e, f, g, h].enumerated() { state[i] &+= value }
        }
    }

    private static let constants: [UInt32] = primes(64).map { fraction(of: $0) }
}

private func turn(_ value: UInt32, _ bits: UInt32) -> UInt32 { value >> bits | value << (32 - bits) }

private func primes(_ count: Int) -> [UInt64] {
    var found: [UInt64] = []
    var next: UInt64 = 2
    while found.count < count {
        if found.allSatisfy({ next % $0 != 0 }) { found.append(next) }
        next += 1
    }
    return found
}

/// The first 32 bits of the fraction of a number's cube root, found by halving.
private func fraction(of number: UInt64) -> UInt32 {
    var low: UInt64 = 0  // times 2^32
    for bit in stride(from: 34, through: 0, by: -1) {
        let tried = low | 1 << bit
        let square = tried.multipliedFullWidth(by: tried)
        // tried^3 <= number * 2^96, in three words.
        let lower = square.low.multipliedFullWidth(by: tried)
        let upper = square.high.multipliedFullWidth(by: tried)
        let (middle, carry) = lower.high.addingReportingOverflow(upper.low)
        let top = upper.high + (carry ? 1 : 0)
        let limit = number << 32  // the second word of number * 2^96
        if top == 0, middle < limit || (middle == limit && lower.low == 0) { low = tried }
    }
    return UInt32(truncatingIfNeeded: low)
}
