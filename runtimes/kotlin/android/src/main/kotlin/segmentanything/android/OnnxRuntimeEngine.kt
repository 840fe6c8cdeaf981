package segmentanything.android

import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import ai.onnxruntime.OrtException
import ai.onnxruntime.OrtSession
import java.io.File
import java.nio.FloatBuffer
import segmentanything.Engine
import segmentanything.GraphFile
import segmentanything.LoadedGraph
import segmentanything.Manifest
import segmentanything.SegmentAnythingError
import segmentanything.Tensor
import segmentanything.Value

/**
 * ONNX Runtime on the CPU, through its Java API; [threads] are of one graph.
 *
 * The app's dependency is `com.microsoft.onnxruntime:onnxruntime-android`. Throws
 * [SegmentAnythingError.Request] if it cannot be started.
 */
class OnnxRuntimeEngine(private val threads: Int = 2) : Engine {
    override val target = "onnx"
    private val environment: OrtEnvironment

    init {
        if (threads !in 1..1024) {
            throw SegmentAnythingError.Request("threads must be 1 to 1024, not $threads")
        }
        try {
            environment = OrtEnvironment.getEnvironment()
            environment.setTelemetry(false)
        } catch (fault: IllegalStateException) {
            throw SegmentAnythingError.Request("ONNX Runtime cannot be started: ${fault.message}")
        } catch (fault: OrtException) {
            throw SegmentAnythingError.Request("ONNX Runtime cannot be started: ${fault.message}")
        }
    }

    override fun open(graph: GraphFile, file: File, manifest: Manifest): LoadedGraph =
        try {
            val session = OrtSession.SessionOptions().use { options ->
                options.setIntraOpNumThreads(threads)
                // Else its threads wait for work some 20 ms after a call, on a core that the app needs.
                options.addConfigEntry("session.force_spinning_stop", "1")
                environment.createSession(file.path, options)
            }
            OnnxGraph(graph, environment, session)
        } catch (fault: OrtException) {
            throw SegmentAnythingError.Bundle("onnxruntime cannot load ${graph.file}: ${fault.message}")
        }
}

/** A value in ONNX Runtime's memory, which a later graph takes without a copy. Nobody writes to it. */
private class OnnxValue(val tensor: OnnxTensor) : Value.Held {
    override fun tensor(): Tensor {
        val numbers = tensor.floatBuffer ?: throw SegmentAnythingError.Bundle("an output is not of floats")
        val shape = tensor.info.shape.map(Long::toInt)
        return Tensor(shape, FloatArray(numbers.remaining()).also(numbers::get))
    }

    override fun close() = tensor.close()
}

private class OnnxGraph(
    private val graph: GraphFile,
    private val environment: OrtEnvironment,
    private val session: OrtSession,
) : LoadedGraph {
    override fun run(inputs: Map<String, Value>): Map<String, Value> {
        val made = mutableListOf<OnnxTensor>()
        try {
            val given = graph.inputs.associate { spec ->
                val value = inputs[spec.name]
                    ?: throw SegmentAnythingError.Bundle("nothing gives ${graph.name} ${spec.name}")
                spec.name to ((value as? OnnxValue)?.tensor ?: copy(value.tensor()).also(made::add))
            }
            // The result is not closed: that would close its values, which the caller keeps.
            return outputs(session.run(given, graph.outputs.map { it.name }.toSet()))
        } catch (fault: OrtException) {
            throw SegmentAnythingError.Bundle("onnxruntime cannot run ${graph.name}: ${fault.message}")
        } finally {
            made.forEach(OnnxTensor::close)
        }
    }

    private fun copy(tensor: Tensor): OnnxTensor {
        val shape = LongArray(tensor.shape.size) { tensor.shape[it].toLong() }
        return OnnxTensor.createTensor(environment, FloatBuffer.wrap(tensor.values), shape)
    }

    private fun outputs(result: OrtSession.Result): Map<String, Value> =
        graph.outputs.associate { spec ->
            val tensor = result.get(spec.name).orElse(null) as? OnnxTensor
            if (tensor == null || tensor.info.shape.map(Long::toInt) != spec.shape) {
                result.close()
                throw SegmentAnythingError.Bundle("${graph.name} ${spec.name} is not ${spec.shape}")
            }
            spec.name to OnnxValue(tensor)
        }

    override fun close() = session.close()
}
