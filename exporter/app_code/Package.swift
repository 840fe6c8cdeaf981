// swift-tools-version: 6.0
import PackageDescription

let package = Package(
    name: "SegmentAnything",
    platforms: [.iOS(.v16), .macOS(.v13)],
    products: [.library(name: "SegmentAnything", targets: ["SegmentAnything"])],
    targets: [
        .target(name: "SegmentAnythingCore"),
        .target(name: "SegmentAnything", dependencies: ["SegmentAnythingCore"]),
    ],
    swiftLanguageModes: [.v6]
)
