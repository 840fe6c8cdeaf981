#if canImport(CoreAI)
    import CoreAI
    import Foundation
    import RunnerCore
    import SegmentAnything

    /// Core AI as a runtime of the runner.
    @available(iOS 27, macOS 27, *)
    public struct CoreAIRunnerEngine: RunnerEngine {
        private let engine: CoreAIEngine

        /// - Parameter units: `all`, `preferGPU`, `preferNeuralEngine` or `cpuOnly`.
        /// - Throws: `SegmentAnythingError.request` for other units.
        public init(units: String) throws {
            engine = try CoreAIEngine(placement: Placement(rawValue: units))
        }

        public var title: String { "Core AI, \(ProcessInfo.processInfo.operatingSystemVersionString)" }
        public var notes: [String] { [] }

        public func open(
            _ graph: GraphFile, at url: URL, of manifest: Manifest
        ) async throws -> any LoadedGraph {
            try await engine.open(graph, at: url, of: manifest)
        }

        /// All graphs of the file: it is specialised as a whole.
        public func forget(_ graph: GraphFile, at url: URL, of manifest: Manifest) throws -> Bool {
            engine.forget(url)
        }

        /// Core AI does not tell where operations run.
        public func placement(_ graph: GraphFile, of manifest: Manifest) async -> [Placed] { [] }
    }
#endif
