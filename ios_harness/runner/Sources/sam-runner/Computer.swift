import Foundation
import RunnerCore

/// A computer that plays a phone in tests: its state is a JSON file, its times are this computer's.
struct Computer: Machine {
    /// `SAM_RUNNER_STATE`: the file; fields as of `DeviceState`, in snake case, and `model`.
    let file: URL?

    private var told: Told {
        guard let file, let data = try? Data(contentsOf: file) else { return Told() }
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        return (try? decoder.decode(Told.self, from: data)) ?? Told()
    }

    func facts() -> Facts {
        let process = ProcessInfo.processInfo
        #if arch(arm64)
            let abi = "arm64"
        #else
            let abi = "x86_64"
        #endif
        return Facts(
            kind: "simulated", model: told.model ?? "computer", system: told.system ?? "Linux",
            version: told.version ?? "", build: told.build ?? process.operatingSystemVersionString, abi: abi,
            cores: process.processorCount, memoryBytes: Int(process.physicalMemory), pageBytes: Int(getpagesize()))
    }

    func state() -> DeviceState {
        let told = told
        return DeviceState(
            thermal: told.thermal, lowPower: told.lowPower, batteryPercent: told.batteryPercent,
            charging: told.charging, freeBytes: told.freeBytes)
    }

    func peakBytes() -> Int? {
        guard let status = try? String(contentsOfFile: "/proc/self/status", encoding: .utf8),
            let line = status.split(separator: "\n").first(where: { $0.hasPrefix("VmHWM:") }),
            let kilobytes = line.split(separator: " ").compactMap({ Int($0) }).first
        else { return nil }
        return kilobytes * 1024
    }

    private struct Told: Decodable {
        var thermal: Int?
        var lowPower: Bool?
        var batteryPercent: Int?
        var charging: Bool?
        var freeBytes: Int?
        var model: String?
        var system: String?
        var version: String?
        var build: String?
    }
}
