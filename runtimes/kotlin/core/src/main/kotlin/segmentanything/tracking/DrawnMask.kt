package segmentanything

/** A mask given as the prompt of a frame, as SAM 2's video predictor takes one; [inside] is not 0 inside. */
internal class DrawnMask(val size: Size, val inside: ByteArray) {
    /** Lays the mask into the square input, a number of 0 or 1 a pixel. It is stretched over the picture. */
    fun inSquare(frame: Frame): FloatArray {
        val levels = FloatArray(inside.size) { if (inside[it].toInt() == 0) 0f else 1f }
        val shrunk = pillowFloats(levels, size, frame.resized)
        val square = FloatArray(frame.side * frame.side)
        val width = frame.resized.width
        for (at in shrunk.indices) {
            val to = (at / width + frame.top) * frame.side + frame.left + at % width
            if (shrunk[at] >= 0.5f) square[to] = 1f
        }
        return square
    }
}

/** Shrinks a square of 0 and 1, whose side is [old], to logits: [logit] inside and minus that outside. */
internal fun lowResLogits(square: FloatArray, old: Int, side: Int, logit: Float): FloatArray {
    val logits = FloatArray(square.size) { square[it] * (2 * logit) - logit }
    return pillowFloats(logits, Size(old, old), Size(side, side))
}
