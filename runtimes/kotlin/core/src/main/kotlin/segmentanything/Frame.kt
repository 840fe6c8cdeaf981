package segmentanything

/** Width and height in pixels. */
data class Size(val width: Int, val height: Int) {
    internal val longest get() = maxOf(width, height)
}

/** Where a picture lies in the square input. */
internal class Frame(val original: Size, rule: Preprocess) {
    val resized = fitted(original, rule, rule.size)

    /** Side of the square. */
    val side = rule.size

    /** Side of the square of the published code's prompts and masks, and where the picture lies in it. */
    val publishedSide = rule.frameSize ?: side
    val publishedSize = rule.frameSize?.let { fitted(original, rule, it) } ?: resized

    /** The picture's top left corner in the input. Where the padding is odd, its smaller half is there. */
    val left = if (rule.resize == Resize.LETTERBOX) (side - resized.width) / 2 else 0
    val top = if (rule.resize == Resize.LETTERBOX) (side - resized.height) / 2 else 0
    private val oneScale = rule.promptScale == PromptScale.LONGEST_SIDE

    /** Moves x from pixels of the picture to pixels of the input. */
    fun inputX(x: Double): Float = moved(x, publishedSize.width, original.width, left)

    /** Moves y from pixels of the picture to pixels of the input. */
    fun inputY(y: Double): Float = moved(y, publishedSize.height, original.height, top)

    private fun moved(at: Double, inner: Int, outer: Int, offset: Int): Float {
        val new = if (oneScale) publishedSize.longest else inner
        val old = if (oneScale) original.longest else outer
        val share = side.toDouble() / publishedSide
        return (at * (new.toDouble() / old) * share + offset).toFloat()
    }
}

private fun fitted(size: Size, rule: Preprocess, side: Int): Size {
    if (rule.resize == Resize.STRETCH) return Size(side, side)
    if (rule.rounding == Rounding.TRUNCATE) return truncated(size, side)
    val scale = side.toDouble() / size.longest
    fun fitted(old: Int): Int {
        val exact = old * scale
        val new = if (rule.resize == Resize.LETTERBOX) Math.rint(exact) else exact + 0.5
        return maxOf(1, new.toInt())
    }
    return Size(fitted(size.width), fitted(size.height))
}

/** Keeps the published order of operations: it decides where a quotient comes out whole. */
private fun truncated(size: Size, side: Int): Size {
    val ratio = size.width.toDouble() / size.height
    val wide = if (ratio >= 1) side.toDouble() else side * ratio
    val tall = if (ratio >= 1) side / ratio else side.toDouble()
    return Size(maxOf(1, wide.toInt()), maxOf(1, tall.toInt()))
}
