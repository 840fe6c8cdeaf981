package segmentanything

/** What a picture became, for every later prompt on it. */
internal sealed class Scene(val frame: Frame) : AutoCloseable {
    override fun close() = Unit

    /** The encoder's outputs. */
    class Encoded(val outputs: Map<String, Value>, frame: Frame) : Scene(frame) {
        override fun close() = outputs.closeAll()
    }

    /** The `image` input itself: the network takes the prompt with it. */
    class Resized(val image: Value, frame: Frame) : Scene(frame)

    /** Every object. */
    class Found(val pieces: List<Piece>, frame: Frame) : Scene(frame)
}

internal fun Map<String, Value>.closeAll() = values.forEach(Value::close)

/** A bundle's loaded graphs with its rules. Every call is by one caller at a time. */
internal class Graphs(bundle: Bundle, engine: Engine) : AutoCloseable {
    private val manifest = bundle.manifest
    private val loaded = mutableMapOf<String, LoadedGraph>()

    // What feeds no other graph, such as a head that proposes points, runs when it is asked for.
    private val ofImage = manifest.graphs.inOrder(GraphFile.Runs.IMAGE).filter { graph ->
        manifest.graphs.any { other -> graph.outputs.any { other.takes(it.name) } }
    }
    private val ofPrompt = manifest.graphs.inOrder(GraphFile.Runs.PROMPT)
    private val noMask = zeros(manifest.mask.lowResSize)

    init {
        try {
            for (graph in manifest.graphs) {
                loaded[graph.name] = engine.open(graph, bundle.file(graph), manifest)
            }
        } catch (fault: Exception) {
            close()
            throw fault
        }
    }

    override fun close() {
        loaded.values.forEach(LoadedGraph::close)
        loaded.clear()
    }

    fun encode(picture: Picture): Scene {
        val graph = manifest.graph(if (manifest.kind is Kind.Slots) "image_encoder" else "segmenter")
        val spec = graph.inputs.firstOrNull { it.name == "image" }
            ?: throw SegmentAnythingError.Bundle("${graph.name} takes no image")
        val (image, frame) = imageInput(picture, manifest.preprocess, spec)
        val inputs = mutableMapOf("image" to image)
        if (graph.takes("resized_size")) {
            val sides = floatArrayOf(frame.resized.width.toFloat(), frame.resized.height.toFloat())
            inputs["resized_size"] = Value.Floats(Tensor(listOf(1, 2), sides))
        }
        return when (val kind = manifest.kind) {
            is Kind.Slots -> Scene.Encoded(chain(ofImage, inputs), frame)
            is Kind.Drawn -> Scene.Resized(image, frame)
            is Kind.Detections -> {
                val outputs = canonical(tensors(run(graph, inputs)), graph)
                Scene.Found(findPieces(outputs, kind.rule, manifest.mask, frame), frame)
            }
        }
    }

    fun decode(scene: Scene, prompts: Prompts, mask: Tensor?, multimask: Boolean): List<Mask> {
        val frame = scene.frame
        return when (scene) {
            is Scene.Encoded -> {
                val earlier = mask?.let { listOf(checked(it, manifest.mask.lowResSize)) }
                decode(scene, listOf(prompts), earlier)[0].masks(frame, manifest.mask, multimask)
            }
            is Scene.Resized -> {
                refuse(mask)
                val drawn = Value.Floats(prompts.drawn(frame, (manifest.kind as Kind.Drawn).rule))
                val inputs = mapOf("image" to scene.image, "prompt_masks" to drawn)
                masks(manifest.graph("segmenter"), inputs, frame, multimask)
            }
            is Scene.Found -> {
                refuse(mask)
                if (multimask) {
                    throw SegmentAnythingError.Prompt("this bundle has one mask an object: leave out multimask")
                }
                choose(scene.pieces, prompts.detectable(frame.original), frame.original)
            }
        }
    }

    private fun refuse(mask: Tensor?) {
        if (mask != null) {
            throw SegmentAnythingError.Prompt("this bundle cannot refine a mask: leave out the mask input")
        }
    }

    /**
     * Runs the decoder once on as many prompt sets as its batch has, or fewer. [earlier] are logits to refine, of
     * each set. If the predicted IoUs come before the masks, and no set's are [wanted], no masks are made.
     */
    fun decode(
        scene: Scene.Encoded, sets: List<Prompts>, earlier: List<FloatArray>?,
        wanted: (FloatArray) -> Boolean = { true },
    ): List<Decoded> {
        val rule = (manifest.kind as Kind.Slots).rule
        val made = mutableMapOf<String, Value>()
        try {
            val given = slots(sets, rule, scene.frame, earlier) + scene.outputs
            var ious: List<FloatArray>? = null
            for (graph in ofPrompt) {
                ious = ious ?: made["iou_predictions"]?.let { rows(it.tensor(), sets.size) }
                if (ious != null && ious.none(wanted)) return ious.map { Decoded(FloatArray(0), it, 0) }
                made += run(graph, given + made)
            }
            return decoded(made, sets.size)
        } finally {
            made.closeAll()
        }
    }

