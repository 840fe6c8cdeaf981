package segmentanything

import java.io.ByteArrayOutputStream
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.security.MessageDigest
import java.util.concurrent.atomic.AtomicInteger
import java.util.zip.ZipEntry
import java.util.zip.ZipOutputStream
import kotlin.io.path.createTempDirectory
import kotlin.math.floor
import kotlin.math.roundToInt
import kotlinx.serialization.json.JsonElement
import kotlinx.serialization.json.JsonPrimitive

/** A network of the tracking cases: what it does not have is the [first] one's. */
internal class StandInNetwork(private val own: Case, private val first: Case) {
    val name get() = own.name
    val size get() = of("size").fields.wholes("size", 1..99).let { Size(it[0], it[1]) }

    private fun of(field: String) = if (own.fields.has(field)) own else first

    private fun json(field: String): JsonElement = of(field).fields.json(field)

    /** Writes its bundle, whose graph files are empty. */
    fun write(): File {
        val folder = createTempDirectory("tracking").toFile()
        val lines = of("graphs").fields.list("graphs").map { (it as JsonPrimitive).content }
        for (line in lines) File(folder, "${line.substringBefore(":")}.onnx").createNewFile()
        val host = of("host").let { case -> case.fields.obj("host") to case }
        val arrays = HOST.associateWith { host.second.array(it, host.first) }
        File(folder, "video.npz").writeBytes(npz(arrays))
        val text = manifest(lines)
        val digest = MessageDigest.getInstance("SHA-256").digest((text + "\n}").toByteArray())
        File(folder, "manifest.json").writeText("$text\n  \"content_sha256\": \"${hex(digest)}\"\n}")
        return folder
    }

    private fun manifest(lines: List<String>): String {
        val rules = listOf("preprocess", "prompts", "mask", "video").joinToString(",\n") { "\"$it\": ${json(it)}" }
        return """{"schema_version": ${Manifest.SCHEMA_VERSION}, "variant": "tracking", "target": "onnx",
            |"precision": "fp32", "licence": {"name": "none"}, "files": {"video.npz": ""},
            |"graphs": [${lines.joinToString(transform = ::graph)}],
            |$rules,""".trimMargin()
    }

    private companion object {
        val HOST = listOf(
            "no_object_pointer", "no_memory_embedding", "mask_downsample_weight", "mask_downsample_bias",
        )

        fun graph(line: String): String {
            val (name, inputs, outputs) = line.split(": ", " -> ")
            val runs = mapOf("image_encoder" to "image", "mask_decoder" to "prompt")[name] ?: "frame"
            fun tensors(text: String) = text.split(", ").joinToString(prefix = "[", postfix = "]") {
                val (tensor, sides) = it.split(" ")
                val shape = sides.split("x")
                """{"name": "$tensor", "shape": $shape, "dtype": "float32", "layout": "${"NCHW".take(shape.size)}"}"""
            }
            return """{"file": "$name.onnx", "bytes": 0, "spec": {"name": "$name", "runs": "$runs",
                "inputs": ${tensors(inputs)}, "outputs": ${tensors(outputs)}}}"""
        }
    }
}

/** Writes arrays as numpy does. */
internal fun npz(arrays: Map<String, Tensor>): ByteArray {
    val bytes = ByteArrayOutputStream()
    ZipOutputStream(bytes).use { zip ->
        for ((name, tensor) in arrays) {
            zip.putNextEntry(ZipEntry("$name.npy"))
            val sides = tensor.shape.joinToString("") { "$it, " }
            val header = "{'descr': '<f4', 'fortran_order': False, 'shape': ($sides), }\n".toByteArray()
            val content = ByteBuffer.allocate(10 + header.size + 4 * tensor.values.size)
                .order(ByteOrder.LITTLE_ENDIAN)
            content.put(0x93.toByte()).put("NUMPY\u0001\u0000".toByteArray()).putShort(header.size.toShort())
            content.put(header)
            tensor.values.forEach(content::putFloat)
            zip.write(content.array())
            zip.closeEntry()
        }
    }
    return bytes.toByteArray()
}

/**
 * Stand-ins for the graphs, which runtimes/golden_vectors/stand_ins.py says how to compute. It notes its [calls], and
 * counts the graphs and values that are open.
 */
internal class StandInEngine(private val salt: UInt = 1u, private val broken: String = "") : Engine {
    override val target = "onnx"
    val calls = mutableListOf<String>()
    val open = AtomicInteger()

