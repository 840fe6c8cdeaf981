package segmentanything

import java.math.BigDecimal
import java.math.MathContext

/** Why something was refused: one line that says the fault, its place and what to do. */
sealed class SegmentAnythingError(text: String) : Exception(printable(text, 2000)) {
    /** The request is wrong: no image was set, or an engine for other files was given. */
    class Request(text: String) : SegmentAnythingError(text)

    /** A prompt that the bundle cannot take. */
    class Prompt(text: String) : SegmentAnythingError(text)

    /** An image that cannot be read or used. */
    class Image(text: String) : SegmentAnythingError(text)

    /** A bundle that is incomplete, or differs from its manifest. */
    class Bundle(text: String) : SegmentAnythingError(text)
}

/** Writes a number as people do: without a fraction if it has none, else up to six digits. */
internal fun plain(value: Double): String {
    if (value.isNaN()) return "nan"
    if (value.isInfinite()) return if (value < 0) "-inf" else "inf"
    if (value == 0.0) return "0"
    val short = BigDecimal(value).round(MathContext(6)).stripTrailingZeros()
    return if (short.precision() - short.scale() in -3..6) short.toPlainString() else short.toString()
}

private val hidden = setOf(
    CharCategory.CONTROL, CharCategory.FORMAT, CharCategory.LINE_SEPARATOR,
    CharCategory.PARAGRAPH_SEPARATOR, CharCategory.SURROGATE, CharCategory.PRIVATE_USE,
    CharCategory.UNASSIGNED,
)

/** Shows text from outside on one line: control characters are escaped, a long one is cut. */
fun printable(text: String, most: Int = 120): String {
    val shown = text.codePoints().toArray().map { code ->
        if (CharCategory.valueOf(Character.getType(code)) in hidden) "\\u{${code.toString(16)}}"
        else String(Character.toChars(code))
    }
    return shown.take(most).joinToString("") + if (shown.size > most) "..." else ""
}
