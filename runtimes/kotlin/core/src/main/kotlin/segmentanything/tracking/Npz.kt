package segmentanything

import java.io.File
import java.io.IOException
import java.io.InputStream
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.util.zip.ZipFile

/** How an array that numpy saved begins; its version is 1. */
private val MAGIC = byteArrayOf(0x93.toByte()) + "NUMPY\u0001\u0000".toByteArray()
private const val HEADER = 10

/**
 * Reads arrays of float32 that numpy saved in one file, each of the shape that is [wanted] of it.
 *
 * Throws [SegmentAnythingError.Bundle] if one is missing, of another kind, or holds what is not finite.
 */
internal fun readNpz(file: File, wanted: Map<String, List<Int>>): Map<String, FloatArray> {
    val shown = printable(file.path)
    try {
        return ZipFile(file).use { zip ->
            wanted.mapValues { (name, shape) ->
                val entry = zip.getEntry("$name.npy")
                    ?: throw SegmentAnythingError.Bundle("$shown has no $name; export the bundle again")
                zip.getInputStream(entry).use { readArray(it, shape) } ?: throw SegmentAnythingError.Bundle(
                    "$shown: $name is not finite float32 of $shape; export it again"
                )
            }
        }
    } catch (_: IOException) {
        throw SegmentAnythingError.Bundle("$shown cannot be read: copy or export the bundle again")
    }
}

/** Reads an array; null if it is none of that shape. What follows it is not read, however long it is. */
private fun readArray(stream: InputStream, shape: List<Int>): FloatArray? {
    val start = stream.readUpTo(HEADER)
    if (start.size < HEADER || !start.copyOf(MAGIC.size).contentEquals(MAGIC)) return null
    val length = (start[8].toInt() and 0xff) or (start[9].toInt() and 0xff shl 8)
    val header = stream.readUpTo(length).decodeToString()
    val sides = header.substringAfter("'shape': (", "").substringBefore(")").split(",").map(String::trim)
    if ("'<f4'" !in header || "'fortran_order': False" !in header) return null
    if (sides.filter(String::isNotEmpty) != shape.map(Int::toString)) return null
    val count = shape.fold(1, Int::times)
    val content = stream.readUpTo(4 * count)
    if (content.size < 4 * count) return null
    val values = FloatArray(count)
    ByteBuffer.wrap(content).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer().get(values)
    return values.takeIf { all -> all.all { it.isFinite() } }
}

/** Android has `readNBytes` since 13 only. */
private fun InputStream.readUpTo(count: Int): ByteArray {
    val bytes = ByteArray(count)
    var at = 0
    while (at < count) {
        val more = read(bytes, at, count - at)
        if (more < 0) return bytes.copyOf(at)
        at += more
    }
    return bytes
}