    override fun open(graph: GraphFile, file: File, manifest: Manifest): LoadedGraph {
        open.incrementAndGet()
        return StandIn(graph)
    }

    private inner class StandIn(private val graph: GraphFile) : LoadedGraph {
        override fun run(inputs: Map<String, Value>): Map<String, Value> {
            val given = inputs.mapValues { it.value.tensor() }
            same(given.keys, graph.inputs.map { it.name }.toSet())
            for (spec in graph.inputs) same(given.getValue(spec.name).shape, spec.shape)
            calls += (listOf(LETTERS.getValue(graph.name)) + told(given)).joinToString(" ")
            val seed = seed(given)
            return graph.outputs.withIndex().associate { (at, spec) ->
                spec.name to StandInValue(output(spec, seed + at.toUInt() * 0x9E3779B9u))
            }
        }

        private fun seed(given: Map<String, Tensor>): UInt {
            var seed = stir(digest(graph.name.map { it.code.toUInt() }) xor salt)
            for (spec in graph.inputs) {
                if (spec.name in BANKS.values) continue
                val values = given.getValue(spec.name).values
                val ages = given[BANKS[spec.name]]?.values
                seed = stir(seed xor if (ages == null) digest(wholes(values)) else bank(values, ages))
            }
            return seed
        }

        private fun bank(values: FloatArray, ages: FloatArray): UInt {
            val each = values.size / ages.size
            return ages.indices.filter { ages[it] != -1f }.map { at ->
                val row = values.copyOfRange(at * each, (at + 1) * each)
                stir(digest(wholes(floatArrayOf(ages[at]))) xor digest(wholes(row)))
            }.sum()
        }

        private fun output(spec: TensorSpec, seed: UInt): Tensor {
            val more = if (spec.name == "object_score_logits") 4f else 0f
            val values = FloatArray(spec.shape.fold(1, Int::times)) { k ->
                if (spec.name == broken) return@FloatArray Float.NaN
                ((stir(seed + k.toUInt() * 0x85EBCA6Bu) shr 16).toDouble() / 4096 - 8).toFloat() + more
            }
            return Tensor(spec.shape, values)
        }

        override fun close() {
            open.decrementAndGet()
        }
    }

    private inner class StandInValue(private val tensor: Tensor) : Value.Held {
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

private val LETTERS = mapOf(
    "image_encoder" to "I", "mask_decoder" to "D", "memory_encoder" to "M", "memory_query" to "Q",
    "memory_attention" to "A", "memory_attention_first" to "F",
)
private val BANKS = mapOf("memories" to "memory_age", "object_pointers" to "pointer_age")

/** Says what a call is about, of the inputs that the host chose. */
private fun told(given: Map<String, Tensor>): List<String> {
    fun shown(values: List<Float>) = values.joinToString(",") { it.roundToInt().toString() }
    val told = mutableListOf<String>()
    given["memory_age"]?.let { ages ->
        val pointers = given.getValue("pointer_age").values.filter { it != -1f }
        told += shown(ages.values.filter { it != -1f }.sorted())
        told += "${pointers.size}:${pointers.maxOf { whole(it).toInt() }}"
    }
    given["point_labels"]?.let { labels -> told += shown(labels.values.filter { it != Label.EMPTY }) }
    val flags = listOf("has_mask_input", "from_prompt", "object_present").mapNotNull { given[it]?.values?.get(0) }
    return told + flags.map { it.roundToInt().toString() }
}

internal fun stir(number: UInt): UInt {
    var x = number
    x = (x xor (x shr 16)) * 0x7FEB352Du
    x = (x xor (x shr 15)) * 0x846CA68Bu
    return x xor (x shr 16)
}

internal fun digest(numbers: List<UInt>): UInt = numbers.fold(0x811C9DC5u) { made, n -> (made xor n) * 0x01000193u }

/** In whole numbers of 4096ths; its 32 bits have a sign. */
internal fun whole(value: Float): UInt = floor(4096 * value.toDouble() + 0.5).toLong().toUInt()

internal fun wholes(values: FloatArray): List<UInt> = values.map(::whole)

/** The picture of a frame. */
internal fun standInPicture(frame: Int, size: Size): Picture {
    val bytes = ByteArray(size.width * size.height * 3) { stir((65536 * frame + it).toUInt()).toByte() }
    return Picture(size.width, size.height, bytes)
}
