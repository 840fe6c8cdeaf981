import Foundation
import SegmentAnything

/// What the runner runs on: a phone, a simulator, or a computer in tests.
public protocol Machine: Sendable {
    func facts() -> Facts
    func state() -> DeviceState
    /// The most memory of this process so far, in bytes; nil if the system does not tell.
    func peakBytes() -> Int?
}

public struct Facts: Sendable {
    /// `device`, `simulator`, `mac`, or `simulated`.
    public var kind: String
    /// Apple's identifier: `iPhone15,3`.
    public var model: String
    public var system: String
    public var version: String
    public var build: String
    public var abi: String
    public var cores: Int
    public var memoryBytes: Int
    public var pageBytes: Int

    public init(
        kind: String, model: String, system: String, version: String, build: String, abi: String, cores: Int,
        memoryBytes: Int, pageBytes: Int
    ) {
        (self.kind, self.model, self.system, self.version) = (kind, model, system, version)
        (self.build, self.abi, self.cores) = (build, abi, cores)
        (self.memoryBytes, self.pageBytes) = (memoryBytes, pageBytes)
    }

    var json: JSONValue {
        [
            "kind": .text(kind), "model": .text(model), "system": .text(system), "version": .text(version),
            "build": .text(build), "abi": .text(abi), "cores": .whole(cores),
            "memory_bytes": .whole(memoryBytes), "page_bytes": .whole(pageBytes),
        ]
    }
}

/// How the device is now. nil is what it does not tell.
public struct DeviceState: Sendable {
    /// 0 nominal, 1 fair, 2 serious, 3 critical.
    public var thermal: Int?
    public var lowPower: Bool?
    public var batteryPercent: Int?
    public var charging: Bool?
    public var freeBytes: Int?

    public init(
        thermal: Int? = nil, lowPower: Bool? = nil, batteryPercent: Int? = nil, charging: Bool? = nil,
        freeBytes: Int? = nil
    ) {
        (self.thermal, self.lowPower, self.batteryPercent) = (thermal, lowPower, batteryPercent)
        (self.charging, self.freeBytes) = (charging, freeBytes)
    }

    var json: JSONValue {
        [
            "thermal": .optional(thermal), "low_power": lowPower.map(JSONValue.flag) ?? .null,
            "battery_percent": .optional(batteryPercent), "charging": charging.map(JSONValue.flag) ?? .null,
            "free_bytes": .optional(freeBytes),
        ]
    }
}

/// Where one operation of a graph is to run.
public struct Placed: Sendable, Equatable {
    public let name: String
    public let operation: String
    /// `neural engine`, `gpu` or `cpu`.
    public let unit: String
    public let cost: Double?

    public init(name: String, operation: String, unit: String, cost: Double?) {
        (self.name, self.operation, self.unit, self.cost) = (name, operation, unit, cost)
    }

    var json: JSONValue {
        [
            "name": .text(name), "operation": .text(operation), "unit": .text(unit),
            "cost": cost.map(JSONValue.number) ?? .null,
        ]
    }
}

/// A runtime that the runner has.
public protocol RunnerEngine: Sendable {
    /// Name and version, for people.
    var title: String { get }
    /// What a reader of its times should know.
    var notes: [String] { get }
    func open(_ graph: GraphFile, at url: URL, of manifest: Manifest) async throws -> any LoadedGraph
    /// Forgets what was compiled of a graph, so that its next `open` is as on a new phone; false if it
    /// compiles nothing.
    func forget(_ graph: GraphFile, at url: URL, of manifest: Manifest) throws -> Bool
    /// Where the operations of a graph, which was opened, are to run; empty if that is not told.
    func placement(_ graph: GraphFile, of manifest: Manifest) async -> [Placed]
}

/// How the desk comes by an engine: its version at any time, the engine for a job.
public struct EngineKind: Sendable {
    public let version: String
    public let make: @Sendable (_ units: String, _ threads: Int) throws -> any RunnerEngine

    public init(
        version: String, make: @escaping @Sendable (_ units: String, _ threads: Int) throws -> any RunnerEngine
    ) {
        (self.version, self.make) = (version, make)
    }
}
