package segmentanything

/** The frame that is current, as every object sees it; it owns the [encoded] values. */
internal class TrackingScene(val view: View, val encoded: Scene.Encoded) : AutoCloseable {
    val frame get() = encoded.frame

    /** What objects share of the frame beside what is encoded; made with the first object. */
    var shared: Map<String, Value> = emptyMap()

    val values: Map<String, Value> get() = encoded.outputs + shared

    val embeddings: Value get() = encoded.outputs.getValue("image_embeddings")

    override fun close() {
        encoded.close()
        shared.closeAll()
    }
}

/** What the decoder gave for one object: masks of every token, a pointer of each, and a logit of its presence. */
internal class DecodedObject(val masks: Decoded, val pointers: FloatArray, val score: Float)

/** A video bundle's graphs, which [loaded] gives, and the arrays that they take. */
internal class TrackingGraphs(
    private val manifest: Manifest, private val rule: VideoRule, private val loaded: () -> Graphs,
) {
    private val side = 4 * rule.grid
    private val query = manifest.graphs.firstOrNull { it.name == VideoGraph.QUERY }

    /** Encodes a frame, once for all of its objects. */
    fun encode(picture: Picture, view: View): TrackingScene {
        val encoded = loaded().encode(picture) as? Scene.Encoded
            ?: throw SegmentAnythingError.Bundle("this bundle has no image encoder")
        return TrackingScene(view, encoded)
    }

    /** Looks at a frame in the light of earlier ones; gives what stands for `image_embeddings`. */
    fun attend(scene: TrackingScene, memories: List<Seen>, pointers: List<Seen>): Value {
        if (query != null && scene.shared.isEmpty()) scene.shared = loaded().run(query, scene.values)
        val isAlone = rule.pooled && memories.size == 1
        val slots = if (isAlone) 1 else rule.memorySlots
        val given = mapOf(
            "memories" to bank(memories, listOf(1, slots, rule.memoryTokens, rule.memoryWidth)),
            "memory_age" to ages(memories, slots),
            "object_pointers" to bank(pointers, listOf(1, rule.pointerSlots, rule.pointerWidth)),
            "pointer_age" to ages(pointers, rule.pointerSlots),
        )
        val graph = manifest.graph(if (isAlone) VideoGraph.FIRST else VideoGraph.ATTENTION)
        return one("conditioned_embeddings", graph, scene.values + given)
    }

    /** The slots' numbers, 0 where a slot is empty. */
    private fun bank(seen: List<Seen>, shape: List<Int>): Value {
        val values = FloatArray(shape.fold(1, Int::times))
        val each = values.size / shape[1]
        seen.take(shape[1]).forEachIndexed { at, one -> one.value.copyInto(values, at * each) }
        return Value.Floats(Tensor(shape, values))
    }

    /** The slots' ages, -1 where a slot is empty. */
    private fun ages(seen: List<Seen>, slots: Int): Value {
        val ages = FloatArray(slots) { if (it < seen.size) seen[it].age.toFloat() else -1f }
        return Value.Floats(Tensor(listOf(1, slots), ages))
    }

    /**
     * Runs the decoder for one object. [embeddings] are the frame's own, or those of [attend]; [slots] hold the
     * prompts; [earlier] are logits to refine.
     */
    fun decode(
        scene: TrackingScene, embeddings: Value, slots: Pair<FloatArray, FloatArray>, earlier: FloatArray?,
    ): DecodedObject {
        val (coords, labels) = slots
        val logits = earlier ?: FloatArray(side * side)
        val given = mapOf(
            "image_embeddings" to embeddings,
            "point_coords" to Value.Floats(Tensor(listOf(1, labels.size, 2), coords)),
            "point_labels" to Value.Floats(Tensor(listOf(1, labels.size), labels)),
            "mask_input" to Value.Floats(Tensor(listOf(1, 1, side, side), logits)),
            "has_mask_input" to flag(earlier != null),
        )
        val made = tensors(loaded().run(manifest.graph(VideoGraph.DECODER), scene.values + given))
        fun read(name: String) = made[name]?.values ?: throw missing(VideoGraph.DECODER, name)
        val masks = Decoded(read("low_res_masks"), read("iou_predictions"), side)
        return DecodedObject(masks, read("object_pointers"), read("object_score_logits")[0])
    }

    /** Makes the memory of a frame's mask. */
    fun remember(scene: TrackingScene, found: FoundObject): FloatArray {
        val given = mapOf(
            "mask_logits" to Value.Floats(Tensor(listOf(1, 1, side, side), found.logits)),
            "from_prompt" to flag(found.prompted),
            "object_present" to flag(found.present),
        )
        return one("memory", manifest.graph(VideoGraph.MEMORY), scene.values + given).use { it.tensor().values }
    }

    private fun flag(value: Boolean): Value = Value.Floats(Tensor(listOf(1), floatArrayOf(if (value) 1f else 0f)))

    /** Runs a graph for one of its outputs, which the caller closes. */
    private fun one(name: String, graph: GraphFile, inputs: Map<String, Value>): Value {
        val made = loaded().run(graph, inputs)
        made.filterKeys { it != name }.closeAll()
        return made[name] ?: throw missing(graph.name, name)
    }

    private fun missing(graph: String, name: String) = SegmentAnythingError.Bundle("$graph gives no $name")
}
