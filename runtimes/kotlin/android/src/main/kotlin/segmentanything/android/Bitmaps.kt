package segmentanything.android

import android.graphics.Bitmap
import android.graphics.Color
import segmentanything.Everything
import segmentanything.EverythingMethod
import segmentanything.EverythingProgress
import segmentanything.Mask
import segmentanything.ObjectPrompt
import segmentanything.Picture
import segmentanything.SegmentAnything
import segmentanything.SegmentAnythingError
import segmentanything.Tracked
import segmentanything.Tracker

/** Rows that are copied at once: a whole picture as colours would take its memory again. */
private const val ROWS = 64

/**
 * Takes a bitmap at its full size; see `setImage` of a [Picture].
 *
 * [orientation] is that of the photo's EXIF, 1..8 (`ExifInterface.TAG_ORIENTATION`), if the bitmap was not
 * turned by it yet. Throws [SegmentAnythingError.Image] if the bitmap holds no pixels.
 */
suspend fun SegmentAnything.setImage(bitmap: Bitmap, orientation: Int = 1) =
    setImage { bitmap.picture().upright(orientation) }

/** Finds everything in a bitmap at its full size; see `everything` of a [Picture]. [orientation] as above. */
suspend fun SegmentAnything.everything(
    bitmap: Bitmap,
    method: EverythingMethod = EverythingMethod.grid(),
    orientation: Int = 1,
    keepPartial: Boolean = false,
    progress: (EverythingProgress) -> Unit = {},
): Everything = everything({ bitmap.picture().upright(orientation) }, method, keepPartial, progress)

/** Begins a video with a bitmap at its full size; see `start` of a [Picture]. [orientation] as above. */
suspend fun Tracker.start(bitmap: Bitmap, number: Int = 0, frames: Int? = null, orientation: Int = 1) =
    start({ bitmap.picture().upright(orientation) }, number, frames)

/** Finds every object on a bitmap at its full size; see `track` of a [Picture]. [orientation] as above. */
suspend fun Tracker.track(
    bitmap: Bitmap,
    number: Int? = null,
    prompts: Map<String, ObjectPrompt> = emptyMap(),
    objects: Collection<String>? = null,
    orientation: Int = 1,
): Map<String, Tracked> = track({ bitmap.picture().upright(orientation) }, number, prompts, objects)

/**
 * Copies a bitmap's pixels as sRGB of 8 bits. It is not resized here: Android resamples otherwise than the
 * bundle's rules. Transparency is dropped.
 *
 * Throws [SegmentAnythingError.Image] if the bitmap was recycled, or there is no memory for it.
 */
fun Bitmap.picture(): Picture {
    if (isRecycled) throw SegmentAnythingError.Image("the bitmap was recycled: keep it until the call returns")
    try {
        return copied()
    } catch (_: OutOfMemoryError) { // three bytes a pixel beside the bitmap's four
        throw SegmentAnythingError.Image("no memory for an image of $width x $height: decode it smaller")
    }
}

private fun Bitmap.copied(): Picture {
    // A hardware bitmap's pixels cannot be read, only copied.
    val readable = if (config == Bitmap.Config.HARDWARE) copy(Bitmap.Config.ARGB_8888, false) else this
    readable ?: throw SegmentAnythingError.Image("no memory for an image of $width x $height")
    val rgb = ByteArray(width * height * 3)
    val colours = IntArray(width * ROWS)
    var to = 0
    for (top in 0 until height step ROWS) {
        val rows = minOf(ROWS, height - top)
        readable.getPixels(colours, 0, width, 0, top, width, rows)
        for (at in 0 until width * rows) {
            rgb[to] = (colours[at] shr 16).toByte()
            rgb[to + 1] = (colours[at] shr 8).toByte()
            rgb[to + 2] = colours[at].toByte()
            to += 3
        }
    }
    if (readable !== this) readable.recycle()
    return Picture(width, height, rgb)
}

/** Draws the mask in a colour on nothing, to be laid over the picture. */
fun Mask.bitmap(color: Int = Color.WHITE): Bitmap {
    val made = Bitmap.createBitmap(width, height, Bitmap.Config.ARGB_8888)
    val colours = IntArray(width * ROWS)
    for (top in 0 until height step ROWS) {
        val rows = minOf(ROWS, height - top)
        for (at in 0 until width * rows) {
            colours[at] = if (pixels[top * width + at].toInt() == 0) Color.TRANSPARENT else color
        }
        made.setPixels(colours, 0, width, 0, top, width, rows)
    }
    return made
}
