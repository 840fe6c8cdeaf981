#if canImport(CoreML)
    import CoreML
    import CoreVideo
    import Foundation
    import SegmentAnythingCore

    /// Core ML, on Apple's systems.
    public struct CoreMLEngine: Engine {
        public let target = "coreml"
        public let computeUnits: MLComputeUnits
        private let cache: URL

        /// - Parameters:
        ///   - computeUnits: where Core ML may run the graphs.
        ///   - cache: folder of compiled graphs; nil for one in Application Support.
        /// - Throws: `SegmentAnythingError.request` if there is no folder for compiled graphs.
        public init(computeUnits: MLComputeUnits = .all, cache: URL? = nil) throws {
            self.computeUnits = computeUnits
            let support = FileManager.default.urls(for: .applicationSupportDirectory, in: .userDomainMask).first
            guard let folder = cache ?? support?.appendingPathComponent("SegmentAnything") else {
                throw SegmentAnythingError.request("there is no Application Support folder: give a cache")
            }
            self.cache = folder
        }

        public func open(
            _ graph: GraphFile, at url: URL, of manifest: Manifest
        ) async throws -> any LoadedGraph {
            let compiled = compiled(graph, of: manifest)
            do {
                if FileManager.default.fileExists(atPath: compiled.path),
                    let loaded = try? await load(graph, compiled)
                {
                    return loaded
                }
                try await compile(url, to: compiled)
                return try await load(graph, compiled)
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

        private func load(_ graph: GraphFile, _ compiled: URL) async throws -> CoreMLGraph {
            let configuration = MLModelConfiguration()
            configuration.computeUnits = computeUnits
            return try CoreMLGraph(
                graph, await MLModel.load(contentsOf: compiled, configuration: configuration))
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
        private let graph: GraphFile
        private let model: MLModel
        private let buffers: PixelBuffers?

        init(_ graph: GraphFile, _ model: MLModel) throws {
            self.graph = graph
            self.model = model
            let image = graph.inputs.first { $0.dtype == "uint8" }
            buffers = try image.map { try PixelBuffers(side: $0.shape[2]) }
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
                outputs = try model.prediction(from: MLDictionaryFeatureProvider(dictionary: features))
            } catch {
                throw SegmentAnythingError.bundle(
                    "Core ML cannot run \(graph.name): \(error.localizedDescription)")
            }
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
