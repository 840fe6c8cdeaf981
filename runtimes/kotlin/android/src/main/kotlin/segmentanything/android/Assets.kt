package segmentanything.android

import android.content.Context
import java.io.File
import java.io.IOException
import segmentanything.SegmentAnythingError

/** One copies at a time: two of one bundle would take each other's files away, and leave half of it. */
private val copying = Any()

/**
 * Copies a bundle from the app's assets into its files, once: the runtimes take paths. It takes the time of
 * reading the bundle, so call it off the main thread.
 *
 * [path] is the bundle's folder among the assets. Throws [SegmentAnythingError.Bundle] if it is none, or
 * there is no room for it.
 */
fun bundleFromAssets(context: Context, path: String): File = synchronized(copying) {
    try {
        val manifest = context.assets.open("$path/manifest.json").use { it.readBytes() }
        val folder = File(context.noBackupFilesDir, "segment-anything/$path")
        val kept = File(folder, "manifest.json")
        // The manifest names every file's hash, so the same manifest is the same bundle.
        if (kept.isFile && kept.readBytes().contentEquals(manifest)) return@synchronized folder
        val part = File(folder.path + ".part")
        part.deleteRecursively()
        copy(context, path, part)
        folder.deleteRecursively()
        if (!part.renameTo(folder)) throw IOException("it cannot be moved to $folder")
        folder
    } catch (fault: IOException) {
        throw SegmentAnythingError.Bundle("the assets' bundle $path cannot be copied: ${fault.message}")
    }
}

private fun copy(context: Context, path: String, to: File) {
    val names = context.assets.list(path).orEmpty()
    if (names.isEmpty()) {
        context.assets.open(path).use { from -> to.outputStream().use { from.copyTo(it) } }
        return
    }
    if (!to.mkdirs()) throw IOException("no folder $to")
    for (name in names) copy(context, "$path/$name", File(to, name))
}
