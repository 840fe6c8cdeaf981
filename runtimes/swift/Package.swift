// swift-tools-version: 6.0
import PackageDescription

let package = Package(
    name: "SegmentAnything",
    platforms: [.iOS(.v16), .macOS(.v13)],
    products: [
        .library(name: "SegmentAnything", targets: ["SegmentAnything"]),
        .library(name: "SegmentAnythingOnnx", targets: ["SegmentAnythingOnnx"]),
        .executable(name: "sam-segment", targets: ["sam-segment"]),
    ],
    targets: [
        .target(name: "SegmentAnythingCore"),
        .target(name: "SegmentAnything", dependencies: ["SegmentAnythingCore"]),
        .target(name: "COnnxRuntime", linkerSettings: [.linkedLibrary("dl", .when(platforms: [.linux]))]),
        .target(name: "SegmentAnythingOnnx", dependencies: ["SegmentAnythingCore", "COnnxRuntime"]),
        .systemLibrary(name: "CZlib", providers: [.apt(["zlib1g-dev"])]),
        .target(name: "Pictures", dependencies: ["SegmentAnythingCore", "CZlib"]),
        .executableTarget(
            name: "sam-segment", dependencies: ["SegmentAnything", "SegmentAnythingOnnx", "Pictures"]),
        .testTarget(name: "CoreTests", dependencies: ["SegmentAnythingCore", "Pictures"]),
    ],
    swiftLanguageModes: [.v6]
)
