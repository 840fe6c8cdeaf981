import Foundation

@testable import SegmentAnythingCore

/// The golden vectors of tracking: prompts by name, networks, and cases over them.
struct TrackingVectors {
    private let rows = Case.all("tracking")

    var cases: [Case] { rows.filter { (try? $0.fields.text("kind")) == "frames" } }

    /// Reads a prompt of a step.
    func prompt(_ name: String) throws -> ObjectPrompt {
        let row = try named("prompts"), fields = try row.fields.object(name)
        guard fields.has("mask") else { return ObjectPrompt(try row.prompts(in: fields)) }
        let shape = try row.array("mask", in: fields).shape
        return try ObjectPrompt(width: shape[1], height: shape[0], inside: row.bytes("mask", in: fields))
    }

    func prompts(_ name: String) throws -> Prompts {
        let row = try named("prompts")
        return try row.prompts(in: row.fields.object(name))
    }

    /// Width and height of a network's frames.
    func size(_ network: String) throws -> Size {
        let sides = try row(network, with: "size").fields.wholes("size", 1...999)
        return Size(width: sides[0], height: sides[1])
    }

    /// Writes a bundle of a network into a new folder and makes a tracker of it.
    func tracker(_ given: Case, _ engine: StandInEngine, in folder: URL) throws -> Tracker {
        let network = try given.fields.text("network")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        try Data().write(to: folder.appendingPathComponent("graphs.onnx"))
        let text = try manifest(network)
        let lined = "{\n  \"content_sha256\": \"\(sha256(Data("{\n\(text)".utf8)))\",\n\(text)"
        try Data(lined.utf8).write(to: folder.appendingPathComponent("manifest.json"))
        let row = try row(network, with: "host"), host = try row.fields.object("host")
        func numbers(_ name: String) throws -> [Float] { try row.array(name, in: host).values }
        return try Tracker(
            ModelBundle(folder),
            VideoHostData(
                noPointer: numbers("no_object_pointer"), noMemory: numbers("no_memory_embedding"),
                downsampleWeight: numbers("mask_downsample_weight"),
                downsampleBias: numbers("mask_downsample_bias")[0]),
            engine, turns: given.fields.flag("turns"), maxObjects: given.fields.whole("max_objects", 1...99))
    }

    private func named(_ name: String) throws -> Case {
        guard let row = rows.first(where: { $0.name == name }) else { throw CocoaError(.keyValueValidation) }
        return row
    }

    /// What a network does not have is the first network's.
    private func row(_ network: String, with key: String) throws -> Case {
        let own = try named(network)
        return own.fields.has(key) ? own : try named("full")
    }

    /// Writes a manifest but for its first line and its hash.
    private func manifest(_ network: String) throws -> String {
        var parts = [
            #""schema_version":3,"variant":"stand-in","target":"onnx","precision":"fp32","licence":{"name":"none"}"#,
            #""parity":[],"files":{}"#,
        ]
        for key in ["preprocess", "prompts", "mask", "video"] {
            parts.append("\"\(key)\":\(written(try row(network, with: key).fields.json(key)))")
        }
        let lines = try row(network, with: "graphs").fields.list("graphs")
        let graphs = lines.map { if case .text(let line) = $0 { graph(line) } else { "" } }
        parts.append("\"graphs\":[\(graphs.joined(separator: ","))]")
        return parts.joined(separator: ",") + "}"
    }
}

/// Turns "name: input 1x2, ... -> output 1x2, ..." into a graph of a manifest.
private func graph(_ line: String) -> String {
    let name = String(line.prefix { $0 != ":" })
    let sides = line.dropFirst(name.count + 2).components(separatedBy: " -> ").map { side in
        side.components(separatedBy: ", ").map(tensor).joined(separator: ",")
    }
    let runs = ["image_encoder": "image", "mask_decoder": "prompt"][name] ?? "frame"
    return #"{"file":"graphs.onnx","bytes":0,"spec":{"name":"\#(name)","runs":"\#(runs)","#
        + #""inputs":[\#(sides[0])],"outputs":[\#(sides[1])]}}"#
}

private func tensor(_ text: String) -> String {
    let parts = text.components(separatedBy: " "), shape = parts[1].components(separatedBy: "x")
    return #"{"name":"\#(parts[0])","dtype":"float32","layout":"\#("NCHW".prefix(shape.count))","#
        + #""shape":[\#(shape.joined(separator: ","))]}"#
}

private func written(_ json: JSON) -> String {
    switch json {
    case .null: "null"
    case .bool(let flag): "\(flag)"
    case .number(let number): Int(exactly: number).map(String.init) ?? "\(number)"
    case .text(let text): "\"\(text)\""
    case .list(let list): "[\(list.map(written).joined(separator: ","))]"
    case .object(let values): "{\(values.map { "\"\($0)\":\(written($1))" }.joined(separator: ","))}"
    }
}
