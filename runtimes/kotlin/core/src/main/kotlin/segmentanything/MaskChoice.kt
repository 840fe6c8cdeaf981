package segmentanything

import kotlin.math.tanh

/**
 * The decoder's outputs for one prompt set: [logits] (M, h, w) of all mask tokens, [iou] (M), h = w = [side].
 * The logits are empty if the masks were not made.
 */
internal class Decoded(private val logits: FloatArray, val iou: FloatArray, private val side: Int) {
    private val plane = side * side

    private fun count(token: Int, edge: Float): Int {
        var above = 0
        for (at in token * plane until (token + 1) * plane) if (logits[at] > edge) above++
        return above
    }

    /** What ranks a mask. */
    private fun score(token: Int, rule: MaskRule): Float {
        if (rule.score != Score.STABILITY) return iou[token]
        val strict = count(token, (rule.threshold + rule.scoreOffset).toFloat())
        val loose = count(token, (rule.threshold - rule.scoreOffset).toFloat())
        return (strict.toDouble() / maxOf(loose, 1)).toFloat()
    }

    /** Chooses the mask tokens for a caller, as the variant's own code does. */
    fun tokens(rule: MaskRule, multimask: Boolean): List<Int> {
        if (multimask) return rule.multi
        if (rule.single >= 0 && isStable(rule.single, rule)) return listOf(rule.single)
        return listOf(rule.multi.maxBy { score(it, rule) })
    }

    /** The network's logits of one mask, as they are; null if it was not made. */
    fun logitsOf(token: Int): FloatArray? =
        if (logits.isEmpty()) null else logits.copyOfRange(token * plane, (token + 1) * plane)

    private fun isStable(token: Int, rule: MaskRule): Boolean {
        val stability = rule.stability ?: return true
        val strict = count(token, stability.delta.toFloat())
        val loose = count(token, (-stability.delta).toFloat())
        return loose == 0 || strict.toDouble() / loose >= stability.least
    }

    /** Makes the caller's masks. */
    fun masks(frame: Frame, rule: MaskRule, multimask: Boolean): List<Mask> =
        upscaled(tokens(rule, multimask), frame, rule)

    /** Makes the masks of some tokens. */
    fun upscaled(tokens: List<Int>, frame: Frame, rule: MaskRule): List<Mask> {
        val upscaling = Upscaling.of(side, frame, rule.upscale)
        val original = frame.original
        val given = if (rule.upscale == Upscale.SIGMOID_BILINEAR_ONCE) activated() else logits
        return tokens.map { token ->
            Mask(
                original.width,
                original.height,
                upscaling.mask(
                    given, token * plane, side, side, rule.threshold.toFloat(), 0 until original.height,
                    0 until original.width,
                ),
                iou[token],
                if (rule.score == Score.STABILITY) score(token, rule) else null,
                Tensor(listOf(1, side, side), clamped(token, rule)),
            )
        }
    }

    private fun activated() = FloatArray(logits.size) { tanh(logits[it] * 0.5f) }

    private fun clamped(token: Int, rule: MaskRule): FloatArray {
        val own = logits.copyOfRange(token * plane, (token + 1) * plane)
        val limit = rule.logitLimit?.toFloat() ?: return own
        return FloatArray(plane) { own[it].coerceIn(-limit, limit) }
    }
}
