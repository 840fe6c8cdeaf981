package segmentanything.jvm

/** What ONNX Runtime's C API says is wrong. */
internal class NativeFault(text: ByteArray) : Exception(text.toString(Charsets.UTF_8))

/** The functions of `jni.c`. Handles are addresses; texts are UTF-8. */
internal object Native {
    @JvmStatic external fun open(library: ByteArray): Long

    @JvmStatic external fun version(ort: Long): ByteArray

    @JvmStatic external fun load(ort: Long, file: ByteArray, threads: Int): Long

    @JvmStatic external fun releaseSession(ort: Long, session: Long)

    @JvmStatic external fun releaseValue(ort: Long, value: Long)

    @JvmStatic external fun value(ort: Long, numbers: FloatArray, shape: LongArray): Long

    @JvmStatic external fun shape(ort: Long, value: Long): LongArray

    @JvmStatic external fun numbers(ort: Long, value: Long): FloatArray

    @JvmStatic
    external fun run(
        ort: Long, session: Long, inNames: Array<ByteArray>, inputs: LongArray, outNames: Array<ByteArray>,
    ): LongArray
}
