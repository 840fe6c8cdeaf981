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
            var place = [Int](repeating: 0, count: shape.count), from = 0
            for at in 0..<count {
                out[at] = number(memory, from * type.bytes, type)
                var axis = shape.count - 1
                while axis >= 0 {
                    place[axis] += 1
                    from += strides[axis]
                    if place[axis] < shape[axis] { break }
                    from -= strides[axis] * shape[axis]
                    place[axis] = 0
                    axis -= 1
                }
            }
            filled = count
        }
        self.init(shape: shape, values: values)
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
