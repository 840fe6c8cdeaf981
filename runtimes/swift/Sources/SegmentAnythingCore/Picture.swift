/// An upright RGB picture of 8 bits, without transparency.
public struct Picture: Sendable {
    public let width: Int
    public let height: Int
    /// R, G, B of each pixel, row by row.
    public let rgb: [UInt8]

    /// Takes pixels. Throws `SegmentAnythingError.image` if there are none, or not three bytes for each.
    public init(width: Int, height: Int, rgb: [UInt8]) throws {
        guard width > 0, height > 0, width <= 65_535, height <= 65_535, rgb.count == width * height * 3 else {
            throw SegmentAnythingError.image(
                "an image has 1 to 65535 pixels a side and 3 bytes each, not \(width) x \(height) "
                    + "and \(rgb.count) bytes")
        }
        self.width = width
        self.height = height
        self.rgb = rgb
    }

    /// Turns the picture upright by the orientation that a camera noted in EXIF, 1...8.
    public func upright(_ orientation: Int) -> Picture {
        guard 2...8 ~= orientation else { return self }
        let swaps = orientation >= 5
        let (wide, tall) = swaps ? (height, width) : (width, height)
        let mirrorX = [2, 3, 7, 8].contains(orientation), mirrorY = [3, 4, 6, 7].contains(orientation)
        var turned = [UInt8](repeating: 0, count: rgb.count)
        for y in 0..<tall {
            for x in 0..<wide {
                var (column, row) = swaps ? (y, x) : (x, y)
                if mirrorX { column = width - 1 - column }
                if mirrorY { row = height - 1 - row }
                let from = (row * width + column) * 3, to = (y * wide + x) * 3
                for channel in 0..<3 { turned[to + channel] = rgb[from + channel] }
            }
        }
        return Picture(unchecked: turned, width: wide, height: tall)
    }

    /// Makes all three channels equal, by Pillow's luma.
    func grey() -> Picture {
        var bytes = rgb
        for at in stride(from: 0, to: rgb.count, by: 3) {
            let sum = Int(rgb[at]) * 19595 + Int(rgb[at + 1]) * 38470 + Int(rgb[at + 2]) * 7471
            let level = UInt8((sum + 32768) >> 16)
            for channel in 0..<3 { bytes[at + channel] = level }
        }
        return Picture(unchecked: bytes, width: width, height: height)
    }

    /// The pixels of a crop.
    func part(_ crop: Crop) -> Picture {
        if crop.size == Size(width: width, height: height) { return self }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(crop.size.width * crop.size.height * 3)
        for row in crop.y0..<crop.y1 {
            bytes += rgb[((row * width + crop.x0) * 3)..<((row * width + crop.x1) * 3)]
        }
        return Picture(unchecked: bytes, width: crop.size.width, height: crop.size.height)
    }

    private init(unchecked rgb: [UInt8], width: Int, height: Int) {
        self.width = width
        self.height = height
        self.rgb = rgb
    }
}

/// Numbers in a shape, row by row.
public struct Tensor: Sendable, Equatable {
    public let shape: [Int]
    public let values: [Float]

    public init(shape: [Int], values: [Float]) {
        precondition(shape.reduce(1, *) == values.count, "\(shape) does not hold \(values.count) numbers")
        self.shape = shape
        self.values = values
    }

    /// Makes a tensor of one number.
    public init(shape: [Int], filledWith value: Float) {
        self.init(shape: shape, values: [Float](repeating: value, count: shape.reduce(1, *)))
    }
}
