package segmentanything.jvm

import java.awt.image.BufferedImage
import java.awt.image.IndexColorModel
import java.io.File
import java.io.IOException
import java.nio.file.Files
import java.nio.file.StandardCopyOption
import javax.imageio.ImageIO
import segmentanything.Mask
import segmentanything.Picture
import segmentanything.SegmentAnythingError
import segmentanything.printable

/**
 * Reads a PNG or a binary PPM of 8 bits, upright; transparency is dropped.
 *
 * Throws [SegmentAnythingError.Image] if it is missing, damaged, or of another kind.
 */
fun readPicture(file: File): Picture {
    val shown = printable(file.path, 1000)
    val bytes = try {
        file.readBytes()
    } catch (_: IOException) {
        throw SegmentAnythingError.Image("$shown is missing or cannot be read")
    }
    try {
        if (isPng(bytes)) return readPng(bytes)
        if (bytes.decodeToString(0, minOf(2, bytes.size)) == "P6") return readPpm(bytes)
    } catch (fault: PictureFault) {
        throw SegmentAnythingError.Image("$shown ${fault.message}")
    }
    throw SegmentAnythingError.Image("$shown is no PNG and no PPM (P6): save it as PNG")
}

/** Why a picture's bytes cannot be read; the file's name comes before it. */
internal class PictureFault(text: String) : Exception(text)

internal const val MOST_SIDE = 65_535
internal const val MOST_PIXELS = 180_000_000L

internal fun checkSize(width: Int, height: Int) {
    if (width !in 1..MOST_SIDE || height !in 1..MOST_SIDE || width.toLong() * height > MOST_PIXELS) {
        throw PictureFault("is $width x $height: too large, or without pixels")
    }
}

/** Reads P6: width, height and 255 in text, then the pixels. */
private fun readPpm(bytes: ByteArray): Picture {
    var at = 2
    val numbers = mutableListOf<Int>()
    while (numbers.size < 3) {
        val start = at
        while (at < bytes.size && bytes[at].toInt().toChar() in '0'..'9') at++
        when {
            at > start -> {
                val text = bytes.decodeToString(start, at)
                numbers += text.toIntOrNull() ?: throw PictureFault("has a damaged header")
            }
            at == bytes.size -> throw PictureFault("is not whole")
            bytes[at].toInt().toChar() == '#' -> while (at < bytes.size && bytes[at].toInt() != 0x0a) at++
            bytes[at].toInt().toChar() in " \t\r\n" -> at++
            else -> throw PictureFault("has a damaged header")
        }
    }
    if (numbers[2] != 255) throw PictureFault("has not 8 bits a colour: save it as PNG")
    val (width, height) = numbers
    checkSize(width, height)
    if (bytes.size - at - 1L < 3L * width * height) throw PictureFault("is not whole")
    return Picture(width, height, bytes.copyOfRange(at + 1, at + 1 + width * height * 3))
}

/** Takes the colours as they are stored: `getRGB` would change greys. */
internal fun colours(image: BufferedImage): ByteArray {
    val model = image.colorModel
    val bands = image.raster.numBands
    val rgb = ByteArray(image.width * image.height * 3)
    val row = IntArray(image.width * bands)
    var to = 0
    for (y in 0 until image.height) {
        image.raster.getPixels(0, y, image.width, 1, row)
        for (x in 0 until image.width) {
            val level = row[x * bands]
            if (model is IndexColorModel) {
                rgb[to] = model.getRed(level).toByte()
                rgb[to + 1] = model.getGreen(level).toByte()
                rgb[to + 2] = model.getBlue(level).toByte()
            } else {
                val step = if (bands < 3) 0 else 1
                for (channel in 0 until 3) rgb[to + channel] = row[x * bands + channel * step].toByte()
            }
            to += 3
        }
    }
    return rgb
}

/**
 * Writes a mask as a grey PNG of 0 and 255, whole or not at all.
 *
 * Throws [SegmentAnythingError.Request] if it cannot be written.
 */
fun writeMask(mask: Mask, file: File) {
    val image = BufferedImage(mask.width, mask.height, BufferedImage.TYPE_BYTE_GRAY)
    val levels = IntArray(mask.pixels.size) { mask.pixels[it] * 255 }
    image.raster.setPixels(0, 0, mask.width, mask.height, levels)
    try {
        val folder = file.absoluteFile.parentFile.toPath()
        val part = Files.createTempFile(folder, ".mask", ".png")
        try {
            Files.newOutputStream(part).use { if (!ImageIO.write(image, "png", it)) throw IOException() }
            Files.move(part, file.toPath(), StandardCopyOption.REPLACE_EXISTING)
        } finally {
            Files.deleteIfExists(part)
        }
    } catch (_: IOException) {
        throw SegmentAnythingError.Request("cannot write ${printable(file.path, 1000)}")
    }
}
