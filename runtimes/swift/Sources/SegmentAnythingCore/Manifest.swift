import Foundation

/// One input or output of a graph.
public struct TensorSpec: Sendable {
    public let name: String
    public let shape: [Int]
    /// `float32`, or `uint8` for an image input that takes a pixel buffer.
    public let dtype: String
    /// Axis letters such as `NCHW`, or `RGB image`.
    public let layout: String

    init(_ fields: Fields) throws {
        try fields.only("name", "shape", "dtype", "layout")
        name = try fields.text("name")
        shape = try fields.wholes("shape", 1...268_435_456)
        dtype = try fields.text("dtype")
        layout = try fields.text("layout")
        var count = 1
        for side in shape {
            count = min(count, 268_435_456) * side
        }
        guard !shape.isEmpty, shape.count <= 8, count <= 268_435_456 else {
            throw fields.wrong("shape", "one to eight sides of 268435456 numbers at most")
        }
        guard ["float32", "uint8"].contains(dtype), (dtype == "uint8") == (layout == "RGB image") else {
            throw fields.wrong("dtype", "float32, or uint8 of an RGB image")
        }
    }
}

/// A lowered graph in the bundle.
public struct GraphFile: Sendable {
    public let name: String
    public let inputs: [TensorSpec]
    public let outputs: [TensorSpec]
    /// How often it runs: once an image, or once a prompt on it.
    public let runs: Runs
    /// Its name in the bundle; a folder for an .mlpackage or an .aimodel. Graphs may share one.
    public let file: String
    /// What to call in a file that graphs share.
    public let function: String

    public enum Runs: String, Sendable { case image, prompt, frame }

    init(_ fields: Fields) throws {
        try fields.only("spec", "file", "bytes", "signature", "multiply_accumulates")
        let spec = try fields.object("spec")
        try spec.only("name", "inputs", "outputs", "runs")
        name = try spec.text("name")
        inputs = try spec.objects("inputs").map(TensorSpec.init)
        outputs = try spec.objects("outputs").map(TensorSpec.init)
        runs = try spec.word("runs", Runs.self)
        file = try safePath(fields.text("file"))
        let signature = fields.has("signature") ? try fields.text("signature") : ""
        function = signature.isEmpty ? name : signature
    }

    /// Whether the graph takes an input of that name.
    public func takes(_ name: String) -> Bool { inputs.contains { $0.name == name } }
}

extension [GraphFile] {
    /// Those that run as often as `runs` says, each after the ones that feed it.
    func inOrder(_ runs: GraphFile.Runs) throws -> [GraphFile] {
        var waiting = filter { $0.runs == runs }, ordered: [GraphFile] = []
        while !waiting.isEmpty {
            let next = waiting.firstIndex { graph in
                !waiting.contains { other in
                    other.name != graph.name && other.outputs.contains { graph.takes($0.name) }
                }
            }
            guard let next else {
                throw SegmentAnythingError.bundle("the graphs feed each other in a ring; export the bundle again")
            }
            ordered.append(waiting.remove(at: next))
        }
        return ordered
    }
}

/// How a bundle is prompted: in a decoder's slots, not at all, or with pictures.
public enum Kind: Sendable {
    case slots(PromptRule), detections(DetectionRule), drawn(DrawnPrompts)
}

/// What is needed to use a bundle rightly, of its `manifest.json`.
public struct Manifest: Sendable {
    public static let schemaVersion = 3

    public let variant: String
    /// The format of the graphs: `coreml`, `coreai`, `tflite` or `onnx`.
    public let target: String
    public let precision: String
    /// Name of the licence of the weights.
    public let licence: String
    public let graphs: [GraphFile]
    public let preprocess: Preprocess
    public let mask: MaskRule
    public let kind: Kind
    /// How objects are followed through a video; nil if the bundle has no memory.
    public let video: VideoRule?
    /// What the export measured, with the floors that a device has to reach as well.
    public let parity: [Figure]
    /// File -> sha256 in hex.
    public let files: [String: String]
    /// sha256 of the manifest's own content, in hex: no two exports share it.
    public let contentHash: String

    /// Reads a manifest. Throws `SegmentAnythingError.bundle`, which names the faulty field.
    public init(_ data: Data) throws {
        let json: JSON
        do { json = try JSON.parse(data) } catch {
            throw SegmentAnythingError.bundle("manifest.json is not JSON: copy the bundle again")
        }
        let fields = try Fields(json, at: "manifest")
        let version = try fields.number("schema_version")
        guard version == Double(Manifest.schemaVersion) else {
            throw SegmentAnythingError.bundle(
                "manifest.json has schema version \(plain(version)); this release reads "
                    + "\(Manifest.schemaVersion): export the bundle again")
        }
        variant = try fields.text("variant")
        guard !fields.has("volume") else {
            throw SegmentAnythingError.bundle(
                "\(printable(variant)) segments a volume, and this package pictures: run it with sam-run")
        }
        target = try fields.text("target")
        precision = try fields.text("precision")
        licence = try fields.object("licence").text("name")
        preprocess = try Preprocess(fields.object("preprocess"))
        graphs = try fields.objects("graphs").map(GraphFile.init)
        mask = try MaskRule(fields.object("mask"))
        kind = try Manifest.kind(fields)
        video = fields.has("video") ? try VideoRule(fields.object("video")) : nil
        parity = try fields.objects("parity").map(Figure.init)
        files = try fields.texts("files")
        for name in files.keys { _ = try safePath(name) }
        contentHash = try fields.text("content_sha256")
        try checkAgreement()
        guard contentHash == Manifest.hash(data) else {
            throw SegmentAnythingError.bundle(
                "manifest.json was changed after the export: copy or export the bundle again")
        }
    }

    public func graph(_ name: String) throws -> GraphFile {
        guard let found = graphs.first(where: { $0.name == name }) else {
            throw SegmentAnythingError.bundle("this bundle has no graph '\(name)'")
        }
        return found
    }

    private static func kind(_ fields: Fields) throws -> Kind {
        var kinds: [Kind] = []
        if fields.has("prompts") { kinds.append(.slots(try PromptRule(fields.object("prompts")))) }
        if fields.has("detections") {
            kinds.append(.detections(try DetectionRule(fields.object("detections"))))
        }
        if fields.has("drawn_prompts") {
            kinds.append(.drawn(try DrawnPrompts(fields.object("drawn_prompts"))))
        }
        guard kinds.count == 1 else {
            throw SegmentAnythingError.bundle(
                "manifest.json has to have one of prompts, detections and drawn_prompts, not \(kinds.count)")
        }
        return kinds[0]
    }

    /// Hashes a manifest's text without the line of its own hash, as the export did.
    private static func hash(_ data: Data) -> String {
        let text = String(decoding: data, as: UTF8.self).replacingOccurrences(of: "\r\n", with: "\n")
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        let kept = lines.filter { !$0.hasPrefix("  \"content_sha256\": ") }
        return sha256(Data(kept.joined(separator: "\n").utf8))
    }
}

/// Accepts a name that is plainly inside the bundle.
func safePath(_ name: String) throws -> String {
    let parts = name.split(separator: "/", omittingEmptySubsequences: false)
    let plain = parts.allSatisfy { !["", ".", ".."].contains($0) }
    guard plain, !name.contains(where: { "\\:\0".contains($0) }) else {
        throw SegmentAnythingError.bundle(
            "manifest.json names '\(printable(name))', which is not a path inside the bundle")
    }
    return name
}
