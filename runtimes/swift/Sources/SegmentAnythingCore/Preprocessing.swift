/// What a graph takes and gives.
public enum Value: Sendable {
    case floats(Tensor)
    /// RGB bytes of the square input, row by row.
    case pixels([UInt8], side: Int)
    /// An engine's own memory, which the next graph takes without a copy.
    case held(any HeldTensor)

    /// Copies the numbers out. Throws `SegmentAnythingError.bundle` if they cannot be read.
    public func tensor() throws -> Tensor {
        switch self {
        case .floats(let tensor): return tensor
        case .pixels(let bytes, let side):
            return Tensor(shape: [1, side, side, 3], values: bytes.map(Float.init))
        case .held(let held): return try held.tensor()
        }
    }
}

/// Numbers in an engine's own memory.
public protocol HeldTensor: Sendable {
    func tensor() throws -> Tensor
}

/// Makes the `image` input: resizes, pads, and lays out as the graph takes it.
func imageInput(_ picture: Picture, _ rule: Preprocess, _ spec: TensorSpec) -> (Value, Frame) {
    let frame = Frame(Size(width: picture.width, height: picture.height), rule)
    if spec.dtype == "uint8" {
        return (.pixels(squareBytes(picture, rule, frame), side: rule.size), frame)
    }
    let channelsLast = spec.layout == "NHWC"
    let values = square(picture, rule, frame, channelsLast: channelsLast)
    return (.floats(Tensor(shape: spec.shape, values: values)), frame)
}

/// Resized pixels: bytes if the rule rounds to them.
private enum Resized {
    case bytes([UInt8])
    case floats([Float])
}

private func resize(_ picture: Picture, _ size: Size, _ interpolation: Interpolation) -> Resized {
    switch interpolation {
    case .pillowBilinear: .bytes(pillowBytes(picture, to: size, .bilinear))
    case .pillowBicubic: .bytes(pillowBytes(picture, to: size, .bicubic))
    case .floatBilinear: .floats(pillowFloats(picture, to: size))
    case .floatBilinearPlain: .floats(plainFloats(picture, to: size))
    case .bilinearPlain: .floats(plainFloats(picture, to: size).map { $0.rounded(.toNearestOrEven) })
    case .opencvBilinear: .bytes(opencvBytes(picture, to: size))
    case .splineCubic: .bytes(splineBytes(picture, to: size))
    }
}

/// Resizes as the rule says, from its channels to its scale.
private func prepared(_ picture: Picture, _ rule: Preprocess, _ size: Size) -> Resized {
    let seen = rule.channels == .grey ? picture.grey() : picture
    let resized = resize(seen, size, rule.interpolation)
    guard rule.scale == .picture else { return resized }
    switch resized {
    case .bytes(let bytes): return .floats(scaled(bytes.map(Float.init)))
    case .floats(let floats): return .floats(scaled(floats))
    }
}

/// Brings the picture's own range to 0...255.
private func scaled(_ values: [Float]) -> [Float] {
    let low = Double(values.min() ?? 0), high = Double(values.max() ?? 0)
    let range = max(high - low, 1e-8)
    return values.map { Float((Double($0) - low) * 255 / range) }
}

private func squareBytes(_ picture: Picture, _ rule: Preprocess, _ frame: Frame) -> [UInt8] {
    let inner: [UInt8] =
        switch prepared(picture, rule, frame.resized) {
        case .bytes(let bytes): bytes
        case .floats(let floats):
            floats.map { UInt8(clamping: Int($0.rounded(.toNearestOrEven))) }
        }
    if frame.resized.width == rule.size, frame.resized.height == rule.size { return inner }
    let pad = rule.padValue.map { UInt8(clamping: Int(Float($0).rounded(.toNearestOrEven))) }
    var out = [UInt8](repeating: 0, count: rule.size * rule.size * 3)
    for at in 0..<(rule.size * rule.size) {
        for channel in 0..<3 { out[at * 3 + channel] = pad[channel] }
    }
    let line = frame.resized.width * 3
    for y in 0..<frame.resized.height {
        let to = ((y + frame.offset.y) * rule.size + frame.offset.x) * 3
        out.replaceSubrange(to..<(to + line), with: inner[(y * line)..<((y + 1) * line)])
    }
    return out
}

private func square(
    _ picture: Picture, _ rule: Preprocess, _ frame: Frame, channelsLast: Bool
) -> [Float] {
    let plane = rule.size * rule.size
    let (step, apart) = channelsLast ? (3, 1) : (1, plane)
    return [Float](unsafeUninitializedCapacity: plane * 3) { out, filled in
        for channel in 0..<3 {
            let pad = Float(rule.padValue[channel])
            for at in 0..<plane { out[at * step + channel * apart] = pad }
        }
        let place = Place(frame: frame, side: rule.size, step: step, apart: apart)
        switch prepared(picture, rule, frame.resized) {
        case .bytes(let bytes):
            bytes.withUnsafeBufferPointer { source in place.put(into: out) { Float(source[$0]) } }
        case .floats(let floats):
            floats.withUnsafeBufferPointer { source in place.put(into: out) { source[$0] } }
        }
        filled = plane * 3
    }
}

/// Where the resized pixels go in the square.
private struct Place {
    let frame: Frame
    let side: Int
    let step: Int
    let apart: Int

    @inline(__always)
    func put(into out: UnsafeMutableBufferPointer<Float>, _ source: (Int) -> Float) {
        let width = frame.resized.width
        for y in 0..<frame.resized.height {
            let row = (y + frame.offset.y) * side + frame.offset.x
            for x in 0..<width {
                let from = (y * width + x) * 3, to = (row + x) * step
                out[to] = source(from)
                out[to + apart] = source(from + 1)
                out[to + 2 * apart] = source(from + 2)
            }
        }
    }
}
