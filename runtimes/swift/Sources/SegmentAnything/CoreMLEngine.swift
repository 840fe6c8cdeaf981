#if canImport(CoreML)
    import CoreML
    import CoreVideo
    import Foundation
    import SegmentAnythingCore

    /// Core ML, on Apple's systems.
    public struct CoreMLEngine: Engine {
        public let target = "coreml"
        public let placement: Placement
        public let placements: [Placement] = [.all, .cpuAndNeuralEngine, .cpuAndGPU, .cpuOnly]
        public let computeUnits: MLComputeUnits
        private let cache: URL

        /// - Parameters:
        ///   - placement: the compute units that Core ML may run the graphs on.
        ///   - cache: folder of compiled graphs; nil for one in Application Support.
        /// - Throws: `SegmentAnythingError.request` for a placement of another runtime, or if there is no
        ///   folder for compiled graphs.
        public init(placement: Placement = .all, cache: URL? = nil) throws {
            self.placement = placement
            switch placement {
            case .all: computeUnits = .all
            case .cpuAndNeuralEngine: computeUnits = .cpuAndNeuralEngine
            case .cpuAndGPU: computeUnits = .cpuAndGPU
            case .cpuOnly: computeUnits = .cpuOnly
            default: throw SegmentAnythingError.unknown(placement, of: "coreml", choose: placements)
            }
            let support = FileManager.default.urls(for: .applicationSupportDirectory, in: .userDomainMask).first
            guard let folder = cache ?? support?.appendingPathComponent("SegmentAnything") else {
                throw SegmentAnythingError.request("there is no Application Support folder: give a cache")
            }
            self.cache = folder
        }

        public func placed(on placement: Placement) throws -> any Engine {
            try CoreMLEngine(placement: placement, cache: cache)
        }

        public func open(
            _ graph: GraphFile, at url: URL, of manifest: Manifest
        ) async throws -> any LoadedGraph {
            let compiled = compiled(graph, of: manifest)
            do {
                if FileManager.default.fileExists(atPath: compiled.path),
                    let loaded = try? await load(graph, compiled, wasKept: true)
                {
                    return loaded
                }
                try await compile(url, to: compiled)
                return try await load(graph, compiled, wasKept: false)
            } catch let error as SegmentAnythingError {
                throw error
            } catch {
                throw SegmentAnythingError.bundle(
                    "Core ML cannot load \(graph.file): \(error.localizedDescription)")
            }
        }

        /// Where the compiled form of a graph is kept.
        public func compiled(_ graph: GraphFile, of manifest: Manifest) -> URL {
            cache.appendingPathComponent(manifest.contentHash).appendingPathComponent("\(graph.name).mlmodelc")
        }

        private func load(
            _ graph: GraphFile, _ compiled: URL, wasKept: Bool
        ) async throws -> CoreMLGraph {
            let configuration = MLModelConfiguration()
            configuration.computeUnits = computeUnits
            let model = try await MLModel.load(contentsOf: compiled, configuration: configuration)
            return try CoreMLGraph(graph, model, wasKept: wasKept)
        }

        /// Compiles into a place that the system does not empty. The move is atomic: nobody sees a part.
        private func compile(_ url: URL, to compiled: URL) async throws {
            let made = try await MLModel.compileModel(at: url)
            let files = FileManager.default
            try files.createDirectory(
                at: compiled.deletingLastPathComponent(), withIntermediateDirectories: true)
            if files.fileExists(atPath: compiled.path) { try files.removeItem(at: compiled) }
            try files.moveItem(at: made, to: compiled)
        }
    }

    /// The model is run by one caller at a time, as `LoadedGraph` says.
    private final class CoreMLGraph: LoadedGraph, @unchecked Sendable {
        let wasKept: Bool?
        private let graph: GraphFile
        private let model: MLModel
        private let buffers: PixelBuffers?
        private let options = MLPredictionOptions()

        init(_ graph: GraphFile, _ model: MLModel, wasKept: Bool) throws {
            (self.graph, self.model, self.wasKept) = (graph, model, wasKept)
            let image = graph.inputs.first { $0.dtype == "uint8" }
            buffers = try image.map { try PixelBuffers(side: $0.shape[2]) }
            // A click's outputs, megabytes of logits, are written where the last click's lay: they were copied
            // out. An image's are not: its scene gives them to every click, so each image gets new ones.
            if graph.runs == .prompt { options.outputBackings = try CoreMLGraph.memory(graph, model) }
        }

        private static func memory(_ graph: GraphFile, _ model: MLModel) throws -> [String: MLMultiArray] {
            let described = model.modelDescription.outputDescriptionsByName
            return Dictionary(
                uniqueKeysWithValues: try graph.outputs.map { spec in
                    let type = described[spec.name]?.multiArrayConstraint?.dataType ?? .float32
                    return (spec.name, try MLMultiArray(shape: spec.shape.map { NSNumber(value: $0) }, dataType: type))
                })
        }

        func run(_ inputs: [String: Value]) throws -> [String: Value] {
            var features: [String: MLFeatureValue] = [:]
            for spec in graph.inputs {
                guard let value = inputs[spec.name] else {
                    throw SegmentAnythingError.bundle("nothing gives \(graph.name) \(spec.name)")
                }
                features[spec.name] = try feature(value)
            }
            let outputs: any MLFeatureProvider
            do {
                let given = try MLDictionaryFeatureProvider(dictionary: features)
                outputs = try model.prediction(from: given, options: options)
            } catch {
                throw SegmentAnythingError.bundle(
                    "Core ML cannot run \(graph.name): \(error.localizedDescription)")
            }
            // Where `options` do not suit it, Core ML allocates in silence: what it returns is read, never ours.
            return Dictionary(
                uniqueKeysWithValues: try graph.outputs.map { spec in
                    guard let array = outputs.featureValue(for: spec.name)?.multiArrayValue,
                        array.shape.map(\.intValue) == spec.shape
                    else { throw SegmentAnythingError.bundle("\(graph.name) gives no \(spec.name)") }
                    return (spec.name, .held(CoreMLValue(array)))
                })
        }

        private func feature(_ value: Value) throws -> MLFeatureValue {
            switch value {
            case .held(let held as CoreMLValue): return MLFeatureValue(multiArray: held.array)
            case .pixels(let rgb, let side):
                guard let buffers, buffers.side == side else {
                    throw SegmentAnythingError.bundle("\(graph.name) takes no image of \(side) x \(side)")
                }
                return MLFeatureValue(pixelBuffer: try buffers.filled(rgb))
            case .floats, .held:
                let tensor = try value.tensor()
                let shape = tensor.shape.map { NSNumber(value: $0) }
                let array = try MLMultiArray(shape: shape, dataType: .float32)
                tensor.values.withUnsafeBytes { numbers in
                    array.withUnsafeMutableBytes { memory, _ in memory.copyMemory(from: numbers) }
                }
                return MLFeatureValue(multiArray: array)
            }
        }
    }

    /// An output in Core ML's own memory, which a later graph takes without a copy. Nobody writes to it.
    private final class CoreMLValue: HeldTensor, @unchecked Sendable {
        let array: MLMultiArray

        init(_ array: MLMultiArray) { self.array = array }

        func tensor() throws -> Tensor {
            let type: StoredType
            switch array.dataType {
            case .float16: type = .float16
            case .float32: type = .float32
            case .double: type = .float64
            default: throw SegmentAnythingError.bundle("an output of Core ML is not of floats")
            }
            return try array.withUnsafeBytes { memory in
                try Tensor(
                    memory, shape: array.shape.map(\.intValue), strides: array.strides.map(\.intValue),
                    type: type)
            }
        }
    }
#endif
