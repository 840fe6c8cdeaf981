import Testing

@testable import RunnerCore

@Suite struct SamplesTests {
    @Test func theMedianIsTheMiddle() async {
        #expect(median([3, 1, 2]) == 2)
        #expect(median([4, 1, 2, 3]) == 2.5)
        #expect(median([Int]()) == 0)
    }

    @Test func timesAreStableWhenTwoWindowsAgree() async {
        #expect(!isStable([100, 100, 100], window: 2, within: 0.02))
        #expect(isStable([900, 100, 100, 101, 101], window: 2, within: 0.02))
        #expect(!isStable([900, 100, 100, 103, 103], window: 2, within: 0.02))
        #expect(isStable([0, 0, 0, 0], window: 2, within: 0))
    }

    @Test func warmingUpEndsWhenTimesAreStable() async throws {
        let job = try Job(text(warmup: 60, least: 0))
        var times = [900, 500, 200, 100, 101, 100, 100].makeIterator()
        var timing = Timing()
        await timing.warmUp(job) { times.next() ?? 100 }
        #expect(timing.stable)
        #expect(timing.warmup == [900, 500, 200, 100, 101, 100, 100])
    }

    @Test func warmingUpEndsWhenItTakesTooLong() async throws {
        let job = try Job(text(warmup: 0.02, least: 0))
        var time = 1
        var timing = Timing()
        await timing.warmUp(job) {
            time *= 2
            return min(time, 1 << 40)
        }
        #expect(timing.warmup.first == 2)
        #expect(!timing.stable || timing.warmup.count > 40)
    }

    @Test func everySampleIsKept() async {
        var timing = Timing()
        var time = 0
        await timing.take(runs: 5, seconds: 0) {
            time += 1
            return time
        }
        #expect(timing.samples == [1, 2, 3, 4, 5])
        #expect(timing.cpuNanoseconds != nil)
    }

    @Test func samplesAreTakenForAsLongAsAsked() async {
        var timing = Timing()
        let start = now()
        await timing.take(runs: 1, seconds: 0.02) { 1 }
        #expect(now() - start >= 20_000_000)
        #expect(timing.samples.count > 1)
    }

    private func text(warmup: Double, least: Double) -> String {
        jobText(graphs: [encoderText]).replacingOccurrences(of: "warmup_seconds 0", with: "warmup_seconds \(warmup)")
            .replacingOccurrences(of: "warmup_least_seconds 0", with: "warmup_least_seconds \(least)")
            .replacingOccurrences(of: "stable_calls 1", with: "stable_calls 2")
    }
}
