/// Makes run lengths of spans that come column by column and down each; touching ones become one run.
struct RunWriter {
    private let size: Size
    private var runs: [Int32] = []
    private var end = 0  // of the last set run

    init(_ size: Size) { self.size = size }

    mutating func add(_ column: Int, _ low: Int, _ high: Int) {
        let start = column * size.height + low
        if start == end && !runs.isEmpty {
            runs[runs.count - 1] += Int32(high - low)
        } else {
            runs += [Int32(start - end), Int32(high - low)]
        }
        end = column * size.height + high
    }

    func finish() -> [Int32] {
        let pixels = size.width * size.height
        // A mask that ends with the picture has no clear run after it; an empty picture's one run stays.
        return end < pixels || runs.isEmpty ? runs + [Int32(pixels - end)] : runs
    }
}

/// Splits the set runs at the ends of columns: column, first row, and row after the last.
func eachSpan(_ runs: [Int32], _ height: Int, _ take: (_ column: Int, _ low: Int, _ high: Int) -> Void) {
    var start = 0
    for (at, length) in runs.enumerated() {
        let end = start + Int(length)
        while at % 2 == 1 && start < end {
            let column = start / height, stop = min(end, (column + 1) * height)
            take(column, start - column * height, stop - column * height)
            start = stop
        }
        start = end
    }
}

/// Run lengths of the pixels that are clear in others.
func inverted(_ runs: [Int32]) -> [Int32] { runs[0] == 0 ? Array(runs.dropFirst()) : [0] + runs }

func area(of runs: [Int32]) -> Int { stride(from: 1, to: runs.count, by: 2).reduce(0) { $0 + Int(runs[$1]) } }

func extent(of runs: [Int32], _ height: Int) -> Extent {
    var (left, top, right, bottom) = (-1, height, 0, 0)
    eachSpan(runs, height) { column, low, high in
        if left < 0 { left = column }
        (right, top, bottom) = (column, min(top, low), max(bottom, high - 1))
    }
    return left < 0 ? .empty : Extent(x0: left, y0: top, x1: right, y1: bottom)
}

/// A byte of 0 or 1 a pixel, row by row.
func pixels(of runs: [Int32], _ size: Size) -> [UInt8] {
    let count = size.width * size.height
    return [UInt8](unsafeUninitializedCapacity: count) { out, filled in
        out.initialize(repeating: 0)
        eachSpan(runs, size.height) { column, low, high in
            for row in low..<high { out[row * size.width + column] = 1 }
        }
        filled = count
    }
}

/// Run lengths of a mask that is clear outside a rectangle, in whose columns and rows `isSet` is asked.
func runs(in part: PixelBox, of picture: Size, _ isSet: (_ column: Int, _ row: Int) -> Bool) -> [Int32] {
    var writer = RunWriter(picture)
    for column in 0..<part.width {
        var low = -1
        for row in 0...part.height {
            let set = row < part.height && isSet(column, row)
            if set && low < 0 { low = row }
            if !set && low >= 0 {
                writer.add(part.x + column, part.y + low, part.y + row)
                low = -1
            }
        }
    }
    return writer.finish()
}

/// Spells run lengths as COCO does: each less the last but one, five bits a character, the sixth if more follow.
func cocoText(_ runs: [Int32]) -> String {
    var text: [UInt8] = []
    for at in runs.indices {
        var number = at > 2 ? runs[at] - runs[at - 2] : runs[at]
        var goesOn = true
        while goesOn {
            let bits = number & 0x1f
            number >>= 5
            goesOn = number != (bits & 0x10 != 0 ? -1 : 0)
            text.append(UInt8(48 + (goesOn ? bits | 0x20 : bits)))
        }
    }
    return String(decoding: text, as: UTF8.self)
}
