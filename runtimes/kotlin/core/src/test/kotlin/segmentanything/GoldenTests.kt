package segmentanything

import java.io.File
import kotlin.math.abs
import kotlinx.serialization.json.JsonElement
import kotlinx.serialization.json.JsonPrimitive

private val TOPICS: Map<String, (Case) -> Unit> = mapOf(
    "preprocessing" to ::preprocessing,
    "orientations" to ::orientations,
    "slots" to ::slots,
    "drawn_prompts" to ::drawnPrompts,
    "masks" to ::masks,
    "polygons" to ::polygons,
    "detections" to ::detections,
    "refusals" to ::refusals,
)

/** Every golden vector. */
internal fun Checks.goldenVectors() {
    for ((topic, body) in TOPICS) {
        val cases = Case.all(topic)
        check("$topic has cases") { same(cases.size >= 4, true) }
        for (case in cases) check("$topic: ${case.name}") { body(case) }
    }
}

private fun preprocessing(given: Case) {
    val expected = given.array("image")
    val layout = given.fields.text("layout")
    val json = """{"name": "image", "shape": ${expected.shape}, "dtype": "${given.fields.text("dtype")}",
        "layout": "$layout"}"""
    val spec = TensorSpec(Fields(parseJson(json, "spec"), "image"))
    val (value, frame) = imageInput(given.picture(), Preprocess(given.fields.obj("preprocess")), spec)
    same(listOf(frame.resized.width, frame.resized.height), given.fields.wholes("resized", 1..99))
    same(listOf(frame.left, frame.top), given.fields.wholes("offset", 0..99))
    var found = value.tensor().values
    if (value is Value.Pixels) found = channelsFirst(found, value.side)
    same(found.size, expected.values.size)
    val far = found.indices.maxOf { abs(found[it] - expected.values[it]) }
    if (far > given.fields.number("tolerance")) throw AssertionError("$far of 255 away")
}

private fun channelsFirst(values: FloatArray, side: Int): FloatArray {
    val plane = side * side
    return FloatArray(values.size) { values[it % plane * 3 + it / plane] }
}

private fun orientations(given: Case) {
    val turned = given.picture().upright(given.fields.whole("orientation", 1..8))
    same(listOf(turned.height, turned.width, 3), given.array("upright").shape)
    same(turned.rgb, given.bytes("upright"))
}

private fun slots(given: Case) {
    val (coords, labels) = given.prompts().packed(given.frame(), PromptRule(given.fields.obj("prompts")))
    same(coords, given.array("point_coords").values)
    same(labels, given.array("point_labels").values)
}

private fun drawnPrompts(given: Case) {
    val rule = DrawnPrompts(given.fields.obj("drawn_prompts"))
    val drawn = given.prompts().drawn(given.frame(), rule)
    same(drawn.shape, given.array("prompt_masks").shape)
    same(drawn.values, given.array("prompt_masks").values)
}

private fun masks(given: Case) {
    val logits = given.array("low_res_masks")
    val decoded = Decoded(logits.values, given.array("iou_predictions").values, logits.shape[1])
    val rule = MaskRule(given.fields.obj("mask"))
    val found = decoded.masks(given.frame(), rule, given.fields.flag("multimask"))
    val expected = given.fields.obj("expected")
    compare(found, expected, given)
    val kept = found.flatMap { it.lowResMasks!!.values.toList() }.toFloatArray()
    same(kept, given.array("low_res_masks", expected).values)
    val stability = if (expected.has("stability")) given.array("stability", expected).values else FloatArray(0)
    same(found.mapNotNull { it.stability }.toFloatArray(), stability)
}

private fun polygons(given: Case) {
    val shape = given.array("mask").shape
    val mask = Mask(shape[1], shape[0], given.bytes("mask"), 0f, null, null)
    val rings = mask.polygon(given.fields.number("tolerance"))
    val expected = given.fields.list("rings").map { ring ->
        (ring as List<*>).map { corner ->
            val (x, y) = coordinates(corner as JsonElement).map(Double::toInt)
            Corner(x, y)
        }
    }
    same(rings, expected)
}

private fun detections(given: Case) {
    val frame = given.frame()
    val stored = given.fields.obj("outputs")
    val outputs = listOf("boxes", "scores", "coefficients", "prototypes")
        .associateWith { given.array(it, stored) }
    val rule = DetectionRule(given.fields.obj("detections"))
    val pieces = findPieces(outputs, rule, MaskRule(given.fields.obj("mask")), frame)
    for (choice in given.fields.objects("choices")) {
        compare(choose(pieces, given.prompts(choice), frame.original), choice, given)
    }
}

private fun refusals(given: Case) {
    if (!given.fields.has("error")) return refuse(given)
    val kind = when (given.fields.text("error")) {
        "RequestError" -> SegmentAnythingError.Request::class
        "PromptError" -> SegmentAnythingError.Prompt::class
        "ImageError" -> SegmentAnythingError.Image::class
        else -> SegmentAnythingError.Bundle::class
    }
    val message = refused(kind) { refuse(given) }.message.orEmpty()
    for (word in given.fields.list("says")) {
        val text = (word as JsonPrimitive).content
        if (text !in message) throw AssertionError("'$text' is not in '$message'")
    }
    same(message.lines().size, 1)
}

/** Does what the case asks for. */
private fun refuse(given: Case) {
    when (given.fields.text("kind")) {
        "bundle" -> {
            val folder = File(Case.folder, "bundles/${given.name}")
            SegmentAnything(folder, StandingEngine(given.fields.text("target"))).close()
        }
        "picture" -> given.size().let { Picture(it.width, it.height, ByteArray(0)) }
        "slots" -> given.prompts().packed(given.frame(), PromptRule(given.fields.obj("prompts")))
        "drawn" -> given.prompts().drawn(given.frame(), DrawnPrompts(given.fields.obj("drawn_prompts")))
        else -> given.prompts().detectable(given.size())
    }
}
