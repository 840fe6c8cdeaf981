package segmentanything

import java.io.File
import java.io.IOException
import java.io.RandomAccessFile
import java.nio.ByteBuffer

/** Bytes of logits that wait for suppression in memory; more of them wait in a file. */
private const val HELD = 64L shl 20

/** Logits until suppression: in memory up to [most] bytes, then in a file that ends with this. */
internal class HeldLogits(private val most: Long = HELD) : AutoCloseable {
    private var bytes = 0L
    private var file: File? = null
    private var stream: RandomAccessFile? = null

    /** Holds logits; returns what gives them back. Throws [SegmentAnythingError.Request] for want of room. */
    fun keep(logits: FloatArray): () -> FloatArray {
        bytes += 4L * logits.size
        if (bytes <= most) return { logits }
        val content = ByteBuffer.allocate(4 * logits.size).apply { asFloatBuffer().put(logits) }
        return guarded {
            val opened = stream ?: open()
            val at = opened.length()
            opened.seek(at)
            opened.write(content.array())
            val read = { guarded { read(opened, at, logits.size) } }
            read
        }
    }

    private fun open(): RandomAccessFile {
        val made = File.createTempFile("everything", ".logits").also { file = it }
        return RandomAccessFile(made, "rw").also { stream = it }
    }

    private fun read(from: RandomAccessFile, at: Long, count: Int): FloatArray {
        val content = ByteArray(4 * count)
        from.seek(at)
        from.readFully(content)
        return FloatArray(count).also(ByteBuffer.wrap(content).asFloatBuffer()::get)
    }

    private fun <T> guarded(work: () -> T): T =
        try {
            work()
        } catch (fault: IOException) {
            throw SegmentAnythingError.Request("masks cannot wait in a temporary file: ${fault.message}")
        }

    override fun close() {
        stream?.close()
        file?.delete()
    }
}
