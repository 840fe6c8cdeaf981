// Declarations of Apple's CoreAI that the package uses, to type-check it where there is none: written from
// its documentation and apple/coreai-models. Nothing here runs. Views are not copied, as there.
import Foundation

public enum ComputeUnitKind: Hashable, Sendable { case cpu, gpu, neuralEngine }

@available(iOS 27, macOS 27, *)
public struct SpecializationOptions: Sendable {
    public static let `default` = SpecializationOptions()
    public static let cpuOnly = SpecializationOptions()
    public init(preferredComputeUnitKind: ComputeUnitKind) {}
    fileprivate init() {}
}

@available(iOS 27, macOS 27, *)
public final class AIModelCache: Sendable {
    public static let `default` = AIModelCache()
    fileprivate init() {}
    public func model(for modelURL: URL, options: SpecializationOptions) throws -> AIModel? { nil }
    public func deleteEntry(for modelURL: URL, options: SpecializationOptions) throws {}
}

@available(iOS 27, macOS 27, *)
public struct AIModel: Sendable {
    public init(contentsOf modelURL: URL, options: SpecializationOptions = .default) async throws {}
    public var functionNames: [String] { fatalError() }
    public func loadFunction(named name: String) throws -> InferenceFunction? { nil }
}

@available(iOS 27, macOS 27, *)
public struct InferenceFunctionDescriptor: Sendable {
    public func inputDescriptor(of name: String) -> InferenceValue.Descriptor? { nil }
}

@available(iOS 27, macOS 27, *)
public struct InferenceFunction: Sendable {
    fileprivate init() {}
    public let descriptor = InferenceFunctionDescriptor()
    public struct MutableViews: ~Copyable { public init() {} }
    public struct Outputs: ~Copyable {
        public mutating func remove(_ name: String) -> InferenceValue? { nil }
    }
    public func run(
        inputs: [String: NDArray], states: consuming MutableViews = MutableViews(),
        outputViews: consuming MutableViews = MutableViews()
    ) async throws -> Outputs { fatalError() }
}

@available(iOS 27, macOS 27, *)
public struct InferenceValue: ~Copyable {
    public enum Descriptor: Sendable { case image(ImageDescriptor), ndArray(NDArrayDescriptor) }
    public var ndArray: NDArray? { consuming get { nil } }
}

@available(iOS 27, macOS 27, *)
public struct ImageDescriptor: Sendable {}

@available(iOS 27, macOS 27, *)
public struct NDArrayDescriptor: Sendable {
    public var shape: [Int] { fatalError() }
    public var scalarType: NDArray.ScalarType { fatalError() }
    public var interleaveLayout: NDArray.InterleaveLayout? { nil }
}

@available(iOS 27, macOS 27, *)
public struct NDArray {
    private let memory = NSObject()  // as an older SDK's: not Sendable
    public enum ScalarType: Sendable { case float16, float32, int32, uint8 }
    public struct InterleaveLayout: Sendable {}
    public init(descriptor: consuming NDArrayDescriptor) {}
    public var shape: [Int] { fatalError() }
    public var strides: [Int] { fatalError() }
    public var scalarType: ScalarType { fatalError() }
    public var interleaveLayout: InterleaveLayout? { nil }
    public func view<T: BitwiseCopyable>(as type: T.Type = T.self) -> View<T> { View() }
    public mutating func mutableView<T: BitwiseCopyable>(as type: T.Type = T.self) -> MutableView<T> {
        MutableView()
    }

    public struct View<Element: BitwiseCopyable>: ~Copyable {
        public func withUnsafePointer<R, E: Error>(
            _ body: (UnsafePointer<Element>, Span<Int>, Span<Int>) throws(E) -> R
        ) throws(E) -> R { fatalError() }
    }
    public struct MutableView<Element: BitwiseCopyable>: ~Copyable {
        public func withUnsafeMutablePointer<R, E: Error>(
            _ body: (UnsafeMutablePointer<Element>, Span<Int>, Span<Int>) throws(E) -> R
        ) throws(E) -> R { fatalError() }
    }
}
