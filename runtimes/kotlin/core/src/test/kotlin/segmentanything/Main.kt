package segmentanything

import kotlin.system.exitProcess

/** Runs the core's tests. */
fun main() {
    val checks = Checks()
    checks.goldenVectors()
    checks.sessions()
    checks.everything()
    checks.tracking()
    checks.check("numbers are shown as people write them") {
        val shown = mapOf(
            5.0 to "5", -1.25 to "-1.25", 101.5 to "101.5", 0.1 + 0.2 to "0.3", 1e7 to "1E+7", 0.0 to "0",
            Double.NaN to "nan", Double.NEGATIVE_INFINITY to "-inf",
        )
        for ((number, text) in shown) same(plain(number), text)
    }
    checks.check("text from outside stays on one line") {
        same(SegmentAnythingError.Image("dog\n\u001b[2J.png").message, "dog\\u{a}\\u{1b}[2J.png")
        same(printable("a".repeat(200)).length, 123)
    }
    if (!checks.report()) exitProcess(1)
}
