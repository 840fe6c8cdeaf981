package segmentanything

import java.io.File
import java.io.IOException
import java.security.MessageDigest

/** A runtime that runs the graphs of a bundle. */
interface Engine {
    /** The format it runs: `tflite` or `onnx`. */
    val target: String

    /** Loads one graph. Throws [SegmentAnythingError.Bundle] if it cannot. */
    fun open(graph: GraphFile, file: File, manifest: Manifest): LoadedGraph
}

/** One graph, loaded. It is run by one caller at a time. */
interface LoadedGraph : AutoCloseable {
    /** Takes every input of the graph by name and gives every output, which the caller closes. */
    fun run(inputs: Map<String, Value>): Map<String, Value>

    override fun close()
}

/** What a graph takes and gives. */
sealed interface Value : AutoCloseable {
    /** Copies the numbers out. Throws [SegmentAnythingError.Bundle] if they cannot be read. */
    fun tensor(): Tensor

    override fun close() = Unit

    class Floats(private val tensor: Tensor) : Value {
        override fun tensor() = tensor
    }

    /** RGB bytes of the square input, row by row. */
    class Pixels(val rgb: ByteArray, val side: Int) : Value {
        override fun tensor(): Tensor {
            val values = FloatArray(rgb.size) { (rgb[it].toInt() and 0xff).toFloat() }
            return Tensor(listOf(1, side, side, 3), values)
        }
    }

    /** An engine's own memory, which the next graph takes without a copy. */
    interface Held : Value {
        override fun close()
    }
}

/** Numbers in a shape, row by row. The array is kept, not copied: do not change it. */
class Tensor(val shape: List<Int>, val values: FloatArray) {
    init {
        require(shape.fold(1, Int::times) == values.size) { "$shape does not hold ${values.size} numbers" }
    }
}

/** Of a manifest. */
private const val MOST_BYTES = 4L shl 20

/**
 * A bundle's folder and its manifest.
 *
 * With [verify], every file is compared with its hash; a model of 40 MB takes about 0.2 s. Throws
 * [SegmentAnythingError.Bundle] if there is no valid manifest, or a file is missing or changed.
 */
class Bundle(val folder: File, verify: Boolean = true) {
    val manifest: Manifest

    init {
        val content = try {
            File(folder, "manifest.json").also { if (it.length() > MOST_BYTES) throw tooLarge() }.readBytes()
        } catch (_: IOException) {
            throw SegmentAnythingError.Bundle("$shown holds no manifest.json: it is not a bundle")
        }
        manifest = Manifest(content)
        if (verify) manifest.files.keys.sorted().forEach(::check)
    }

    /** Path of a graph. */
    fun file(graph: GraphFile): File =
        File(folder, graph.file).also { if (!it.isFile) throw missing(graph.file) }

    private val shown get() = printable(folder.path)

    private fun tooLarge() =
        SegmentAnythingError.Bundle("$shown: manifest.json has more than 4 MB: it is no manifest")

    private fun missing(name: String) = SegmentAnythingError.Bundle(
        "$shown: '${printable(name)}' is missing; copy or export the bundle again"
    )

    private fun check(name: String) {
        val digest = MessageDigest.getInstance("SHA-256")
        val part = ByteArray(1 shl 20)
        try {
            File(folder, name).inputStream().use { stream ->
                while (true) {
                    val count = stream.read(part)
                    if (count < 0) break
                    digest.update(part, 0, count)
                }
            }
        } catch (_: IOException) {
            throw missing(name)
        }
        if (hex(digest.digest()) != manifest.files[name]) {
            throw SegmentAnythingError.Bundle(
                "$shown: '${printable(name)}' was changed after the export; copy or export the bundle again"
            )
        }
    }
}
