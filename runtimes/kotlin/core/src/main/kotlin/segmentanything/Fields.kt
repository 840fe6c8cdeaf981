package segmentanything

import kotlinx.serialization.SerializationException
import kotlinx.serialization.json.Json
import kotlinx.serialization.json.JsonArray
import kotlinx.serialization.json.JsonElement
import kotlinx.serialization.json.JsonNull
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.JsonPrimitive
import kotlinx.serialization.json.booleanOrNull
import kotlinx.serialization.json.doubleOrNull

/** Brackets within brackets that are read: a manifest has seven, and too many exhaust the parser's stack. */
private const val MOST_DEPTH = 64

/** Parses JSON. Throws [SegmentAnythingError.Bundle] if [text] is none, or is nested too deep. */
internal fun parseJson(text: String, name: String): JsonElement {
    if (depth(text) > MOST_DEPTH) {
        throw SegmentAnythingError.Bundle("$name is not JSON that can be read: it is nested too deep")
    }
    return try {
        Json.parseToJsonElement(text)
    } catch (_: SerializationException) {
        throw SegmentAnythingError.Bundle("$name is not JSON: copy the bundle again")
    }
}

/** Counts the most brackets that are open at once, outside of texts. */
private fun depth(text: String): Int {
    var open = 0
    var most = 0
    var isText = false
    var isEscaped = false
    for (letter in text) {
        when {
            isEscaped -> isEscaped = false
            isText && letter == '\\' -> isEscaped = true
            letter == '"' -> isText = !isText
            isText -> continue
            letter in "[{" -> most = maxOf(most, ++open)
            letter in "]}" -> open--
        }
    }
    return most
}

/** One object of a manifest, read field by field; every fault names its place. */
internal class Fields(json: JsonElement, val place: String) {
    private val values = json as? JsonObject ?: throw wrong("an object", place)

    /** Refuses fields of a newer release: what they mean would be lost in silence. */
    fun only(vararg known: String) {
        val unknown = values.keys.sorted().firstOrNull { it !in known } ?: return
        throw SegmentAnythingError.Bundle(
            "$place has an unknown field '${printable(unknown)}': get a newer release"
        )
    }

    fun json(name: String): JsonElement =
        values[name] ?: throw SegmentAnythingError.Bundle("$place is missing the field '$name'")

    fun has(name: String): Boolean = values[name].let { it != null && it !is JsonNull }

    fun obj(name: String) = Fields(json(name), "$place.$name")

    /** Reads an object that may be missing or null. */
    fun <T> optional(name: String, read: (Fields) -> T): T? = if (has(name)) read(obj(name)) else null

    fun objects(name: String): List<Fields> =
        list(name).mapIndexed { at, json -> Fields(json, "$place.$name[$at]") }

    fun list(name: String): List<JsonElement> =
        json(name) as? JsonArray ?: throw refuse(name, "a list")

    fun text(name: String): String =
        (json(name) as? JsonPrimitive)?.takeIf { it.isString }?.content ?: throw refuse(name, "a text")

    fun number(name: String): Double = number(json(name)) ?: throw refuse(name, "a number")

    fun whole(name: String, range: IntRange): Int =
        whole(json(name), range)
            ?: throw refuse(name, "a whole number from ${range.first} to ${range.last}")

    fun flag(name: String): Boolean =
        (json(name) as? JsonPrimitive)?.takeIf { !it.isString }?.booleanOrNull
            ?: throw refuse(name, "true or false")

    fun wholes(name: String, range: IntRange): List<Int> =
        list(name).map { json ->
            whole(json, range) ?: throw refuse(name, "whole numbers from ${range.first} to ${range.last}")
        }

    fun numbers(name: String, count: Int): List<Double> {
        val numbers = list(name).mapNotNull(::number)
        if (numbers.size != count || list(name).size != count) throw refuse(name, "$count numbers")
        return numbers
    }

    fun texts(name: String): Map<String, String> = obj(name).run { values.keys.associateWith(::text) }

    /** Reads one of an enumeration's words. */
    fun <W : Word> word(name: String, words: List<W>): W {
        val text = text(name)
        return words.firstOrNull { it.word == text } ?: throw SegmentAnythingError.Bundle(
            "$place.$name is '${printable(text)}', unknown to this release: get a newer release"
        )
    }

    fun refuse(name: String, wanted: String) = wrong(wanted, "$place.$name")

    private fun wrong(wanted: String, at: String) = SegmentAnythingError.Bundle("$at should be $wanted")

    private fun number(json: JsonElement): Double? =
        (json as? JsonPrimitive)?.takeIf { !it.isString }?.doubleOrNull?.takeIf { it.isFinite() }

    private fun whole(json: JsonElement, range: IntRange): Int? =
        number(json)?.takeIf { it == Math.rint(it) && it >= range.first && it <= range.last }?.toInt()
}

/** One of a fixed set of words in a manifest. */
interface Word {
    val word: String
}
