// Declarations of Apple's CoreML that the package uses, to type-check it where there is none. Nothing here
// runs. Not Sendable, as in older SDKs, where it matters.
import CoreVideo
import Foundation

public enum MLComputeUnits: Int, Sendable { case cpuOnly, cpuAndGPU, all, cpuAndNeuralEngine }

public final class MLModelConfiguration {
    public init() {}
    public var computeUnits: MLComputeUnits = .all
}

public enum MLMultiArrayDataType: Int, Sendable { case double, float32, float16, int32, int8 }

public final class MLMultiArray {
    public init(shape: [NSNumber], dataType: MLMultiArrayDataType) throws { fatalError() }
    public var shape: [NSNumber] { fatalError() }
    public var strides: [NSNumber] { fatalError() }
    public var dataType: MLMultiArrayDataType { fatalError() }
    public func withUnsafeBytes<R>(_ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R { fatalError() }
    public func withUnsafeMutableBytes<R>(
        _ body: (UnsafeMutableRawBufferPointer, [Int]) throws -> R
    ) rethrows -> R { fatalError() }
}

public final class MLFeatureValue {
    public init(multiArray: MLMultiArray) {}
    public init(pixelBuffer: CVPixelBuffer) {}
    public var multiArrayValue: MLMultiArray? { fatalError() }
}

public protocol MLFeatureProvider {
    var featureNames: Set<String> { get }
    func featureValue(for featureName: String) -> MLFeatureValue?
}

public final class MLDictionaryFeatureProvider: MLFeatureProvider {
    public init(dictionary: [String: Any]) throws { fatalError() }
    public var featureNames: Set<String> { fatalError() }
    public func featureValue(for featureName: String) -> MLFeatureValue? { fatalError() }
}

public final class MLMultiArrayConstraint {
    fileprivate init() {}
    public var dataType: MLMultiArrayDataType { fatalError() }
}

public final class MLFeatureDescription {
    fileprivate init() {}
    public var multiArrayConstraint: MLMultiArrayConstraint? { fatalError() }
}

public final class MLModelDescription {
    fileprivate init() {}
    public var outputDescriptionsByName: [String: MLFeatureDescription] { fatalError() }
}

public final class MLPredictionOptions {
    public init() {}
    public var outputBackings: [String: Any] = [:]
}

public final class MLModel {
    fileprivate init() {}
    public var modelDescription: MLModelDescription { fatalError() }
    public class func compileModel(at modelURL: URL) async throws -> URL { fatalError() }
    public class func load(
        contentsOf url: URL, configuration: MLModelConfiguration = MLModelConfiguration()
    ) async throws -> MLModel { fatalError() }
    public func prediction(
        from input: any MLFeatureProvider, options: MLPredictionOptions
    ) throws -> any MLFeatureProvider { fatalError() }
}

public enum MLComputeDevice {
    case cpu(MLCPUComputeDevice), gpu(MLGPUComputeDevice), neuralEngine(MLNeuralEngineComputeDevice)
}
public final class MLCPUComputeDevice {}
public final class MLGPUComputeDevice {}
public final class MLNeuralEngineComputeDevice {}

@available(macOS 14.4, iOS 17.4, *)
public final class MLComputePlan {
    public struct DeviceUsage {
        public let supported: [MLComputeDevice]
        public let preferred: MLComputeDevice
    }
    public struct Cost { public let weight: Double }
    fileprivate init() {}
    public let modelStructure: MLModelStructure = .unsupported
    public class func load(
        contentsOf url: URL, configuration: MLModelConfiguration
    ) async throws -> MLComputePlan { fatalError() }
    public func deviceUsage(for operation: MLModelStructure.Program.Operation) -> DeviceUsage? { nil }
    public func estimatedCost(of operation: MLModelStructure.Program.Operation) -> Cost? { nil }
}

@available(macOS 14.4, iOS 17.4, *)
public enum MLModelStructure {
    public struct Program {
        public struct NamedValueType { public let name: String }
        public struct Operation {
            public let operatorName: String
            public let outputs: [NamedValueType]
            public let blocks: [Block]
        }
        public struct Block { public let operations: [Operation] }
        public struct Function { public let block: Block }
        public let functions: [String: Function]
    }
    case program(Program), unsupported
}
