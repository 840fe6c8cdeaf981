#if canImport(CoreAI)
    import CoreAI
    import Foundation
    import SegmentAnythingCore

    /// Core AI, on Apple's systems from 27 on; not in the iOS Simulator.
    @available(iOS 27, macOS 27, *)
    public struct CoreAIEngine: Engine {
        /// Every placement. To prefer the Neural Engine may end the process with an asset that it cannot
        /// hold (apple/coreai-torch#67), so `placements`, which are tried on a user's device, leave it out.
        public static let everyPlacement: [Placement] = [.all, .preferGPU, .preferNeuralEngine, .cpuOnly]

        public let target = "coreai"
        public let placement: Placement
        public let placements: [Placement] = [.all, .preferGPU, .cpuOnly]
        private let options: SpecializationOptions
        private let models = Models()

        /// - Throws: `SegmentAnythingError.request` for a placement of another runtime.
        public init(placement: Placement = .all) throws {
            self.placement = placement
            switch placement {
            case .all: options = .default
            case .preferGPU: options = SpecializationOptions(preferredComputeUnitKind: .gpu)
            case .preferNeuralEngine:
                options = SpecializationOptions(preferredComputeUnitKind: .neuralEngine)
            case .cpuOnly: options = .cpuOnly
            default:
                throw SegmentAnythingError.unknown(
                    placement, of: "coreai", choose: CoreAIEngine.everyPlacement)
            }
        }

        public func placed(on placement: Placement) throws -> any Engine {
            try CoreAIEngine(placement: placement)
        }

        public func open(
            _ graph: GraphFile, at url: URL, of manifest: Manifest
        ) async throws -> any LoadedGraph {
            do {
                let held = try await model(at: url)
                guard let function = try held.model.loadFunction(named: graph.function) else {
                    throw SegmentAnythingError.bundle(
                        "\(graph.file) has no function \(graph.function), but "
                            + held.model.functionNames.joined(separator: ", "))
                }
                return try CoreAIGraph(graph, function, of: held)
            } catch let error as SegmentAnythingError {
                throw error
            } catch {
                throw SegmentAnythingError.bundle(
                    "Core AI cannot load \(graph.file): \(error.localizedDescription)")
            }
        }

        /// Has the system delete what it keeps of a file for this placement, so that its next load is as on
        /// a new device; false if it keeps it still, as it does while a graph of the file is loaded.
        public func forget(_ url: URL) -> Bool {
            let cache = AIModelCache.default
            try? cache.deleteEntry(for: url, options: options)  // it may not know the file
            return ((try? cache.model(for: url, options: options)) ?? nil) == nil
        }

        /// One model for all graphs of a file, as long as one of them is loaded.
        private func model(at url: URL) async throws -> HeldModel {
            if let held = models.held(url) { return held }
            // An entry that no longer loads is made anew.
            if let kept = try? AIModelCache.default.model(for: url, options: options) {
                return models.hold(HeldModel(kept, wasKept: true), url)
            }
            return models.hold(HeldModel(try await AIModel(contentsOf: url, options: options), wasKept: false), url)
        }
    }

    @available(iOS 27, macOS 27, *)
    private final class HeldModel: Sendable {
        let model: AIModel
        /// Whether the system had it for this device.
        let wasKept: Bool

        init(_ model: AIModel, wasKept: Bool) { (self.model, self.wasKept) = (model, wasKept) }
    }

    /// The models of the graphs that are loaded now.
    @available(iOS 27, macOS 27, *)
    private final class Models: @unchecked Sendable {
        private struct Weak { weak var model: HeldModel? }
        private let lock = NSLock()
        private var models: [URL: Weak] = [:]

        func held(_ url: URL) -> HeldModel? { lock.withLock { models[url]?.model } }

        func hold(_ model: HeldModel, _ url: URL) -> HeldModel {
            lock.withLock { models[url] = Weak(model: model) }
            return model
        }
    }

    /// The function is run by one caller at a time, as `LoadedGraph` says: its inputs are made once and
    /// filled again for every call.
    @available(iOS 27, macOS 27, *)
    private final class CoreAIGraph: LoadedGraph, @unchecked Sendable {
        var wasKept: Bool? { model.wasKept }
        private let model: HeldModel
        private let graph: GraphFile
        private let function: InferenceFunction
        private var arrays: [String: NDArray] = [:]

        init(_ graph: GraphFile, _ function: InferenceFunction, of model: HeldModel) throws {
            (self.graph, self.function, self.model) = (graph, function, model)
            for spec in graph.inputs {
                guard case .ndArray(let descriptor)? = function.descriptor.inputDescriptor(of: spec.name),
                    descriptor.shape == spec.shape, descriptor.scalarType == .float32,
                    descriptor.interleaveLayout == nil
                else { throw graph.otherwise(spec) }
                arrays[spec.name] = NDArray(descriptor: descriptor)
            }
        }

        func run(_ inputs: [String: Value]) async throws -> [String: Value] {
            var given: [String: NDArray] = [:]
            for spec in graph.inputs { given[spec.name] = try array(spec, inputs[spec.name]) }
            var results: InferenceFunction.Outputs
            do {
                results = try await function.run(inputs: given)
            } catch {
                throw SegmentAnythingError.bundle(
                    "Core AI cannot run \(graph.name): \(error.localizedDescription)")
            }
            var outputs: [String: Value] = [:]
            for spec in graph.outputs {
                guard let result = results.remove(spec.name) else { throw graph.otherwise(spec) }
                guard let array = result.ndArray, array.shape == spec.shape, array.scalarType == .float32
                else { throw graph.otherwise(spec) }
                outputs[spec.name] = .held(CoreAIValue(array))
            }
            return outputs
        }

        /// An earlier graph's output as it is; anything else is copied into this input's own memory.
        private func array(_ spec: TensorSpec, _ value: Value?) throws -> NDArray {
            guard let value else {
                throw SegmentAnythingError.bundle("nothing gives \(graph.name) \(spec.name)")
            }
            if case .held(let held as CoreAIValue) = value { return held.array }
            let tensor = try value.tensor()
            guard tensor.shape == spec.shape, var own = arrays.removeValue(forKey: spec.name) else {
                throw graph.otherwise(spec)
            }
            // Out of the dictionary meanwhile: nobody else refers to it, so that nothing is copied.
            defer { arrays[spec.name] = own }
            try own.mutableView(as: Float.self).withUnsafeMutablePointer { memory, shape, strides in
                let places = (0..<shape.count).map { strides[$0] }
                try tensor.write(to: memory, strides: places)
            }
            return own
        }
    }

    extension GraphFile {
        /// The tensor in the file is not the manifest's.
        fileprivate func otherwise(_ spec: TensorSpec) -> SegmentAnythingError {
            .bundle("\(name) has no \(spec.name) of float32 \(spec.shape): export the bundle again")
        }
    }

    /// An output in Core AI's own memory, which a later graph takes without a copy. Nobody writes to it.
    @available(iOS 27, macOS 27, *)
    private final class CoreAIValue: HeldTensor, @unchecked Sendable {
        let array: NDArray

        init(_ array: NDArray) { self.array = array }

        func tensor() throws -> Tensor {
            guard array.interleaveLayout == nil else {
                throw SegmentAnythingError.bundle("an output of Core AI is interleaved")
            }
            let shape = array.shape
            return try array.view(as: Float.self).withUnsafePointer { memory, _, strides in
                let places = (0..<strides.count).map { strides[$0] }
                let reach = zip(shape, places).reduce(1) { $0 + ($1.0 - 1) * $1.1 }
                let bytes = UnsafeRawBufferPointer(start: memory, count: reach * 4)
                return try Tensor(bytes, shape: shape, strides: places, type: .float32)
            }
        }
    }
#endif
