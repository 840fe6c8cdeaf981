import Foundation
import SegmentAnything

/// Why a request was not done: one line for the harness.
public struct RunnerError: Error, Equatable, Sendable {
    public let message: String

    public init(_ message: String) { self.message = message }

    /// One line of any error.
    static func line(_ error: any Error) -> String {
        switch error {
        case let error as RunnerError: error.message
        case let error as SegmentAnythingError: error.message
        default: error.localizedDescription
        }
    }
}
