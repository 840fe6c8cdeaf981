#if canImport(CoreML)
    import CoreML
    import Foundation
    import RunnerCore
    import SegmentAnything

    /// Core ML as a runtime of the runner.
    public struct CoreMLRunnerEngine: RunnerEngine {
        private let engine: CoreMLEngine

        /// - Parameters:
        ///   - units: `all`, `cpuAndNeuralEngine`, `cpuAndGPU` or `cpuOnly`.
        ///   - cache: folder of compiled graphs.
        /// - Throws: `SegmentAnythingError.request` for other units.
        public init(units: String, cache: URL) throws {
            engine = try CoreMLEngine(placement: Placement(rawValue: units), cache: cache)
        }

        public var title: String { "Core ML, \(ProcessInfo.processInfo.operatingSystemVersionString)" }
        public var notes: [String] { [] }

        public func open(
            _ graph: GraphFile, at url: URL, of manifest: Manifest
        ) async throws -> any LoadedGraph {
            try await engine.open(graph, at: url, of: manifest)
        }

        /// This graph alone: a session that follows finds the others compiled, as an app does.
        public func forget(_ graph: GraphFile, at url: URL, of manifest: Manifest) throws -> Bool {
            let folder = engine.compiled(graph, of: manifest)
            if FileManager.default.fileExists(atPath: folder.path) { try FileManager.default.removeItem(at: folder) }
            return true
        }

        /// The plan is a forecast: it can name the Neural Engine for what fails there later.
        public func placement(_ graph: GraphFile, of manifest: Manifest) async -> [Placed] {
            guard #available(iOS 17.4, macOS 14.4, *) else { return [] }
            let configuration = MLModelConfiguration()
            configuration.computeUnits = engine.computeUnits
            let compiled = engine.compiled(graph, of: manifest)
            guard let plan = try? await MLComputePlan.load(contentsOf: compiled, configuration: configuration),
                case .program(let program) = plan.modelStructure
            else { return [] }
            return program.functions.values.flatMap { placed($0.block, plan) }
        }
    }

    @available(iOS 17.4, macOS 14.4, *)
    private func placed(_ block: MLModelStructure.Program.Block, _ plan: MLComputePlan) -> [Placed] {
        block.operations.flatMap { operation -> [Placed] in
            let inner = operation.blocks.flatMap { placed($0, plan) }
            // Constants and what was folded away have no usage.
            guard let usage = plan.deviceUsage(for: operation) else { return inner }
            let unit =
                switch usage.preferred {
                case .neuralEngine: "neural engine"
                case .gpu: "gpu"
                case .cpu: "cpu"
                @unknown default: "cpu"
                }
            let own = Placed(
                name: operation.outputs.first?.name ?? "", operation: operation.operatorName, unit: unit,
                cost: plan.estimatedCost(of: operation)?.weight)
            return [own] + inner
        }
    }
#endif
