/// How an engine stores its numbers.
public enum StoredType: Sendable {
    case float16, float32, float64

    var bytes: Int {
        switch self {
        case .float16: 2
        case .float32: 4
        case .float64: 8
        }
    }
}

extension Tensor {
    /// Copies numbers that are not side by side: a Neural Engine pads its rows.
    ///
    /// - Parameters:
    ///   - memory: all of the array's.
    ///   - strides: of each axis, in numbers.
    /// - Throws: `SegmentAnythingError.bundle` if the array reaches over its memory.
    public init(_ memory: UnsafeRawBufferPointer, shape: [Int], strides: [Int], type: StoredType) throws {
        let count = shape.reduce(1, *)
        let last = zip(shape, strides).reduce(0) { $0 + ($1.0 - 1) * $1.1 }
        guard shape.count == strides.count, shape.allSatisfy({ $0 > 0 }), strides.allSatisfy({ $0 >= 0 }),
            (last + 1) * type.bytes <= memory.count
        else { throw SegmentAnythingError.bundle("an output of \(shape) with strides \(strides) is cut short") }
        let values = [Float](unsafeUninitializedCapacity: count) { out, filled in
            var at = 0
            eachRow(shape, strides) { from, length, step in
                if step == 1, type == .float32, let base = memory.baseAddress {
                    UnsafeMutableRawPointer(out.baseAddress! + at)
                        .copyMemory(from: base + from * 4, byteCount: length * 4)
                } else {
                    for x in 0..<length { out[at + x] = number(memory, (from + x * step) * type.bytes, type) }
                }
                at += length
            }
            filled = count
        }
        self.init(shape: shape, values: values)
    }

    /// Copies the numbers, row by row, into memory that may have gaps between them.
    ///
    /// - Parameters:
    ///   - memory: of all the numbers and gaps.
    ///   - strides: of each axis, in numbers.
    /// - Throws: `SegmentAnythingError.bundle` if there is not a stride for each axis.
    public func write(to memory: UnsafeMutablePointer<Float>, strides: [Int]) throws {
        guard strides.count == shape.count, strides.allSatisfy({ $0 > 0 }) else {
            throw SegmentAnythingError.bundle("an input of \(shape) has strides \(strides)")
        }
        values.withUnsafeBufferPointer { numbers in
            var at = 0
            eachRow(shape, strides) { to, length, step in
                if step == 1 {
                    (memory + to).update(from: numbers.baseAddress! + at, count: length)
                } else {
                    for x in 0..<length { memory[to + x * step] = numbers[at + x] }
                }
                at += length
            }
        }
    }
}

/// Tells where every row of an array begins, its length, and the step between its numbers. Rows that lie
/// one after the other are told as one.
private func eachRow(_ shape: [Int], _ strides: [Int], _ body: (Int, Int, Int) -> Void) {
    var axes = Array(zip(shape, strides)).filter { $0.0 != 1 }
    guard let (last, step) = axes.popLast() else { return body(0, 1, 1) }
    var length = last
    while let (side, stride) = axes.last, stride == length * step {
        length *= side
        axes.removeLast()
    }
    var place = [Int](repeating: 0, count: axes.count), from = 0
    while true {
        body(from, length, step)
        var axis = axes.count - 1
        while axis >= 0 {
            place[axis] += 1
            from += axes[axis].1
            if place[axis] < axes[axis].0 { break }
            from -= axes[axis].1 * axes[axis].0
            place[axis] = 0
            axis -= 1
        }
        if axis < 0 { return }
    }
}

private func number(_ memory: UnsafeRawBufferPointer, _ at: Int, _ type: StoredType) -> Float {
    switch type {
    case .float16: half(memory.loadUnaligned(fromByteOffset: at, as: UInt16.self))
    case .float32: memory.loadUnaligned(fromByteOffset: at, as: Float.self)
    case .float64: Float(memory.loadUnaligned(fromByteOffset: at, as: Double.self))
    }
}

/// Widens a float16 by its bits: Swift has no `Float16` on a Mac with an Intel processor.
func half(_ bits: UInt16) -> Float {
    let sign = UInt32(bits & 0x8000) << 16
    let exponent = UInt32(bits >> 10 & 0x1f), fraction = UInt32(bits & 0x3ff)
    switch exponent {
    case 0:
        let small = Float(fraction) / 16_777_216
        return sign == 0 ? small : -small
    case 0x1f: return Float(bitPattern: sign | 0x7f80_0000 | fraction << 13)
    default: return Float(bitPattern: sign | (exponent + 112) << 23 | fraction << 13)
    }
}

/// Rounds to float16, a tie to the even one; what is too large becomes infinite.
func halfBits(_ value: Float) -> UInt16 {
    let bits = value.bitPattern, sign = UInt16(bits >> 16 & 0x8000)
    let exponent = Int(bits >> 23 & 0xff) - 127, fraction = bits & 0x7f_ffff
    if exponent == 128 { return sign | 0x7c00 | (fraction == 0 ? 0 : 0x200) }
    if exponent > 15 { return sign | 0x7c00 }
    if exponent < -25 { return sign }
    let small = exponent < -14
    let whole = small ? fraction | 0x80_0000 : fraction, cut = UInt32(small ? -1 - exponent : 13)
    let kept = whole >> cut | (small ? 0 : UInt32(exponent + 15) << 10)
    let rest = whole & (1 << cut - 1), tie: UInt32 = 1 << (cut - 1)
    return sign | UInt16(kept + (rest > tie || (rest == tie && kept & 1 == 1) ? 1 : 0))
}
