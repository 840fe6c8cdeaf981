// swift-tools-version: 6.0
import PackageDescription

let package = Package(
    name: "SamRunner",
    platforms: [.iOS(.v16), .macOS(.v13)],
    products: [
        .library(name: "RunnerCore", targets: ["RunnerCore"]),
        .library(name: "RunnerApple", targets: ["RunnerApple"]),
        .executable(name: "sam-runner", targets: ["sam-runner"]),
    ],
    dependencies: [.package(name: "SegmentAnything", path: "../../runtimes/swift")],
    targets: [
        .target(
            name: "RunnerCore", dependencies: [.product(name: "SegmentAnything", package: "SegmentAnything")]),
        .target(name: "RunnerApple", dependencies: ["RunnerCore"]),
        .executableTarget(
            name: "sam-runner",
            dependencies: ["RunnerCore", .product(name: "SegmentAnythingOnnx", package: "SegmentAnything")]),
        .testTarget(name: "RunnerCoreTests", dependencies: ["RunnerCore"]),
    ],
    swiftLanguageModes: [.v6]
)
