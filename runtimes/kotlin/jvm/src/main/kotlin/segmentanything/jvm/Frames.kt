package segmentanything.jvm

import java.io.File
import java.math.BigInteger
import java.util.Locale
import segmentanything.Engine
import segmentanything.ObjectPrompt
import segmentanything.SegmentAnythingError
import segmentanything.Tracked
import segmentanything.Tracker
import segmentanything.printable

private const val NAME = "object"

/** Follows one object through a folder of frames: says where it is on each, and writes a mask if one was asked for. */
internal suspend fun followFrames(asked: Arguments, folder: File, engine: Engine) {
    val files = frames(folder)
    Tracker(asked.bundle, engine).use { tracker ->
        tracker.start({ readPicture(files[0]) }, frames = files.size)
        tell(tracker.addObject(NAME, ObjectPrompt(asked.prompts)), files.size, asked.mask)
        for (file in files.drop(1)) {
            tell(tracker.track({ readPicture(file) }).getValue(NAME), files.size, asked.mask)
        }
    }
}

private fun tell(found: Tracked, count: Int, mask: File?) {
    val there = if (found.present) "there" else "gone"
    println("frame ${found.frame}: $there, score ${"%.3f".format(Locale.ROOT, found.score)}")
    show(found.mask(), found.frame, maxOf(2, count), mask)
}

private val KINDS = setOf("png", "ppm")
private val PART = Regex("[0-9]+|[^0-9]+")

/** The PNG and PPM files of a folder, in the order of the numbers in their names. */
private fun frames(folder: File): List<File> {
    val files = folder.listFiles { file -> file.extension.lowercase() in KINDS && !file.name.startsWith(".") }
    if (files.isNullOrEmpty()) {
        throw SegmentAnythingError.Image(
            "${printable(folder.path, 1000)} holds no pictures: give a folder of frames, PNG or PPM"
        )
    }
    return files.sortedWith { one, other -> compare(one.name, other.name) }
}

/** Sorts 9.png before 10.png, whatever stands around the numbers. */
private fun compare(one: String, other: String): Int {
    for ((part, beside) in parts(one).zip(parts(other))) {
        val order = compareValuesBy(part, beside, Pair<BigInteger, String>::first, Pair<BigInteger, String>::second)
        if (order != 0) return order
    }
    return one.compareTo(other)
}

private fun parts(name: String): List<Pair<BigInteger, String>> =
    PART.findAll(name).map { it.value }.map { part ->
        if (part[0] in '0'..'9') part.toBigInteger() to "" else BigInteger.ONE.negate() to part
    }.toList()
