package segmentanything.jvm

import com.sun.management.ThreadMXBean
import java.io.File
import java.lang.management.ManagementFactory
import java.util.Locale
import kotlin.system.exitProcess
import kotlinx.coroutines.runBlocking
import segmentanything.Mask
import segmentanything.SegmentAnything
import segmentanything.SegmentAnythingError
import segmentanything.Tensor

/** `sam-segment`: the example to copy. It sets an image once, predicts, and writes the masks. */
fun main(words: Array<String>) {
    if ("--help" in words) return println(USAGE)
    try {
        val status = runBlocking { segment(Arguments(words.toList())) }
        if (status != 0) exitProcess(status)
    } catch (error: SegmentAnythingError) {
        System.err.println("sam-segment: error: ${error.message}")
        exitProcess(2)
    }
}

/** Returns the exit status. */
private suspend fun segment(asked: Arguments): Int {
    val engine = OnnxRuntimeEngine(asked.library, asked.threads)
    val earlier = asked.maskInput?.let(::readLogits)
    asked.frames?.let {
        followFrames(asked, it, engine)
        return 0
    }
    asked.everything?.let { return segmentEverything(asked, it, engine) }
    SegmentAnything(asked.bundle, engine).use { sam ->
        sam.setImage(readPicture(asked.picture))
        val masks = sam.predict(asked.prompts, earlier, asked.multimask)
        if (asked.multimask && masks.size == 1) {
            warn("this bundle has one mask an object: --multimask changes nothing")
        }
        for ((at, mask) in masks.withIndex()) show(mask, at, masks.size, asked.mask)
        if (asked.times > 0) time(sam, asked, earlier)
    }
    return 0
}

internal fun show(mask: Mask, at: Int, count: Int, file: File?) {
    println("mask $at: ${"%.3f".format(Locale.ROOT, mask.score)}, ${mask.area} pixels")
    val own = file?.let { if (count == 1) it else numbered(it, at) } ?: return
    writeMask(mask, own)
    println(own.path)
}

private suspend fun time(sam: SegmentAnything, asked: Arguments, earlier: Tensor?) {
    val picture = readPicture(asked.picture)
    val images = mutableListOf<Long>()
    val clicks = mutableListOf<Long>()
    val bytes = mutableListOf<Long>()
    repeat(asked.times) {
        val start = System.nanoTime()
        sam.setImage(picture)
        val encoded = System.nanoTime()
        val before = allocated()
        val asking = System.nanoTime()
        sam.predict(asked.prompts, earlier, asked.multimask)
        clicks += System.nanoTime() - asking
        images += encoded - start
        bytes += allocated() - before
    }
    println("setImage ${median(images)} ms, predict ${median(clicks)} ms: medians of ${asked.times} here")
    println("predict allocates ${"%.2f".format(Locale.ROOT, bytes.sorted()[bytes.size / 2] / 1e6)} MB")
}

/** Bytes that all living threads have allocated so far. */
private fun allocated(): Long {
    val threads = ManagementFactory.getThreadMXBean() as ThreadMXBean
    return threads.getThreadAllocatedBytes(threads.allThreadIds).sum()
}

private fun median(times: List<Long>): String =
    "%.2f".format(Locale.ROOT, times.sorted()[times.size / 2] / 1e6)

private fun numbered(file: File, at: Int): File =
    file.resolveSibling("${file.nameWithoutExtension}_$at.${file.extension}")
