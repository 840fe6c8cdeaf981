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
            is Kind.Slots -> Scene.Encoded(run(graph, inputs), frame)
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
                val inputs = slots(prompts, (manifest.kind as Kind.Slots).rule, frame, mask)
                masks(manifest.graph("mask_decoder"), inputs + scene.outputs, frame, multimask)
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

    /** Makes the decoder's inputs. A static batch is always full: the set is repeated. */
    private fun slots(prompts: Prompts, rule: PromptRule, frame: Frame, mask: Tensor?): Map<String, Value> {
        val (coords, labels) = prompts.packed(frame, rule)
        val side = manifest.mask.lowResSize
        val batch = rule.batch
        fun repeated(values: FloatArray, vararg shape: Int): Value {
            val full = FloatArray(values.size * batch) { values[it % values.size] }
            return Value.Floats(Tensor(listOf(batch) + shape.toList(), full))
        }
        val inputs = mutableMapOf(
            "point_coords" to repeated(coords, rule.slots, 2), "point_labels" to repeated(labels, rule.slots),
        )
        if (manifest.graph("mask_decoder").takes("mask_input")) {
            val logits = mask?.let { checked(it, side) } ?: FloatArray(side * side)
            inputs["mask_input"] = repeated(logits, 1, side, side)
            inputs["has_mask_input"] = repeated(floatArrayOf(if (mask == null) 0f else 1f))
        } else if (mask != null) {
            throw SegmentAnythingError.Prompt(
                "${printable(manifest.variant)} takes no earlier mask: leave out the mask input"
            )
        }
        return inputs
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

    private fun run(graph: GraphFile, inputs: Map<String, Value>): Map<String, Value> {
        val loaded = loaded[graph.name]
            ?: throw SegmentAnythingError.Bundle("${graph.name} is not loaded")
        return loaded.run(inputs.filterKeys(graph::takes))
    }
}

private fun tensors(outputs: Map<String, Value>): Map<String, Tensor> =
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
