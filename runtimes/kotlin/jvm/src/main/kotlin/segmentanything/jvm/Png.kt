package segmentanything.jvm

import java.io.IOException
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.util.zip.CRC32
import javax.imageio.ImageIO
import javax.imageio.stream.MemoryCacheImageInputStream
import segmentanything.Picture

private const val SIGNATURE = 8

internal fun isPng(bytes: ByteArray): Boolean =
    bytes.size > SIGNATURE && ByteBuffer.wrap(bytes).getLong(0) == -0x76afb1b8f2f5e5f6L

/** Decodes a PNG of up to 8 bits, and turns it upright. */
internal fun readPng(bytes: ByteArray): Picture {
    val orientation = exifOrientation(checkedChunks(bytes)["eXIf"] ?: ByteArray(0))
    val reader = ImageIO.getImageReadersByFormatName("png").next()
    try {
        reader.input = MemoryCacheImageInputStream(bytes.inputStream())
        checkSize(reader.getWidth(0), reader.getHeight(0))
        val image = reader.read(0)
        if (image.sampleModel.getSampleSize(0) > 8) {
            throw PictureFault("has 16 bits a colour: save it with 8")
        }
        return Picture(image.width, image.height, colours(image)).upright(orientation)
    } catch (_: IOException) {
        throw PictureFault("is damaged")
    } catch (_: RuntimeException) { // of the decoder, which trusts its chunks
        throw PictureFault("is damaged")
    } finally {
        reader.dispose()
    }
}

/** Compares every chunk with its checksum, which the decoder does not; returns the last of each kind. */
private fun checkedChunks(bytes: ByteArray): Map<String, ByteArray> {
    val buffer = ByteBuffer.wrap(bytes)
    val chunks = mutableMapOf<String, ByteArray>()
    var at = SIGNATURE
    while (bytes.size - at >= 12 && "IEND" !in chunks) {
        val length = buffer.getInt(at)
        if (length < 0 || length > bytes.size - at - 12) break
        val sum = CRC32()
        sum.update(bytes, at + 4, length + 4)
        if (sum.value.toInt() != buffer.getInt(at + 8 + length)) {
            throw PictureFault("is damaged: a checksum does not fit")
        }
        val kind = bytes.decodeToString(at + 4, at + 8)
        chunks[kind] = if (kind == "eXIf") bytes.copyOfRange(at + 8, at + 8 + length) else ByteArray(0)
        at += 12 + length
    }
    if ("IEND" !in chunks) throw PictureFault("is not whole")
    return chunks
}

/** Finds how a picture was held, 1..8; 1 if its EXIF says nothing that can be read. */
internal fun exifOrientation(tiff: ByteArray): Int {
    if (tiff.size < 8) return 1
    val order = when (tiff.decodeToString(0, 2)) {
        "II" -> ByteOrder.LITTLE_ENDIAN
        "MM" -> ByteOrder.BIG_ENDIAN
        else -> return 1
    }
    val buffer = ByteBuffer.wrap(tiff).order(order)
    return try {
        val directory = buffer.getInt(4)
        (0 until buffer.getShort(directory).toInt().and(0xffff))
            .map { directory + 2 + 12 * it }
            .firstOrNull { buffer.getShort(it).toInt() == 0x0112 }
            ?.let { buffer.getShort(it + 8).toInt() }
            ?.takeIf { it in 1..8 } ?: 1
    } catch (_: IndexOutOfBoundsException) {
        1
    }
}
