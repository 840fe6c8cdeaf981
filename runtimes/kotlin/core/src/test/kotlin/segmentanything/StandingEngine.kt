package segmentanything

import java.io.File
import java.util.concurrent.CountDownLatch
import java.util.concurrent.atomic.AtomicInteger

/**
 * Answers at once, or when it is told to: the encoder gives the picture's first number, and the decoder
 * draws it everywhere. It counts what it holds.
 */
internal class StandingEngine(override val target: String, private val gate: Gate? = null) : Engine {
    val open = AtomicInteger()

    override fun open(graph: GraphFile, file: File, manifest: Manifest): LoadedGraph {
        open.incrementAndGet()
        return StandingGraph(graph)
    }

    private inner class StandingGraph(private val graph: GraphFile) : LoadedGraph {
        private var closed = false

        override fun run(inputs: Map<String, Value>): Map<String, Value> {
            check(!closed) { "${graph.name} was closed" }
            if (graph.name == "image_encoder") gate?.pass()
            same(inputs.keys, graph.inputs.map { it.name }.toSet())
            val seen = (inputs["image"] ?: inputs["image_embeddings"])!!.tensor().values[0]
            val earlier = inputs["mask_input"]?.tensor()?.values?.get(0) ?: 0f
            return graph.outputs.associate { spec ->
                val values = FloatArray(spec.shape.fold(1, Int::times)) { seen + earlier }
                spec.name to StandingValue(Tensor(spec.shape, values))
            }
        }

        override fun close() {
            closed = true
            open.decrementAndGet()
        }
    }

    private inner class StandingValue(private val tensor: Tensor) : Value.Held {
        private var closed = false

        init {
            open.incrementAndGet()
        }

        override fun tensor(): Tensor = tensor.also { check(!closed) { "a value was closed" } }

        override fun close() {
            check(!closed) { "a value was closed twice" }
            closed = true
            open.decrementAndGet()
        }
    }
}

/** Holds an encoder until it is opened, and counts who came. */
internal class Gate {
    private val opened = CountDownLatch(1)
    private val someone = CountDownLatch(1)
    val came = AtomicInteger()

    fun pass() {
        came.incrementAndGet()
        someone.countDown()
        opened.await()
    }

    fun open() = opened.countDown()

    fun waitForSomeone() = someone.await()
}
