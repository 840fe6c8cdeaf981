import Foundation

/// Lets one caller through at a time, in the order they came. Whoever waits holds no thread.
final class Turnstile: @unchecked Sendable {
    private let lock = NSLock()
    private var busy = false
    private var waiting: [CheckedContinuation<Void, Never>] = []

    func pass<T>(_ body: () async throws -> T) async rethrows -> T {
        await enter()
        defer { leave() }
        return try await body()
    }

    private func enter() async {
        await withCheckedContinuation { (mine: CheckedContinuation<Void, Never>) in
            let free = lock.withLock {
                if busy { waiting.append(mine) }
                defer { busy = true }
                return !busy
            }
            if free { mine.resume() }
        }
    }

    private func leave() {
        let next = lock.withLock { () -> CheckedContinuation<Void, Never>? in
            if waiting.isEmpty { busy = false }
            return waiting.isEmpty ? nil : waiting.removeFirst()
        }
        next?.resume()
    }
}
