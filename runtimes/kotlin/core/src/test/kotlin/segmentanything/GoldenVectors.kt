package segmentanything

import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import kotlinx.serialization.json.JsonArray
import kotlinx.serialization.json.JsonElement
import kotlinx.serialization.json.JsonPrimitive
import kotlinx.serialization.json.doubleOrNull

/** One case of `runtimes/golden_vectors/cases`, whose README says what it holds. */
internal class Case(val name: String, val fields: Fields, private val content: ByteBuffer) {
    /** Reads an array: its shape and numbers; bits are 0 and 1. */
    fun array(name: String, given: Fields = fields): Tensor = stored(given.obj(name))

    fun stored(place: Fields): Tensor {
        val shape = place.wholes("shape", 0..65_535)
        val offset = place.whole("offset", 0..(1 shl 30))
        val values = FloatArray(shape.fold(1, Int::times))
        for (at in values.indices) {
            values[at] = when (place.text("dtype")) {
                "uint8" -> (content.get(offset + at).toInt() and 0xff).toFloat()
                "bits" -> (content.get(offset + at / 8).toInt() shr (7 - at % 8) and 1).toFloat()
                else -> content.getFloat(offset + 4 * at)
            }
        }
        return Tensor(shape, values)
    }

    fun bytes(name: String, given: Fields = fields): ByteArray =
        array(name, given).values.let { values -> ByteArray(values.size) { values[it].toInt().toByte() } }

    fun picture(): Picture = array("picture").shape.let { Picture(it[1], it[0], bytes("picture")) }

    fun size(): Size = fields.wholes("size", 0..65_535).let { Size(it[0], it[1]) }

    fun frame() = Frame(size(), Preprocess(fields.obj("preprocess")))

    /** Reads a prompt set; a coordinate that JSON cannot hold is a text. */
    fun prompts(given: Fields = fields): Prompts {
        val set = given.obj("given")
        val points = set.list("points").map { coordinates(it).let { (x, y) -> Point(x, y) } }
        val box = if (set.has("box")) coordinates(set.json("box")) else null
        return Prompts(points, set.wholes("labels", -9..9), box?.let { Box(it[0], it[1], it[2], it[3]) })
    }

    companion object {
        /** Where the cases are. */
        val folder = File(System.getProperty("golden.vectors", "../golden_vectors/cases"))

        /** Every case of a topic. */
        fun all(topic: String): List<Case> {
            val rows = parseJson(File(folder, "$topic.json").readText(), topic) as JsonArray
            val bytes = File(folder, "$topic.bin").let { if (it.exists()) it.readBytes() else ByteArray(0) }
            val content = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN)
            return rows.map { Fields(it, topic) }.map { Case(it.text("name"), it, content) }
        }
    }
}

/** Numbers of a list; `nan` and infinities are texts. */
internal fun coordinates(json: JsonElement): List<Double> = (json as JsonArray).map { item ->
    val number = item as JsonPrimitive
    when {
        !number.isString -> number.doubleOrNull ?: Double.NaN
        number.content == "inf" -> Double.POSITIVE_INFINITY
        number.content == "-inf" -> Double.NEGATIVE_INFINITY
        else -> Double.NaN
    }
}

/** Compares masks with what a case expects of them. */
internal fun compare(masks: List<Mask>, expected: Fields, given: Case) {
    same(masks.flatMap { it.pixels.toList() }.toByteArray(), given.bytes("masks", expected))
    same(masks.map { it.iouPrediction }.toFloatArray(), given.array("iou_predictions", expected).values)
    same(masks.map { it.area }, expected.wholes("areas", 0..(1 shl 30)))
    same(masks.best ?: -1, expected.whole("best", -1..1000))
    val boxes = expected.list("boxes").map { box ->
        if (box !is JsonArray) return@map null
        val (x0, y0, x1, y1) = coordinates(box).map(Double::toInt)
        Rectangle(x0, y0, x1 - x0, y1 - y0)
    }
    same(masks.map { it.boundingBox }, boxes)
}
