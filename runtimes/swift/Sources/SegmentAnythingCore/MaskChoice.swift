import Foundation

/// The decoder's outputs for one prompt set.
struct Decoded: Sendable {
    /// (M, h, w) logits of all mask tokens; empty if the masks were not made.
    let logits: [Float]
    /// (M) `iou_predictions`.
    let iou: [Float]
    /// Side of a mask of logits.
    let side: Int

    var hasMasks: Bool { !logits.isEmpty }

    func logits(_ token: Int) -> ArraySlice<Float> {
        logits[(token * side * side)..<((token + 1) * side * side)]
    }

    private func count(_ token: Int, above edge: Float) -> Int {
        logits(token).reduce(0) { $1 > edge ? $0 + 1 : $0 }
    }

    /// What ranks a mask.
    func score(_ token: Int, _ rule: MaskRule) -> Float {
        guard rule.score == .stability else { return iou[token] }
        let strict = count(token, above: Float(rule.threshold + rule.scoreOffset))
        let loose = count(token, above: Float(rule.threshold - rule.scoreOffset))
        return Float(Double(strict) / Double(max(loose, 1)))
    }

    /// Chooses the mask tokens for a caller, as the variant's own code does.
    func tokens(_ rule: MaskRule, multimask: Bool) -> [Int] {
        if multimask { return rule.multi }
        if rule.single >= 0, isStable(rule.single, rule) { return [rule.single] }
        var best = rule.multi[0]
        for token in rule.multi where score(token, rule) > score(best, rule) { best = token }
        return [best]
    }

    private func isStable(_ token: Int, _ rule: MaskRule) -> Bool {
        guard let stability = rule.stability else { return true }
        let strict = count(token, above: Float(stability.delta))
        let loose = count(token, above: Float(-stability.delta))
        return loose == 0 || Double(strict) / Double(loose) >= stability.least
    }

    /// Makes the caller's masks.
    func masks(_ frame: Frame, _ rule: MaskRule, multimask: Bool) -> [Mask] {
        let upscaling = Upscaling(side, frame, rule.upscale)
        return tokens(rule, multimask: multimask).map { mask($0, upscaling, frame, rule) }
    }

    func mask(_ token: Int, _ upscaling: Upscaling, _ frame: Frame, _ rule: MaskRule) -> Mask {
        Mask(
            width: frame.original.width, height: frame.original.height,
            pixels: pixels(token, upscaling, frame, rule), iouPrediction: iou[token],
            stability: rule.score == .stability ? score(token, rule) : nil,
            lowResMasks: Tensor(shape: [1, side, side], values: clamped(token, rule)))
    }

    private func pixels(
        _ token: Int, _ upscaling: Upscaling, _ frame: Frame, _ rule: MaskRule
    ) -> [UInt8] {
        let own = logits(token)
        let given = rule.upscale == .sigmoidBilinearOnce ? own.map { tanh($0 * 0.5) } : Array(own)
        return given.withUnsafeBufferPointer { logits in
            upscaling.mask(
                logits, line: side, threshold: Float(rule.threshold), y: 0..<frame.original.height,
                x: 0..<frame.original.width)
        }
    }

    private func clamped(_ token: Int, _ rule: MaskRule) -> [Float] {
        guard let limit = rule.logitLimit.map(Float.init) else { return Array(logits(token)) }
        return logits(token).map { min(max($0, -limit), limit) }
    }
}