    private fun decoded(made: Map<String, Value>, sets: Int): List<Decoded> {
        val logits = made["low_res_masks"]
        val iou = made["iou_predictions"]
        if (logits == null || iou == null) throw SegmentAnythingError.Bundle("no graph gives low_res_masks")
        val ious = rows(iou.tensor(), sets)
        return rows(logits.tensor(), sets).mapIndexed { at, row -> Decoded(row, ious[at], manifest.mask.lowResSize) }
    }

    /** The first rows of a batch; those beyond the sets repeat. */
    private fun rows(tensor: Tensor, count: Int): List<FloatArray> {
        val length = tensor.values.size / tensor.shape[0]
        if (tensor.shape[0] == 1) return listOf(tensor.values)
        return List(count) { tensor.values.copyOfRange(it * length, (it + 1) * length) }
    }

    /** Makes the decoder's inputs. A static batch is always full: the last set is repeated. */
    private fun slots(
        sets: List<Prompts>, rule: PromptRule, frame: Frame, earlier: List<FloatArray>?,
    ): Map<String, Value> {
        val packed = sets.map { it.packed(frame, rule) }
        val side = manifest.mask.lowResSize
        val batch = rule.batch
        fun batched(rows: List<FloatArray>, vararg shape: Int): Value {
            val length = rows[0].size
            val full = FloatArray(length * batch)
            for (at in 0 until batch) rows[minOf(at, rows.size - 1)].copyInto(full, at * length)
            return Value.Floats(Tensor(listOf(batch) + shape.toList(), full))
        }
        val inputs = mutableMapOf(
            "point_coords" to batched(packed.map { it.first }, rule.slots, 2),
            "point_labels" to batched(packed.map { it.second }, rule.slots),
        )
        if (ofPrompt.none { it.takes("mask_input") }) {
            if (earlier == null) return inputs
            throw SegmentAnythingError.Prompt(
                "${printable(manifest.variant)} takes no earlier mask: leave out the mask input"
            )
        }
        inputs["mask_input"] = earlier?.let { batched(it, 1, side, side) } ?: noMask
        inputs["has_mask_input"] = batched(listOf(floatArrayOf(if (earlier == null) 0f else 1f)))
        return inputs
    }

    private fun zeros(side: Int): Value {
        val batch = (manifest.kind as? Kind.Slots)?.rule?.batch ?: 1
        val count = if (ofPrompt.any { it.takes("mask_input") }) side else 1
        return Value.Floats(Tensor(listOf(batch, 1, count, count), FloatArray(batch * count * count)))
    }

    private fun checked(mask: Tensor, side: Int): FloatArray {
        if (mask.shape != listOf(side, side) && mask.shape != listOf(1, side, side)) {
            throw SegmentAnythingError.Prompt(
                "mask_input is one of an earlier result's lowResMasks, floats of ($side, $side), " +
                    "not of ${mask.shape}"
            )
        }
        if (!mask.values.all { it.isFinite() }) {
            throw SegmentAnythingError.Prompt("mask_input holds values that are not finite")
        }
        return mask.values
    }

    private fun masks(
        graph: GraphFile, inputs: Map<String, Value>, frame: Frame, multimask: Boolean,
    ): List<Mask> {
        val outputs = tensors(run(graph, inputs))
        val logits = outputs["low_res_masks"]
        val iou = outputs["iou_predictions"]
        if (logits == null || iou == null) {
            throw SegmentAnythingError.Bundle("${graph.name} gives no low_res_masks")
        }
        // Of the batch, which is the same set over and over, the first.
        return Decoded(logits.values, iou.values, manifest.mask.lowResSize)
            .masks(frame, manifest.mask, multimask)
    }

    /** Runs graphs one after the other; returns the outputs of all. */
    private fun chain(graphs: List<GraphFile>, inputs: Map<String, Value>): Map<String, Value> {
        val made = mutableMapOf<String, Value>()
        try {
            for (graph in graphs) made += run(graph, inputs + made)
        } catch (fault: Exception) {
            made.closeAll()
            throw fault
        }
        return made
    }

    /** Runs a graph that no prompt needs on an encoded image; outputs are channels first. */
    fun beside(graph: GraphFile, scene: Scene.Encoded): Map<String, Tensor> =
        canonical(tensors(run(graph, scene.outputs)), graph)

    /** Runs a graph on those of the inputs that it takes; the caller closes what it gives. */
    fun run(graph: GraphFile, inputs: Map<String, Value>): Map<String, Value> {
        val loaded = loaded[graph.name]
            ?: throw SegmentAnythingError.Bundle("${graph.name} is not loaded")
        return loaded.run(inputs.filterKeys(graph::takes))
    }
}

/** Reads outputs, and closes them. */
internal fun tensors(outputs: Map<String, Value>): Map<String, Tensor> =
    try {
        outputs.mapValues { it.value.tensor() }
    } finally {
        outputs.closeAll()
    }

/** Turns outputs with channels last into channels first. */
private fun canonical(outputs: Map<String, Tensor>, graph: GraphFile): Map<String, Tensor> {
    val turned = outputs.toMutableMap()
    for (spec in graph.outputs.filter { it.isChannelsLast }) {
        val tensor = outputs[spec.name] ?: continue
        val channels = spec.shape[3]
        val plane = spec.shape[1] * spec.shape[2]
        val values = FloatArray(tensor.values.size) { tensor.values[it % plane * channels + it / plane] }
        turned[spec.name] = Tensor(spec.canonicalShape, values)
    }
    return turned
}
