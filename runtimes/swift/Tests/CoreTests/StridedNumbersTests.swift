import Testing

@testable import SegmentAnythingCore

@Suite struct StridedNumbersTests {
    #if !(os(macOS) && arch(x86_64))
        @Test func everyFloat16IsWidenedExactly() {
            for bits in UInt16.min...UInt16.max {
                let wanted = Float(Float16(bitPattern: bits)), found = half(bits)
                #expect(found.bitPattern == wanted.bitPattern || (found.isNaN && wanted.isNaN))
            }
        }
    #endif

    @Test func paddedRowsAreLeftOut() throws {
        let stored: [Float] = [1, 2, 3, -9, 4, 5, 6, -9]
        let tensor = try stored.withUnsafeBytes {
            try Tensor($0, shape: [1, 2, 3], strides: [8, 4, 1], type: .float32)
        }
        #expect(tensor == Tensor(shape: [1, 2, 3], values: [1, 2, 3, 4, 5, 6]))
    }

    @Test func turnedAxesAndOtherTypes() throws {
        let halves: [UInt16] = [0x3c00, 0x4000, 0x4200, 0x4400]
        let turned = try halves.withUnsafeBytes {
            try Tensor($0, shape: [2, 2], strides: [1, 2], type: .float16)
        }
        #expect(turned.values == [1, 3, 2, 4])
        let doubles = try [0.5, 0.25].withUnsafeBytes {
            try Tensor($0, shape: [2], strides: [1], type: .float64)
        }
        #expect(doubles.values == [0.5, 0.25])
    }

    /// Contiguous, padded rows, padded planes, turned axes, a batch of one with any stride.
    @Test(arguments: [
        ([2, 3, 4], [12, 4, 1]), ([2, 3, 4], [24, 8, 1]), ([2, 3, 4], [16, 4, 1]), ([2, 3, 4], [1, 2, 6]),
        ([1, 2, 2], [99, 2, 1]), ([1], [1]), ([3, 1, 2], [4, 7, 2]),
    ])
    func whatIsWrittenIsReadBack(_ shape: [Int], _ strides: [Int]) throws {
        let count = shape.reduce(1, *)
        let tensor = Tensor(shape: shape, values: (0..<count).map { Float($0) + 0.5 })
        var memory = [Float](repeating: -1, count: 128)
        try memory.withUnsafeMutableBufferPointer {
            try tensor.write(to: $0.baseAddress!, strides: strides)
        }
        let places = (0..<count).map { at in
            var rest = at, place = 0
            for (side, stride) in zip(shape, strides).reversed() {
                place += rest % side * stride
                rest /= side
            }
            return place
        }
        #expect(places.map { memory[$0] } == tensor.values)
        #expect(memory.filter { $0 != -1 }.count == count)
        let read = try memory.withUnsafeBytes {
            try Tensor($0, shape: shape, strides: strides, type: .float32)
        }
        #expect(read == tensor)
    }

    @Test(arguments: [[1], [4, 0], [4, -1]]) func wrongStridesAreNotWrittenTo(_ strides: [Int]) {
        var memory = [Float](repeating: 0, count: 8)
        #expect(throws: SegmentAnythingError.self) {
            try memory.withUnsafeMutableBufferPointer {
                try Tensor(shape: [2, 2], filledWith: 1).write(to: $0.baseAddress!, strides: strides)
            }
        }
    }

    @Test(arguments: [([2, 3], [4, 1]), ([2], [1, 1]), ([0, 2], [1, 1]), ([2, 2], [-1, 1])])
    func whatReachesOverTheMemoryIsRefused(_ shape: [Int], _ strides: [Int]) {
        let stored = [Float](repeating: 0, count: 6)
        #expect(throws: SegmentAnythingError.self) {
            try stored.withUnsafeBytes { try Tensor($0, shape: shape, strides: strides, type: .float32) }
        }
    }
}
