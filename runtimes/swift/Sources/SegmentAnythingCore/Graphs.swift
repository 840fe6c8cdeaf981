/// What a picture became, for every later prompt on it.
enum Scene: Sendable {
    /// The encoder's outputs.
    case encoded([String: Value], Frame)
    /// The `image` input itself: the network takes the prompt with it.
    case resized(Value, Frame)
    /// Every object.
    case found([Piece], Frame)

    var frame: Frame {
        switch self {
        case .encoded(_, let frame), .resized(_, let frame), .found(_, let frame): frame
        }
    }
}

/// A bundle's loaded graphs with its rules. Every call is by one caller at a time.
struct Graphs: Sendable {
    let manifest: Manifest
    /// In the order of the manifest.
    let loads: [Load]
    private let loaded: [String: any LoadedGraph]
    private let ofImage, ofPrompt: [GraphFile]

    init(_ bundle: ModelBundle, _ engine: any Engine) async throws {
        manifest = bundle.manifest
        // What feeds no other graph, such as a head that proposes points, runs when it is asked for.
        ofImage = try manifest.graphs.inOrder(.image).filter { [manifest] graph in
            manifest.graphs.contains { other in graph.outputs.contains { other.takes($0.name) } }
        }
        ofPrompt = try manifest.graphs.inOrder(.prompt)
        var loaded: [String: any LoadedGraph] = [:], loads: [Load] = []
        for graph in manifest.graphs {
            let start = ContinuousClock.now
            let opened = try await engine.open(graph, at: bundle.file(graph), of: manifest)
            let seconds = start.duration(to: .now).seconds
            loads.append(Load(graph: graph.name, seconds: seconds, wasKept: opened.wasKept))
            loaded[graph.name] = opened
        }
        (self.loaded, self.loads) = (loaded, loads)
    }

    func encode(_ picture: Picture) async throws -> Scene {
        let name = if case .slots = manifest.kind { "image_encoder" } else { "segmenter" }
        let graph = try manifest.graph(name)
        guard let spec = graph.inputs.first(where: { $0.name == "image" }) else {
            throw SegmentAnythingError.bundle("\(name) takes no image")
        }
        let (image, frame) = imageInput(picture, manifest.preprocess, spec)
        var inputs = ["image": image]
        if graph.takes("resized_size") {
            let sides = [Float(frame.resized.width), Float(frame.resized.height)]
            inputs["resized_size"] = .floats(Tensor(shape: [1, 2], values: sides))
        }
        switch manifest.kind {
        case .slots:
            var made: [String: Value] = [:]
            for graph in ofImage { made.merge(try await run(graph, inputs.merging(made) { $1 })) { $1 } }
            return .encoded(made, frame)
        case .drawn: return .resized(image, frame)
        case .detections(let rule):
            let outputs = try await run(graph, inputs).mapValues { try $0.tensor() }
            return .found(try findPieces(canonical(outputs, graph), rule, manifest.mask, frame), frame)
        }
    }

    func decode(
        _ scene: Scene, _ prompts: Prompts, _ mask: Tensor?, multimask: Bool
    ) async throws -> [Mask] {
        switch (scene, manifest.kind) {
        case (.encoded(let embedded, let frame), .slots):
            let earlier = try mask.map { [try checked($0, manifest.mask.lowResSize)] }
            let decoded = try await decode(embedded, frame, [prompts], earlier)[0]
            return decoded.masks(frame, manifest.mask, multimask: multimask)
        case (.resized(let image, let frame), .drawn(let rule)):
            try refuse(mask)
            let drawn = Value.floats(try prompts.drawn(frame, rule))
            let graph = try manifest.graph("segmenter")
            return try await masks(graph, ["image": image, "prompt_masks": drawn], frame, multimask)
        case (.found(let pieces, let frame), .detections):
            try refuse(mask)
            guard !multimask else {
                throw SegmentAnythingError.prompt("this bundle has one mask an object: leave out multimask")
            }
            return choose(pieces, try prompts.detectable(frame.original), frame.original)
        default: throw SegmentAnythingError.bundle("the picture was set for another kind of bundle")
        }
    }

    private func refuse(_ mask: Tensor?) throws {
        guard mask == nil else {
            throw SegmentAnythingError.prompt("this bundle cannot refine a mask: leave out the mask input")
        }
    }

    /// Runs the decoder once on as many prompt sets as its batch has, or fewer.
    ///
    /// - Parameters:
    ///   - embedded: what the image's graphs gave.
    ///   - earlier: logits to refine, of each set.
    ///   - wanted: asked for each set's predicted IoUs, if these come before the masks; if none is wanted, no
    ///     masks are made.
    func decode(
        _ embedded: [String: Value], _ frame: Frame, _ sets: [Prompts], _ earlier: [[Float]]?,
        wanted: ([Float]) -> Bool = { _ in true }
    ) async throws -> [Decoded] {
        guard case .slots(let rule) = manifest.kind else {
            throw SegmentAnythingError.bundle("this bundle has no prompt slots")
        }
        var given = try slots(sets, rule, frame, earlier).merging(embedded) { given, _ in given }
        var ious: [[Float]]?
        for graph in ofPrompt {
            if let ious, !ious.contains(where: wanted) {
                return ious.map { Decoded(logits: [], iou: $0, side: manifest.mask.lowResSize) }
            }
            given.merge(try await run(graph, given)) { $1 }
            if ious == nil, let made = given["iou_predictions"] { ious = rows(try made.tensor(), sets.count) }
        }
        guard let logits = try given["low_res_masks"]?.tensor(), let ious else {
            throw SegmentAnythingError.bundle("no graph gives low_res_masks")
        }
        return zip(rows(logits, sets.count), ious).map {
            Decoded(logits: $0, iou: $1, side: manifest.mask.lowResSize)
        }
    }

