import Foundation

/// A JSON value. Numbers are doubles: a manifest holds none that needs more.
enum JSON: Decodable {
    case null, bool(Bool), number(Double), text(String), list([JSON]), object([String: JSON])

    init(from decoder: any Decoder) throws {
        let value = try decoder.singleValueContainer()
        if value.decodeNil() {
            self = .null
        } else if let flag = try? value.decode(Bool.self) {
            self = .bool(flag)
        } else if let number = try? value.decode(Double.self) {
            self = .number(number)
        } else if let text = try? value.decode(String.self) {
            self = .text(text)
        } else if let list = try? value.decode([JSON].self) {
            self = .list(list)
        } else {
            self = .object(try value.decode([String: JSON].self))
        }
    }

    static func parse(_ data: Data) throws -> JSON { try JSONDecoder().decode(JSON.self, from: data) }
}

/// One object of a manifest, read field by field; every fault names its place.
struct Fields {
    let place: String
    private let values: [String: JSON]

    init(_ json: JSON, at place: String) throws {
        guard case .object(let values) = json else { throw Fields.wrong(place, "an object") }
        self.place = place
        self.values = values
    }

    /// Refuses fields of a newer release: what they mean would be lost in silence.
    func only(_ known: String...) throws {
        for name in values.keys.sorted() where !known.contains(name) {
            throw SegmentAnythingError.bundle(
                "\(place) has an unknown field '\(printable(name))': get a newer release")
        }
    }

    func json(_ name: String) throws -> JSON {
        guard let value = values[name] else {
            throw SegmentAnythingError.bundle("\(place) is missing the field '\(name)'")
        }
        return value
    }

    func has(_ name: String) -> Bool {
        if case .null? = values[name] { return false }
        return values[name] != nil
    }

    func object(_ name: String) throws -> Fields { try Fields(json(name), at: "\(place).\(name)") }

    func objects(_ name: String) throws -> [Fields] {
        try list(name).enumerated().map { try Fields($1, at: "\(place).\(name)[\($0)]") }
    }

    func list(_ name: String) throws -> [JSON] {
        guard case .list(let list) = try json(name) else { throw wrong(name, "a list") }
        return list
    }

    func text(_ name: String) throws -> String {
        guard case .text(let text) = try json(name) else { throw wrong(name, "a text") }
        return text
    }

    func number(_ name: String) throws -> Double {
        guard case .number(let number) = try json(name), number.isFinite else {
            throw wrong(name, "a number")
        }
        return number
    }

    func whole(_ name: String, _ range: ClosedRange<Int>) throws -> Int {
        guard let whole = Int(exactly: try number(name)), range.contains(whole) else {
            throw wrong(name, "a whole number from \(range.lowerBound) to \(range.upperBound)")
        }
        return whole
    }

    func flag(_ name: String) throws -> Bool {
        guard case .bool(let flag) = try json(name) else { throw wrong(name, "true or false") }
        return flag
    }

    func wholes(_ name: String, _ range: ClosedRange<Int>) throws -> [Int] {
        try list(name).map { value in
            guard case .number(let number) = value, let whole = Int(exactly: number), range.contains(whole)
            else { throw wrong(name, "whole numbers from \(range.lowerBound) to \(range.upperBound)") }
            return whole
        }
    }

    func numbers(_ name: String, count: Int) throws -> [Double] {
        let numbers = try list(name).compactMap { value in
            if case .number(let number) = value, number.isFinite { number } else { nil }
        }
        guard numbers.count == count, try list(name).count == count else {
            throw wrong(name, "\(count) numbers")
        }
        return numbers
    }

    func texts(_ name: String) throws -> [String: String] {
        let fields = try object(name)
        return Dictionary(uniqueKeysWithValues: try fields.values.keys.map { ($0, try fields.text($0)) })
    }

    /// Reads one of an enumeration's words.
    func word<Word: RawRepresentable<String>>(_ name: String, _ type: Word.Type) throws -> Word {
        let text = try text(name)
        guard let word = Word(rawValue: text) else {
            throw SegmentAnythingError.bundle(
                "\(place).\(name) is '\(printable(text))', unknown to this release: get a newer release")
        }
        return word
    }

    func wrong(_ name: String, _ wanted: String) -> SegmentAnythingError {
        Fields.wrong("\(place).\(name)", wanted)
    }

    private static func wrong(_ place: String, _ wanted: String) -> SegmentAnythingError {
        .bundle("\(place) should be \(wanted)")
    }
}
