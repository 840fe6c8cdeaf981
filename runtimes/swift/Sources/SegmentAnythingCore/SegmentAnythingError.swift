import Foundation

/// Why something was refused: one line that says the fault, its place and what to do.
public enum SegmentAnythingError: Error, Equatable, Sendable {
    /// The request is wrong: no image was set, or an engine for other files was given.
    case request(String)
    /// A prompt that the bundle cannot take.
    case prompt(String)
    /// An image that cannot be read or used.
    case image(String)
    /// A bundle that is incomplete, or differs from its manifest.
    case bundle(String)

    /// One line, whatever is in it: names of files are others' text.
    public var message: String {
        switch self {
        case .request(let text), .prompt(let text), .image(let text), .bundle(let text):
            printable(text, most: 2000)
        }
    }
}

extension SegmentAnythingError: LocalizedError, CustomStringConvertible {
    public var errorDescription: String? { message }
    public var description: String { message }
}

/// Writes a number as people do: without a fraction if it has none, else up to six digits.
func plain(_ value: Double) -> String {
    guard value.isFinite else { return value.isNaN ? "nan" : value < 0 ? "-inf" : "inf" }
    return String(format: "%g", value)
}

/// Shows text from outside on one line: control characters are escaped, a long one is cut.
func printable(_ text: String, most: Int = 120) -> String {
    let shown = text.unicodeScalars.map { scalar in
        switch scalar.properties.generalCategory {
        case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate, .privateUse, .unassigned:
            "\\u{\(String(scalar.value, radix: 16))}"
        default: String(scalar)
        }
    }
    return shown.count <= most ? shown.joined() : shown.prefix(most).joined() + "..."
}
