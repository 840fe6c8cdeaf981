package segmentanything

/** Checks that the shapes of the tensors are those that the rules make. Throws if one is not. */
internal fun Manifest.checkAgreement() {
    val size = preprocess.size
    val low = mask.lowResSize
    val tokens = graphs.flatMap { it.outputs }.firstOrNull { it.name == "iou_predictions" }
        ?.shape?.last() ?: 0
    val inputs = mutableMapOf("image" to listOf(1, 3, size, size), "resized_size" to listOf(1, 2))
    val outputs = sortedMapOf<String, List<Int>>()
    when (val kind = kind) {
        is Kind.Slots -> {
            val batch = kind.rule.batch
            inputs["point_coords"] = listOf(batch, kind.rule.slots, 2)
            inputs["point_labels"] = listOf(batch, kind.rule.slots)
            inputs["mask_input"] = listOf(batch, 1, low, low)
            inputs["has_mask_input"] = listOf(batch)
            outputs["low_res_masks"] = listOf(batch, tokens, low, low)
            outputs["iou_predictions"] = listOf(batch, tokens)
            require("image_encoder", "image")
            // A bundle for everything has the decoder in two graphs.
            val halved = graphs.any { it.name == "token_decoder" }
            require(if (halved) "token_decoder" else "mask_decoder", "point_coords", "point_labels")
        }
        is Kind.Drawn -> {
            inputs["prompt_masks"] = listOf(1, 2, size, size)
            outputs["low_res_masks"] = listOf(1, tokens, low, low)
            outputs["iou_predictions"] = listOf(1, tokens)
            require("segmenter", "image", "prompt_masks")
            if (kind.rule.boxChannel == kind.rule.pointChannel) {
                throw disagree("drawn_prompts draws boxes and points into one channel")
            }
        }
        is Kind.Detections -> require("segmenter", "image")
    }
    checkShapes(inputs, outputs)
    if (kind !is Kind.Detections) checkMask(tokens)
    video?.let(::videoFault)?.let { throw disagree(it) }
}

private fun Manifest.require(name: String, vararg wanted: String) {
    val graph = graph(name)
    wanted.firstOrNull { !graph.takes(it) }?.let { throw disagree("$name does not take $it") }
}

private fun Manifest.checkShapes(inputs: Map<String, List<Int>>, outputs: Map<String, List<Int>>) {
    for (tensor in graphs.flatMap { it.inputs }) {
        val wanted = inputs[tensor.name] ?: continue
        if (wanted != tensor.canonicalShape) {
            throw disagree("${tensor.name} is ${tensor.shape}, and the rules say $wanted")
        }
    }
    val made = graphs.flatMap { it.outputs }
    for ((name, wanted) in outputs) {
        val tensor = made.firstOrNull { it.name == name } ?: throw disagree("no graph gives $name")
        if (tensor.shape != wanted) throw disagree("$name is ${tensor.shape}, and the rules say $wanted")
    }
}

private fun Manifest.checkMask(tokens: Int) {
    if (mask.multi.isEmpty() || (mask.multi + mask.single).any { it >= tokens }) {
        throw disagree("mask uses tokens ${mask.multi}, and there are $tokens")
    }
    if (mask.upscale == Upscale.LETTERBOX_BILINEAR) {
        throw disagree("mask.upscale letterbox_bilinear belongs to detections")
    }
}

private fun disagree(fault: String) =
    SegmentAnythingError.Bundle("manifest: ${printable(fault, 400)}; export the bundle again")
