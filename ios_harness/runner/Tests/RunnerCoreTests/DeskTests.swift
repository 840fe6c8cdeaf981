import Foundation
import SegmentAnything
import Testing

@testable import RunnerCore

private struct Toy: Machine {
    func facts() -> Facts {
        Facts(
            kind: "simulated", model: "toy", system: "toy", version: "1", build: "1", abi: "toy", cores: 1,
            memoryBytes: 1, pageBytes: 1)
    }
    func state() -> DeviceState { DeviceState(thermal: 1, batteryPercent: 50) }
    func peakBytes() -> Int? { nil }
}

@Suite struct DeskTests {
    let home = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)

    private func serve(_ words: String...) async throws -> (Int32, [String: Any]) {
        let status = await Desk(home: home, machine: Toy(), runtimes: [:]).serve(words)
        let pack = home.appendingPathComponent("answers/\(words[1]).pack")
        let out = home.appendingPathComponent("out-\(words[1])")
        guard FileManager.default.fileExists(atPath: pack.path) else { return (status, [:]) }
        try Pack.unpack(pack, into: out)
        let data = try Data(contentsOf: out.appendingPathComponent("answer.json"))
        return (status, try JSONSerialization.jsonObject(with: data) as? [String: Any] ?? [:])
    }

    private func request(_ name: String, _ files: [(name: String, content: Data)]) throws {
        let folder = home.appendingPathComponent("requests")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        try Pack.write(files, to: folder.appendingPathComponent("\(name).pack"))
    }

    @Test func aLookTakesFilesAndTellsThem() async throws {
        try request("look-1", [("bundle-1/a.bin", Data([1, 2, 3]))])
        let (status, answer) = try await serve("look", "look-1", "60")
        #expect(status == 0)
        #expect(answer["kept"] as? [String: String] == ["bundle-1/a.bin": sha256(Data([1, 2, 3]))])
        #expect((answer["state"] as? [String: Any])?["thermal"] as? Int == 1)
        #expect((answer["state"] as? [String: Any])?["low_power"] is NSNull)
        #expect(try FileManager.default.contentsOfDirectory(atPath: home.path + "/requests") == [])
    }

    @Test func anEarlierAnswerIsRemoved() async throws {
        _ = try await serve("state", "state-1", "60")
        _ = try await serve("state", "state-2", "60")
        let left = try FileManager.default.contentsOfDirectory(atPath: home.path + "/answers").sorted()
        #expect(left == ["state-2.done", "state-2.pack", "state-2.stage"])
    }

    @Test func aCleanRemovesTheFiles() async throws {
        try request("look-1", [("a.bin", Data(repeating: 0, count: 77))])
        _ = try await serve("look", "look-1", "60")
        let (status, answer) = try await serve("clean", "clean-1", "60")
        #expect(status == 0)
        #expect(answer["freed_bytes"] as? Int == 77)
        #expect(!FileManager.default.fileExists(atPath: home.path + "/files/a.bin"))
    }

    @Test func anErrorIsAnAnswer() async throws {
        var (status, answer) = try await serve("jump", "jump-1", "60")
        #expect(status == 1)
        #expect(answer["error"] as? String == "there is no request jump")
        try request("run-1", [("job.txt", Data(jobText(graphs: [encoderText]).utf8))])
        (status, answer) = try await serve("run", "run-1", "60")
        #expect(status == 1)
        #expect(answer["error"] as? String == "this runner has no runtime toy")
        #expect(answer["kind"] as? String == "failed")
    }

    @Test func whatIsNoRequestIsRefused() async {
        let desk = Desk(home: home, machine: Toy(), runtimes: [:])
        for words in [[], ["look"], ["look", "../x", "60"], ["look", "x", "0"], ["look", "x", "nan"]] {
            #expect(await desk.serve(words) == 2)
        }
    }
}
