package segmentanything

import kotlin.math.abs

/** Numbers kept between frames, in the type that the bundle says. */
internal sealed interface KeptNumbers {
    val size: Int

    /** Writes them into [out] from [at] on. */
    fun copyInto(out: FloatArray, at: Int)

    fun floats() = FloatArray(size).also { copyInto(it, 0) }

    private class Floats(private val values: FloatArray) : KeptNumbers {
        override val size get() = values.size

        override fun copyInto(out: FloatArray, at: Int) {
            values.copyInto(out, at)
        }
    }

    private class Halves(private val bits: ShortArray) : KeptNumbers {
        override val size get() = bits.size

        override fun copyInto(out: FloatArray, at: Int) {
            for (i in bits.indices) out[at + i] = half(bits[i])
        }
    }

    companion object {
        fun of(values: FloatArray, stored: Stored): KeptNumbers = when (stored) {
            Stored.FLOAT32 -> Floats(values)
            Stored.FLOAT16 -> Halves(ShortArray(values.size) { halfBits(values[it]) })
        }
    }
}

/** Rounds to float16, a tie to the even one; what is too large becomes infinite. */
internal fun halfBits(value: Float): Short {
    val bits = value.toRawBits()
    val sign = bits ushr 16 and 0x8000
    val size = bits and 0x7fffffff
    val half = when {
        size > 0x7f800000 -> 0x7e00
        size >= 0x47800000 -> 0x7c00
        // Below 2^-14 float16 goes in steps of 2^-24.
        size < 0x38800000 -> Math.rint(abs(value).toDouble() * (1 shl 24)).toInt()
        else -> (size - 0x38000000 + 0xfff + (size ushr 13 and 1)) ushr 13
    }
    return (sign or half).toShort()
}

/** 2^112, by which the exponents of float16 and float32 are apart. */
private val APART = Float.fromBits(0x77800000)

/** Widens a float16. */
internal fun half(bits: Short): Float {
    val size = bits.toInt() and 0x7fff
    val wide = if (size >= 0x7c00) 0x7f800000 or (size shl 13) else (Float.fromBits(size shl 13) * APART).toRawBits()
    return Float.fromBits(wide or (bits.toInt() and 0x8000 shl 16))
}
