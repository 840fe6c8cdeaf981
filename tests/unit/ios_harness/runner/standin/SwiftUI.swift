// Declarations of Apple's SwiftUI that the runner uses, to type-check it where there is none. Nothing here
// runs.
@MainActor public protocol View {
    associatedtype Body: View
    var body: Body { get }
}
extension Never: View { public var body: Never { fatalError() } }

public struct Text: View {
    public init(_ text: String) {}
    public var body: Never { fatalError() }
}

extension View {
    public func padding() -> some View { self }
    public func task(_ action: @escaping @Sendable @MainActor () async -> Void) -> some View { self }
}

@MainActor public protocol Scene {
    associatedtype Body: Scene
    var body: Body { get }
}
extension Never: Scene {}
public struct WindowGroup<Content: View>: Scene {
    public init(content: () -> Content) {}
    public var body: Never { fatalError() }
}

@MainActor public protocol App {
    associatedtype Body: Scene
    var body: Body { get }
    init()
}
extension App { public static func main() {} }

@MainActor @propertyWrapper public struct State<Value> {
    public init(wrappedValue: Value) { self.wrappedValue = wrappedValue }
    public var wrappedValue: Value {
        get { fatalError() }
        nonmutating set { fatalError() }
    }
}
