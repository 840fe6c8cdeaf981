package segmentanything

import kotlin.reflect.KClass
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeout

/** Named checks, run one after the other; a failed one does not stop the rest. */
class Checks {
    private val failures = mutableListOf<String>()
    private var count = 0

    fun check(name: String, body: () -> Unit) {
        count++
        try {
            body()
        } catch (fault: Throwable) {
            failures += "$name: ${fault.stackTraceToString().lines().take(6).joinToString("\n  ")}"
        }
    }

    /** A check of coroutines that may take a minute. */
    fun checkAsync(name: String, body: suspend CoroutineScope.() -> Unit) = check(name) {
        runBlocking(Dispatchers.Default) { withTimeout(60_000, body) }
    }

    /** Says how many passed; returns whether all did. */
    fun report(): Boolean {
        failures.forEach(::println)
        println("${count - failures.size} of $count checks passed")
        return failures.isEmpty() && count > 0
    }
}

fun same(found: Any?, expected: Any?) {
    if (found != expected) throw AssertionError("$found, not $expected")
}

fun same(found: FloatArray, expected: FloatArray) {
    same(found.size, expected.size)
    val at = found.indices.firstOrNull { found[it] != expected[it] } ?: return
    throw AssertionError("number $at is ${found[at]}, not ${expected[at]}")
}

fun same(found: ByteArray, expected: ByteArray) {
    same(found.size, expected.size)
    val at = found.indices.firstOrNull { found[it] != expected[it] } ?: return
    throw AssertionError("byte $at is ${found[at]}, not ${expected[at]}")
}

/** Returns the error that [body] ends in, of the type [kind]. */
inline fun <T : Throwable> refused(kind: KClass<T>, body: () -> Unit): T {
    val fault = try {
        body()
        null
    } catch (fault: Throwable) {
        fault
    }
    if (!kind.isInstance(fault)) throw AssertionError("$fault, not a ${kind.simpleName}", fault)
    @Suppress("UNCHECKED_CAST")
    return fault as T
}
