import Foundation

/// Nanoseconds of a clock that only goes on.
func now() -> Int { Int(DispatchTime.now().uptimeNanoseconds) }

/// CPU time of this process, all threads together, in nanoseconds.
func cpuTime() -> Int {
    var time = timespec()
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
    return Int(time.tv_sec) * 1_000_000_000 + Int(time.tv_nsec)
}

/// The median: of an even count, the mean of the two in the middle.
func median(_ values: some Collection<Int>) -> Double {
    let sorted = values.sorted()
    guard !sorted.isEmpty else { return 0 }
    return (Double(sorted[(sorted.count - 1) / 2]) + Double(sorted[sorted.count / 2])) / 2
}

/// Whether the median of the last `window` values is within a share of that of as many before them.
func isStable(_ values: [Int], window: Int, within: Double) -> Bool {
    guard values.count >= 2 * window else { return false }
    let last = median(values.suffix(window)), before = median(values.suffix(2 * window).prefix(window))
    return abs(last - before) <= within * before
}

/// Times calls until they are stable, then as long and as often as a job asks.
struct Timing {
    static let most = 1_000_000
    var warmup: [Int] = []
    var samples: [Int] = []
    var stable = true
    var capped = false
    var cpuNanoseconds: Int?

    /// Calls until times are stable, or too long; the first call is the first of `warmup`.
    mutating func warmUp(_ job: Job, _ call: () async throws -> Int) async rethrows {
        let start = now()
        warmup.append(try await call())
        while true {
            let spent = Double(now() - start) / 1e9
            stable = isStable(warmup, window: job.stableCalls, within: job.stableWithin)
            if (stable && spent >= job.warmupLeastSeconds) || spent >= job.warmupSeconds { return }
            warmup.append(try await call())
        }
    }

    /// Takes at least `runs` samples over at least `seconds`.
    mutating func take(runs: Int, seconds: Double, _ call: () async throws -> Int) async rethrows {
        let cpu = cpuTime(), start = now()
        while samples.count < runs || Double(now() - start) / 1e9 < seconds {
            if samples.count == Timing.most {
                capped = true
                break
            }
            samples.append(try await call())
        }
        cpuNanoseconds = cpuTime() - cpu
    }
}
