import Testing

@testable import RunnerCore

@Suite struct SamplesTests {
    @Test func theMedianIsTheMiddle() {
        #expect(median([3, 1, 2]) == 2)
        #expect(median([4, 1, 2, 3]) == 2.5)
        #expect(median([Int]()) == 0)
    }
}
