package segmentanything.android

import com.google.ai.edge.litert.Accelerator
import com.google.ai.edge.litert.CompiledModel
import com.google.ai.edge.litert.LiteRtException
import com.google.ai.edge.litert.TensorBuffer
import java.io.File
import segmentanything.Engine
import segmentanything.GraphFile
import segmentanything.LoadedGraph
import segmentanything.Manifest
import segmentanything.SegmentAnythingError
import segmentanything.Tensor
import segmentanything.Value

/**
 * LiteRT: TFLite bundles on [accelerator]; a graph that it cannot compile runs on the CPU.
 *
 * The app's dependency is `com.google.ai.edge.litert:litert` 2 or newer.
 */
class LiteRtEngine(private val accelerator: Accelerator = Accelerator.CPU) : Engine {
    override val target = "tflite"

    override fun open(graph: GraphFile, file: File, manifest: Manifest): LoadedGraph =
        try {
            LiteRtGraph(graph, compiled(file))
        } catch (fault: LiteRtException) {
            throw SegmentAnythingError.Bundle("LiteRT cannot load ${graph.file}: ${fault.message}")
        }

    private fun compiled(file: File): CompiledModel {
        if (accelerator != Accelerator.CPU) {
            try {
                return CompiledModel.create(file.path, CompiledModel.Options(accelerator))
            } catch (_: LiteRtException) {
                // This phone has none, or it cannot run this graph.
            }
        }
        return CompiledModel.create(file.path, CompiledModel.Options(Accelerator.CPU))
    }
}

/** Its buffers are made once; tensors are matched by their names in the signature. */
private class LiteRtGraph(private val graph: GraphFile, private val model: CompiledModel) : LoadedGraph {
    private val inputs: Map<String, TensorBuffer>
    private val outputs: Map<String, TensorBuffer>

    /** What an input buffer holds since the last run: the same embeddings are written once. */
    private val written = mutableMapOf<String, Value>()

    init {
        val signature = graph.signature.ifEmpty { null }
        inputs = graph.inputs.associate { it.name to model.createInputBuffer(it.name, signature) }
        outputs = graph.outputs.associate { it.name to model.createOutputBuffer(it.name, signature) }
    }

    override fun run(inputs: Map<String, Value>): Map<String, Value> =
        try {
            for (spec in graph.inputs) {
                val value = inputs[spec.name]
                    ?: throw SegmentAnythingError.Bundle("nothing gives ${graph.name} ${spec.name}")
                if (written[spec.name] === value) continue
                this.inputs.getValue(spec.name).writeFloat(value.tensor().values)
                written[spec.name] = value
            }
            model.run(this.inputs, outputs, graph.signature.ifEmpty { null })
            graph.outputs.associate { it.name to Value.Floats(read(it.name, it.shape)) }
        } catch (fault: LiteRtException) {
            written.clear()
            throw SegmentAnythingError.Bundle("LiteRT cannot run ${graph.name}: ${fault.message}")
        }

    private fun read(name: String, shape: List<Int>): Tensor {
        val values = outputs.getValue(name).readFloat()
        if (values.size != shape.fold(1, Int::times)) {
            throw SegmentAnythingError.Bundle("${graph.name} $name is not $shape")
        }
        return Tensor(shape, values)
    }

    override fun close() {
        inputs.values.forEach(TensorBuffer::close)
        outputs.values.forEach(TensorBuffer::close)
        model.close()
    }
}
