/// What the decoder gave for one object of a frame.
struct DecodedObject: Sendable {
    /// Logits and predicted IoUs of every mask token.
    let masks: Decoded
    /// One of each token, one after the other.
    let pointers: [Float]
    /// Logit of whether the object is there.
    let score: Float
}

/// A video bundle's graphs, loaded, and the arrays that they take.
struct TrackingGraphs: Sendable {
    let graphs: Graphs
    let rule: VideoRule
    let slots: PromptRule

    /// Throws `SegmentAnythingError.bundle` if the bundle's rules are not a video's.
    init(_ graphs: Graphs) throws {
        guard let rule = graphs.manifest.video, case .slots(let slots) = graphs.manifest.kind else {
            throw SegmentAnythingError.bundle("this bundle has no rule for videos")
        }
        (self.graphs, self.rule, self.slots) = (graphs, rule, slots)
    }

    var mask: MaskRule { graphs.manifest.mask }

    /// Encodes a frame, once for all of its objects.
    func encode(_ picture: Picture) async throws -> ([String: Value], Frame) {
        guard case .encoded(let encoded, let frame) = try await graphs.encode(picture) else {
            throw SegmentAnythingError.bundle("this bundle has no image encoder")
        }
        return (encoded, frame)
    }

    /// Looks at a frame in the light of earlier ones; gives what stands for `image_embeddings`.
    ///
    /// - Parameter encoded: the frame's; gains what the first object's call makes for all of them.
    func attend(_ encoded: inout [String: Value], _ memories: [Seen], _ pointers: [Seen]) async throws -> Value {
        if let query = graphs.manifest.graphs.first(where: { $0.name == VideoGraph.query }), encoded["query"] == nil {
            encoded.merge(try await graphs.run(query, encoded)) { $1 }
        }
        let isAlone = rule.pooled && memories.count == 1
        let count = isAlone ? 1 : rule.memorySlots
        let memories = memories.prefix(count), pointers = pointers.prefix(rule.pointerSlots)
        let given: [String: Value] = [
            "memories": bank(memories, [1, count, rule.memoryTokens, rule.memoryWidth]),
            "memory_age": ages(memories, count),
            "object_pointers": bank(pointers, [1, rule.pointerSlots, rule.pointerWidth]),
            "pointer_age": ages(pointers, rule.pointerSlots),
        ]
        let graph = try graphs.manifest.graph(isAlone ? VideoGraph.first : VideoGraph.attention)
        let made = try await graphs.run(graph, encoded.merging(given) { $1 })
        return try output("conditioned_embeddings", of: graph, made)
    }

    /// The slots' numbers, zero where a slot is empty.
    private func bank(_ seen: ArraySlice<Seen>, _ shape: [Int]) -> Value {
        let count = shape.reduce(1, *)
        let values = [Float](unsafeUninitializedCapacity: count) { out, filled in
            var at = 0
            for each in seen {
                for value in each.value.values {
                    out[at] = value
                    at += 1
                }
            }
            while at < count {
                out[at] = 0
                at += 1
            }
            filled = count
        }
        return .floats(Tensor(shape: shape, values: values))
    }

    /// The slots' ages, -1 where a slot is empty.
    private func ages(_ seen: ArraySlice<Seen>, _ slots: Int) -> Value {
        let empty = [Float](repeating: -1, count: slots - seen.count)
        return .floats(Tensor(shape: [1, slots], values: seen.map { Float($0.age) } + empty))
    }

    /// Runs the decoder for one object.
    ///
    /// - Parameters:
    ///   - encoded: the frame's.
    ///   - embeddings: the frame's own, or those of `attend`.
    ///   - prompts: in slots.
    ///   - earlier: logits to refine.
    func decode(
        _ encoded: [String: Value], _ embeddings: Value, _ prompts: (coords: [Float], labels: [Float]),
        _ earlier: [Float]?
    ) async throws -> DecodedObject {
        let side = 4 * rule.grid, shape = [1, 1, side, side]
        let logits = earlier.map { Tensor(shape: shape, values: $0) } ?? Tensor(shape: shape, filledWith: 0)
        let given: [String: Value] = [
            "image_embeddings": embeddings,
            "point_coords": .floats(Tensor(shape: [1, slots.slots, 2], values: prompts.coords)),
            "point_labels": .floats(Tensor(shape: [1, slots.slots], values: prompts.labels)),
            "mask_input": .floats(logits),
            "has_mask_input": one(earlier == nil ? 0 : 1),
        ]
        let graph = try graphs.manifest.graph(VideoGraph.decoder)
        let made = try await graphs.run(graph, encoded.merging(given) { $1 })
        func read(_ name: String) throws -> [Float] { try output(name, of: graph, made).tensor().values }
        return DecodedObject(
            masks: Decoded(logits: try read("low_res_masks"), iou: try read("iou_predictions"), side: side),
            pointers: try read("object_pointers"), score: try read("object_score_logits")[0])
    }

    /// Makes the memory of a frame's mask.
    func remember(_ encoded: [String: Value], _ found: FoundObject) async throws -> [Float] {
        let side = 4 * rule.grid
        let given: [String: Value] = [
            "mask_logits": .floats(Tensor(shape: [1, 1, side, side], values: found.logits)),
            "from_prompt": one(found.prompted ? 1 : 0),
            "object_present": one(found.present ? 1 : 0),
        ]
        let graph = try graphs.manifest.graph(VideoGraph.memory)
        let made = try await graphs.run(graph, encoded.merging(given) { $1 })
        return try output("memory", of: graph, made).tensor().values
    }

    private func one(_ value: Float) -> Value { .floats(Tensor(shape: [1], values: [value])) }

    private func output(_ name: String, of graph: GraphFile, _ made: [String: Value]) throws -> Value {
        guard let value = made[name] else {
            throw SegmentAnythingError.bundle("\(graph.name) gives no \(name)")
        }
        return value
    }
}
