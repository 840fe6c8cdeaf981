import Foundation

/// JSON with its nulls: the reader asks for every field.
public enum JSONValue: Sendable, Equatable {
    case null, flag(Bool), whole(Int), number(Double), text(String), list([JSONValue])
    case object([String: JSONValue])

    static func optional(_ value: Int?) -> JSONValue { value.map(JSONValue.whole) ?? .null }

    static func wholes(_ values: [Int]) -> JSONValue { .list(values.map(JSONValue.whole)) }
}

extension JSONValue: ExpressibleByDictionaryLiteral {
    public init(dictionaryLiteral elements: (String, JSONValue)...) {
        self = .object(Dictionary(uniqueKeysWithValues: elements))
    }
}

extension JSONValue: Encodable {
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        switch self {
        case .null: try container.encodeNil()
        case .flag(let value): try container.encode(value)
        case .whole(let value): try container.encode(value)
        case .number(let value): try container.encode(value)
        case .text(let value): try container.encode(value)
        case .list(let value): try container.encode(value)
        case .object(let value): try container.encode(value)
        }
    }

    /// Stable JSON.
    func data() throws -> Data {
        let encoder = JSONEncoder()
        encoder.outputFormatting = .sortedKeys
        return try encoder.encode(self)
    }
}
