package segmentanything.jvm

import java.io.File
import segmentanything.Engine
import segmentanything.GraphFile
import segmentanything.LoadedGraph
import segmentanything.Manifest
import segmentanything.SegmentAnythingError
import segmentanything.Tensor
import segmentanything.TensorSpec
import segmentanything.Value

/**
 * ONNX Runtime on the CPU, on a JVM, through its C API.
 *
 * The first library of a process is kept: [library], a path of `libonnxruntime.so`, else that of the
 * environment's `SAM_ONNXRUNTIME`, else the one that the system finds. [threads] are of one graph. Throws
 * [SegmentAnythingError.Request] if it cannot be opened.
 */
class OnnxRuntimeEngine(library: String? = null, private val threads: Int = 2) : Engine {
    override val target = "onnx"
    private val ort: Long

    /** Of the library. */
    val version: String

    init {
        if (threads !in 1..1024) {
            throw SegmentAnythingError.Request("threads must be 1 to 1024, not $threads")
        }
        val named = library ?: System.getenv("SAM_ONNXRUNTIME") ?: System.mapLibraryName("onnxruntime")
        ort = try {
            System.loadLibrary(SHIM)
            Native.open(named.toByteArray())
        } catch (fault: NativeFault) {
            throw SegmentAnythingError.Request(
                "${fault.message}; name libonnxruntime by --onnxruntime or SAM_ONNXRUNTIME"
            )
        } catch (_: UnsatisfiedLinkError) {
            throw SegmentAnythingError.Request(
                "${System.mapLibraryName(SHIM)} is not in the java.library.path: compile it from jni.c"
            )
        }
        version = Native.version(ort).toString(Charsets.UTF_8)
    }

    override fun open(graph: GraphFile, file: File, manifest: Manifest): LoadedGraph {
        val session = try {
            Native.load(ort, file.path.toByteArray(), threads)
        } catch (fault: NativeFault) {
            throw SegmentAnythingError.Bundle("onnxruntime cannot load ${graph.file}: ${fault.message}")
        }
        return OnnxGraph(graph, ort, session)
    }

    private companion object {
        const val SHIM = "sam_onnxruntime"
    }
}

/** A value in ONNX Runtime's memory, which a later graph takes without a copy. Nobody writes to it. */
private class OnnxValue(private val ort: Long, val handle: Long) : Value.Held {
    private var isOpen = true

    val shape: List<Int> get() = Native.shape(ort, handle).map(Long::toInt)

    override fun tensor(): Tensor =
        try {
            Tensor(shape, Native.numbers(ort, handle))
        } catch (fault: NativeFault) {
            throw SegmentAnythingError.Bundle("an output cannot be read: ${fault.message}")
        }

    override fun close() {
        if (isOpen) Native.releaseValue(ort, handle)
        isOpen = false
    }
}

private class OnnxGraph(
    private val graph: GraphFile, private val ort: Long, private val session: Long,
) : LoadedGraph {
    private val inNames = names(graph.inputs)
    private val outNames = names(graph.outputs)

    override fun run(inputs: Map<String, Value>): Map<String, Value> {
        val made = mutableListOf<OnnxValue>()
        try {
            val given = graph.inputs.map { spec ->
                val value = inputs[spec.name]
                    ?: throw SegmentAnythingError.Bundle("nothing gives ${graph.name} ${spec.name}")
                value as? OnnxValue ?: copy(value.tensor()).also(made::add)
            }
            val handles = LongArray(given.size) { given[it].handle }
            val outputs = Native.run(ort, session, inNames, handles, outNames).map { OnnxValue(ort, it) }
            return checked(outputs)
        } catch (fault: NativeFault) {
            throw SegmentAnythingError.Bundle("onnxruntime cannot run ${graph.name}: ${fault.message}")
        } finally {
            made.forEach(OnnxValue::close)
        }
    }

    private fun copy(tensor: Tensor): OnnxValue {
        val shape = LongArray(tensor.shape.size) { tensor.shape[it].toLong() }
        return OnnxValue(ort, Native.value(ort, tensor.values, shape))
    }

    private fun checked(outputs: List<OnnxValue>): Map<String, Value> {
        for ((spec, value) in graph.outputs.zip(outputs)) {
            if (value.shape == spec.shape) continue
            outputs.forEach(OnnxValue::close)
            throw SegmentAnythingError.Bundle("${graph.name} ${spec.name} is not ${spec.shape}")
        }
        return graph.outputs.zip(outputs).associate { (spec, value) -> spec.name to value }
    }

    override fun close() = Native.releaseSession(ort, session)
}

private fun names(specs: List<TensorSpec>): Array<ByteArray> =
    Array(specs.size) { specs[it].name.toByteArray() }
