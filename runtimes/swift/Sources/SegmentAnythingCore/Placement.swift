/// Where a runtime may compute. The names are those of `sam-bench --delegate`.
public struct Placement: RawRepresentable, Hashable, Codable, Sendable, CustomStringConvertible {
    public let rawValue: String

    public init(rawValue: String) { self.rawValue = rawValue }

    /// Every unit, as the runtime chooses: the usual one of Core ML and Core AI.
    public static let all = Placement(rawValue: "all")
    public static let cpuOnly = Placement(rawValue: "cpuOnly")
    /// Of Core ML: the other unit is left out.
    public static let cpuAndNeuralEngine = Placement(rawValue: "cpuAndNeuralEngine")
    public static let cpuAndGPU = Placement(rawValue: "cpuAndGPU")
    /// Of Core AI: a wish; what the unit cannot do runs elsewhere.
    public static let preferGPU = Placement(rawValue: "preferGPU")
    public static let preferNeuralEngine = Placement(rawValue: "preferNeuralEngine")

    public var description: String { rawValue }
}

/// How long a graph took to load.
public struct Load: Codable, Equatable, Sendable {
    public let graph: String
    public let seconds: Double
    /// Whether its form for this device was made by an earlier load; nil if the runtime makes none.
    public let wasKept: Bool?
}
