package segmentanything

/** What does not agree with a rule for videos, in words; null if everything does. */
internal fun Manifest.videoFault(rule: VideoRule): String? {
    val prompts = (kind as? Kind.Slots)?.rule
    val first = if (rule.pooled) listOf(VideoGraph.FIRST) else emptyList()
    val needed = listOf(VideoGraph.ENCODER, VideoGraph.DECODER, VideoGraph.MEMORY, VideoGraph.ATTENTION) + first
    val seen = graph(VideoGraph.ENCODER).outputs.firstOrNull { it.name == "image_embeddings" }?.shape.orEmpty()
    val missing = needed.firstOrNull { name -> graphs.none { it.name == name } }
    return when {
        prompts == null || prompts.batch != 1 -> "video needs a decoder with slots for one prompt set"
        prompts.slots < rule.paddingPoints -> "video.padding_points is more than prompts.slots"
        mask.lowResSize != 4 * rule.grid ->
            "video.grid is ${rule.grid}, and masks have a side of ${mask.lowResSize}"
        seen.size != 4 || seen != listOf(1, seen[1], rule.grid, rule.grid) ->
            "image_embeddings is $seen, and video.grid is ${rule.grid}"
        rule.promptedSlots > minOf(rule.memorySlots, rule.pointerSlots) ->
            "video.prompted_slots is more than there are slots"
        missing != null -> "video needs a graph $missing"
        !rule.pooled && graphs.any { it.name == VideoGraph.FIRST } ->
            "video.pooled is false, and there is a graph ${VideoGraph.FIRST}"
        rule.hostData !in files -> "it holds no ${rule.hostData}"
        else -> graphs.firstNotNullOfOrNull { shapeFault(it, rule, seen) }
    }
}

/** What is not of the shape that the host makes or reads, of a graph that runs once a frame or prompt. */
private fun shapeFault(graph: GraphFile, rule: VideoRule, seen: List<Int>): String? {
    if (graph.runs == GraphFile.Runs.IMAGE) return null
    for (tensor in graph.inputs) {
        val wanted = given(graph, rule)[tensor.name] ?: continue
        if (wanted != tensor.canonicalShape) return "${tensor.name} is ${tensor.shape}, and the rules say $wanted"
    }
    for ((name, wanted) in read(graph, rule, seen)) {
        val tensor = graph.outputs.firstOrNull { it.name == name } ?: return "${graph.name} gives no $name"
        if (wanted != tensor.shape) return "$name is ${tensor.shape}, and the rules say $wanted"
    }
    return null
}

private fun given(graph: GraphFile, rule: VideoRule): Map<String, List<Int>> {
    val slots = if (graph.name == VideoGraph.FIRST) 1 else rule.memorySlots
    return mapOf(
        "mask_logits" to listOf(1, 1, 4 * rule.grid, 4 * rule.grid),
        "from_prompt" to listOf(1),
        "object_present" to listOf(1),
        "memories" to listOf(1, slots, rule.memoryTokens, rule.memoryWidth),
        "memory_age" to listOf(1, slots),
        "object_pointers" to listOf(1, rule.pointerSlots, rule.pointerWidth),
        "pointer_age" to listOf(1, rule.pointerSlots),
    )
}

/** The outputs that the host reads. */
private fun read(graph: GraphFile, rule: VideoRule, seen: List<Int>): Map<String, List<Int>> = when (graph.name) {
    VideoGraph.DECODER -> {
        val tokens = graph.outputs.firstOrNull { it.name == "iou_predictions" }?.shape?.last() ?: 0
        mapOf("object_score_logits" to listOf(1, 1), "object_pointers" to listOf(1, tokens, rule.pointerWidth))
    }
    VideoGraph.MEMORY -> mapOf("memory" to listOf(1, rule.memoryTokens, rule.memoryWidth))
    VideoGraph.ATTENTION, VideoGraph.FIRST -> mapOf("conditioned_embeddings" to seen)
    else -> emptyMap()
}
