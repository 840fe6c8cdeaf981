package segmentanything

/** Makes the `image` input: resizes, pads, and lays out as the graph takes it. */
internal fun imageInput(picture: Picture, rule: Preprocess, spec: TensorSpec): Pair<Value, Frame> {
    val frame = Frame(Size(picture.width, picture.height), rule)
    val resized = prepared(picture, rule, frame.resized)
    if (spec.dtype == "uint8") return Value.Pixels(squareBytes(resized, rule, frame), rule.size) to frame
    return Value.Floats(Tensor(spec.shape, square(resized, rule, frame, spec.layout == "NHWC"))) to frame
}

/** Resized pixels: bytes if the rule rounds to them. */
private sealed interface Resized {
    class Bytes(val values: ByteArray) : Resized

    class Floats(val values: FloatArray) : Resized
}

private fun resize(picture: Picture, size: Size, interpolation: Interpolation): Resized =
    when (interpolation) {
        Interpolation.PILLOW_BILINEAR -> Resized.Bytes(pillowBytes(picture, size, PillowFilter.BILINEAR))
        Interpolation.PILLOW_BICUBIC -> Resized.Bytes(pillowBytes(picture, size, PillowFilter.BICUBIC))
        Interpolation.FLOAT_BILINEAR -> Resized.Floats(pillowFloats(picture, size))
        Interpolation.FLOAT_BILINEAR_PLAIN -> Resized.Floats(plainFloats(picture, size))
        Interpolation.BILINEAR_PLAIN -> {
            val floats = plainFloats(picture, size)
            Resized.Floats(FloatArray(floats.size) { Math.rint(floats[it].toDouble()).toFloat() })
        }
        Interpolation.OPENCV_BILINEAR -> Resized.Bytes(opencvBytes(picture, size))
        Interpolation.SPLINE_CUBIC -> Resized.Bytes(splineBytes(picture, size))
    }

/** Resizes as the rule says, from its channels to its scale. */
private fun prepared(picture: Picture, rule: Preprocess, size: Size): Resized {
    val seen = if (rule.channels == Channels.GREY) grey(picture) else picture
    val resized = resize(seen, size, rule.interpolation)
    if (rule.scale == Scale.FIXED) return resized
    val values = when (resized) {
        is Resized.Bytes -> FloatArray(resized.values.size) { (resized.values[it].toInt() and 0xff).toFloat() }
        is Resized.Floats -> resized.values
    }
    return Resized.Floats(scaled(values))
}

/** Brings the picture's own range to 0..255. */
private fun scaled(values: FloatArray): FloatArray {
    val low = values.min().toDouble()
    val range = maxOf(values.max() - low, 1e-8)
    return FloatArray(values.size) { ((values[it] - low) * 255 / range).toFloat() }
}

/** The same picture with three equal channels, of Pillow's luma. */
private fun grey(picture: Picture): Picture {
    fun level(at: Int) = picture.rgb[at].toInt() and 0xff
    val bytes = ByteArray(picture.rgb.size) {
        val at = it - it % 3
        ((level(at) * 19595 + level(at + 1) * 38470 + level(at + 2) * 7471 + 32768) shr 16).toByte()
    }
    return Picture(picture.width, picture.height, bytes)
}

private fun nearest(level: Float): Byte = Math.rint(level.toDouble()).toInt().coerceIn(0, 255).toByte()

private fun squareBytes(resized: Resized, rule: Preprocess, frame: Frame): ByteArray {
    val inner = when (resized) {
        is Resized.Bytes -> resized.values
        is Resized.Floats -> ByteArray(resized.values.size) { nearest(resized.values[it]) }
    }
    if (frame.resized == Size(rule.size, rule.size)) return inner
    val out = ByteArray(rule.size * rule.size * 3) { nearest(rule.padValue[it % 3].toFloat()) }
    val line = frame.resized.width * 3
    for (y in 0 until frame.resized.height) {
        inner.copyInto(out, ((y + frame.top) * rule.size + frame.left) * 3, y * line, (y + 1) * line)
    }
    return out
}

private fun square(
    resized: Resized, rule: Preprocess, frame: Frame, channelsLast: Boolean,
): FloatArray {
    val plane = rule.size * rule.size
    val step = if (channelsLast) 3 else 1
    val apart = if (channelsLast) 1 else plane
    val out = FloatArray(plane * 3)
    for (channel in 0 until 3) {
        val pad = rule.padValue[channel].toFloat()
        for (at in 0 until plane) out[at * step + channel * apart] = pad
    }
    val place = Place(frame, rule.size, step, apart)
    when (resized) {
        is Resized.Bytes -> place.put(out) { (resized.values[it].toInt() and 0xff).toFloat() }
        is Resized.Floats -> place.put(out) { resized.values[it] }
    }
    return out
}

/** Where the resized pixels go in the square. */
private class Place(val frame: Frame, val side: Int, val step: Int, val apart: Int) {
    inline fun put(out: FloatArray, source: (Int) -> Float) {
        val width = frame.resized.width
        for (y in 0 until frame.resized.height) {
            val row = (y + frame.top) * side + frame.left
            for (x in 0 until width) {
                val from = (y * width + x) * 3
                val to = (row + x) * step
                out[to] = source(from)
                out[to + apart] = source(from + 1)
                out[to + 2 * apart] = source(from + 2)
            }
        }
    }
}
