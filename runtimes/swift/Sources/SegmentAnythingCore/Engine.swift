import Foundation

/// A runtime that runs the graphs of a bundle.
public protocol Engine: Sendable {
    /// The format it runs: `coreml`, `coreai`, `tflite` or `onnx`.
    var target: String { get }

    /// Where it computes.
    var placement: Placement { get }

    /// Where `SegmentAnything.verify` has it compute, the usual choice first.
    var placements: [Placement] { get }

    /// The same runtime, which computes elsewhere. Throws `SegmentAnythingError.request` if it cannot.
    func placed(on placement: Placement) throws -> any Engine

    /// Loads one graph. Throws `SegmentAnythingError.bundle` if it cannot.
    func open(_ graph: GraphFile, at url: URL, of manifest: Manifest) async throws -> any LoadedGraph
}

/// A runtime of the CPU alone.
extension Engine {
    public var placement: Placement { .cpuOnly }
    public var placements: [Placement] { [placement] }

    public func placed(on placement: Placement) throws -> any Engine {
        guard placement == self.placement else {
            throw SegmentAnythingError.unknown(placement, of: target, choose: placements)
        }
        return self
    }
}

extension SegmentAnythingError {
    /// What to throw for a placement that a runtime does not have.
    public static func unknown(
        _ placement: Placement, of target: String, choose known: [Placement]
    ) -> SegmentAnythingError {
        .request(
            "\(target) has no placement '\(printable(placement.rawValue))'; choose from "
                + known.map(\.rawValue).joined(separator: ", "))
    }
}

/// One graph, loaded. It is run by one caller at a time.
public protocol LoadedGraph: Sendable {
    /// Whether its form for this device was made by an earlier load; nil if the runtime makes none.
    var wasKept: Bool? { get }

    /// Takes every input of the graph by name and gives every output. Those of a graph that runs once a prompt
    /// may lie where its next run writes: they are read before it.
    func run(_ inputs: [String: Value]) async throws -> [String: Value]
}

extension LoadedGraph {
    public var wasKept: Bool? { nil }
}

/// A bundle's folder and its manifest. Not `Bundle`, which an app means Foundation's by.
public struct ModelBundle: Sendable {
    public let url: URL
    public let manifest: Manifest

    /// Reads a bundle.
    ///
    /// - Parameters:
    ///   - url: the bundle's folder.
    ///   - verify: whether every file is compared with its hash; a model of 40 MB takes about 0.2 s.
    /// - Throws: `SegmentAnythingError.bundle` if there is no valid manifest, or a file is missing or changed.
    public init(_ url: URL, verify: Bool = true) throws {
        let path = url.appendingPathComponent("manifest.json"), most = 4 << 20
        guard let file = try? FileHandle(forReadingFrom: path), let data = try? file.read(upToCount: most + 1) ?? Data()
        else {
            throw SegmentAnythingError.bundle(
                "\(printable(url.path)) holds no manifest.json: it is not a bundle")
        }
        guard data.count <= most else {
            throw SegmentAnythingError.bundle(
                "\(printable(url.path)): manifest.json has more than 4 MB: it is no manifest")
        }
        self.url = url
        manifest = try Manifest(data)
        if verify { for name in manifest.files.keys.sorted() { try check(name) } }
    }

    /// Path of a graph; a folder for an .mlpackage.
    public func file(_ graph: GraphFile) throws -> URL {
        let path = url.appendingPathComponent(graph.file)
        guard FileManager.default.fileExists(atPath: path.path) else { throw missing(graph.file) }
        return path
    }

    private func missing(_ name: String) -> SegmentAnythingError {
        .bundle("\(printable(url.path)): '\(printable(name))' is missing; copy or export the bundle again")
    }

    private func check(_ name: String) throws {
        guard let file = try? FileHandle(forReadingFrom: url.appendingPathComponent(name)) else {
            throw missing(name)
        }
        defer { try? file.close() }
        var hash = Sha256()
        while let part = try? file.read(upToCount: 1 << 20), !part.isEmpty { hash.update(part) }
        guard hash.finish() == manifest.files[name] else {
            throw SegmentAnythingError.bundle(
                "\(printable(url.path)): '\(printable(name))' was changed after the export; "
                    + "copy or export the bundle again")
        }
    }
}
