package segmentanything.jvm

import java.io.File
import kotlin.io.path.createTempDirectory
import kotlin.system.exitProcess
import segmentanything.Checks
import segmentanything.SegmentAnythingError
import segmentanything.refused
import segmentanything.same

private val WRONG = listOf(
    "P6 3 2 255\n", "P6 3 2 65535\n", "P6 0 2 255\n", "P6 x", "P5 3 2 255\n", "P6 99999999999999999999 2 255\n",
    "P6 65535 65535 255\n", "P6 #", "",
)

/** Runs the tests of pictures. */
fun main() {
    val folder = createTempDirectory().toFile()
    fun file(bytes: ByteArray) = File(folder, "a.ppm").apply { writeBytes(bytes) }
    fun ppm(header: String, pixels: Int) = header.toByteArray() + ByteArray(pixels * 3) { it.toByte() }
    val checks = Checks()
    checks.check("a PPM with a comment") {
        val picture = readPicture(file(ppm("P6\n# made by hand\n3 2\n255\n", 6)))
        same(listOf(picture.width, picture.height), listOf(3, 2))
        same(picture.rgb, ByteArray(18) { it.toByte() })
    }
    for (header in WRONG) {
        checks.check("what is no PPM is refused: $header") {
            refused(SegmentAnythingError.Image::class) { readPicture(file(ppm(header, 5))) }
        }
    }
    checks.check("a damaged orientation is upright") {
        val head = byteArrayOf(0x4d, 0x4d, 0, 42, 0, 0, 0, 8, 0, 1)
        val entry = byteArrayOf(1, 0x12, 0, 3, 0, 0, 0, 1, 0)
        same(exifOrientation(ByteArray(0)), 1)
        same(exifOrientation("II*\u0000".toByteArray() + ByteArray(4) { -1 }), 1)
        same(exifOrientation(head + entry + byteArrayOf(6, 0, 0)), 6)
        same(exifOrientation(head + entry + byteArrayOf(9, 0, 0)), 1)
        same(exifOrientation(head + entry), 1)
    }
    checks.check("a missing picture is named on one line") {
        val error = refused(SegmentAnythingError.Image::class) { readPicture(File("/nowhere/dog\n.png")) }
        same(error.message, "/nowhere/dog\\u{a}.png is missing or cannot be read")
    }
    folder.deleteRecursively()
    if (!checks.report()) exitProcess(1)
}