    /// The first rows of a batch; those beyond the sets repeat.
    private func rows(_ tensor: Tensor, _ count: Int) -> [[Float]] {
        if tensor.shape[0] == 1 { return [tensor.values] }
        let length = tensor.values.count / tensor.shape[0]
        return (0..<count).map { Array(tensor.values[($0 * length)..<(($0 + 1) * length)]) }
    }

    /// Makes the decoder's inputs. A static batch is always full: the last set is repeated.
    private func slots(
        _ sets: [Prompts], _ rule: PromptRule, _ frame: Frame, _ earlier: [[Float]]?
    ) throws -> [String: Value] {
        let packed = try sets.map { try $0.packed(frame, rule) }
        let side = manifest.mask.lowResSize, batch = rule.batch
        func batched(_ rows: [[Float]]) -> [Float] {
            if batch == 1 { return rows[0] }
            return Array((0..<batch).map { rows[min($0, rows.count - 1)] }.joined())
        }
        var inputs: [String: Value] = [
            "point_coords": .floats(
                Tensor(shape: [batch, rule.slots, 2], values: batched(packed.map(\.coords)))),
            "point_labels": .floats(Tensor(shape: [batch, rule.slots], values: batched(packed.map(\.labels)))),
        ]
        if ofPrompt.contains(where: { $0.takes("mask_input") }) {
            let shape = [batch, 1, side, side]
            let logits = earlier.map { Tensor(shape: shape, values: batched($0)) }
            inputs["mask_input"] = .floats(logits ?? Tensor(shape: shape, filledWith: 0))
            inputs["has_mask_input"] = .floats(Tensor(shape: [batch], filledWith: earlier == nil ? 0 : 1))
        } else if earlier != nil {
            throw SegmentAnythingError.prompt(
                "\(printable(manifest.variant)) takes no earlier mask: leave out the mask input")
        }
        return inputs
    }

    private func checked(_ mask: Tensor, _ side: Int) throws -> [Float] {
        guard [[side, side], [1, side, side]].contains(mask.shape) else {
            throw SegmentAnythingError.prompt(
                "mask_input is one of an earlier result's lowResMasks, floats of (\(side), \(side)), "
                    + "not of \(mask.shape)")
        }
        guard mask.values.allSatisfy(\.isFinite) else {
            throw SegmentAnythingError.prompt("mask_input holds values that are not finite")
        }
        return mask.values
    }

    private func masks(
        _ graph: GraphFile, _ inputs: [String: Value], _ frame: Frame, _ multimask: Bool
    ) async throws -> [Mask] {
        let outputs = try await run(graph, inputs)
        guard let logits = try outputs["low_res_masks"]?.tensor(),
            let iou = try outputs["iou_predictions"]?.tensor()
        else { throw SegmentAnythingError.bundle("\(graph.name) gives no low_res_masks") }
        let side = manifest.mask.lowResSize, tokens = iou.shape[1]
        let decoded = Decoded(
            logits: Array(logits.values.prefix(tokens * side * side)), iou: Array(iou.values.prefix(tokens)),
            side: side)
        return decoded.masks(frame, manifest.mask, multimask: multimask)
    }

    /// Runs a graph that no prompt needs on an encoded image; outputs are channels first.
    func beside(_ graph: GraphFile, _ embedded: [String: Value]) async throws -> [String: Tensor] {
        canonical(try await run(graph, embedded).mapValues { try $0.tensor() }, graph)
    }

    func run(_ graph: GraphFile, _ inputs: [String: Value]) async throws -> [String: Value] {
        guard let loaded = loaded[graph.name] else {
            throw SegmentAnythingError.bundle("\(graph.name) is not loaded")
        }
        return try await loaded.run(inputs.filter { graph.takes($0.key) })
    }
}

extension Prompts {
    /// Checks the set for a detector and places it; an empty one asks for everything.
    func detectable(_ size: Size) throws -> Prompts {
        guard points.isEmpty || box == nil else {
            throw SegmentAnythingError.prompt("this bundle takes points or a box, not both")
        }
        return try placed(size)
    }
}

/// Turns outputs with channels last into channels first.
func canonical(_ outputs: [String: Tensor], _ graph: GraphFile) -> [String: Tensor] {
    var turned = outputs
    for spec in graph.outputs where spec.layout == "NHWC" && spec.shape.count == 4 {
        guard let tensor = outputs[spec.name] else { continue }
        let channels = spec.shape[3], plane = spec.shape[1] * spec.shape[2]
        var values = [Float](repeating: 0, count: tensor.values.count)
        for at in 0..<plane {
            for channel in 0..<channels { values[channel * plane + at] = tensor.values[at * channels + channel] }
        }
        turned[spec.name] = Tensor(shape: spec.canonicalShape, values: values)
    }
    return turned
}

extension Duration {
    var seconds: Double { Double(components.seconds) + Double(components.attoseconds) * 1e-18 }
}
