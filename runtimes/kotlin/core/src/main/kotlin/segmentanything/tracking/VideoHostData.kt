package segmentanything

import java.io.File

/** Numbers of the network that only the host of a video uses, of a bundle's `video.npz`. */
internal class VideoHostData(bundle: Bundle, rule: VideoRule) {
    /** What stands for an object that is not there. */
    val noPointer: FloatArray

    /** By channel: what `image_embeddings` contains as long as there is no memory. */
    val noMemory: FloatArray

    /** The published 4 x 4 convolution of stride 4 of a mask given as the prompt. */
    private val weight: FloatArray
    private val bias: Float

    init {
        val seen = bundle.manifest.graph(VideoGraph.ENCODER).outputs.first { it.name == "image_embeddings" }
        val shapes = mapOf(
            "no_object_pointer" to listOf(rule.pointerWidth),
            "no_memory_embedding" to listOf(seen.shape[1]),
            "mask_downsample_weight" to listOf(1, 1, 4, 4),
            "mask_downsample_bias" to listOf(1),
        )
        val arrays = readNpz(File(bundle.folder, rule.hostData), shapes)
        noPointer = arrays.getValue("no_object_pointer")
        noMemory = arrays.getValue("no_memory_embedding")
        weight = arrays.getValue("mask_downsample_weight")
        bias = arrays.getValue("mask_downsample_bias")[0]
    }

    /** Makes `mask_input` of a square of 0 and 1 whose side is [old]. */
    fun maskInput(square: FloatArray, old: Int, side: Int): FloatArray {
        val quarter = old / 4
        val shrunk = FloatArray(quarter * quarter) { at ->
            val corner = at / quarter * 4 * old + at % quarter * 4
            var sum = 0f
            for (i in 0 until 16) sum += square[corner + i / 4 * old + i % 4] * weight[i]
            sum + bias
        }
        return pillowFloats(shrunk, Size(quarter, quarter), Size(side, side))
    }
}
