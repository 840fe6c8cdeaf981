/// Numbers kept between frames, in the type that the bundle says.
enum KeptNumbers: Sendable {
    case floats([Float])
    case halves([UInt16])

    init(_ values: [Float], as stored: VideoRule.Stored) {
        self = stored == .float16 ? .halves(values.map(halfBits)) : .floats(values)
    }

    var values: [Float] {
        switch self {
        case .floats(let values): values
        case .halves(let bits): bits.map(half)
        }
    }
}

/// A memory or a pointer that a frame sees, and its age as the graph takes it.
struct Seen: Sendable {
    let age: Double
    let value: KeptNumbers
}

/// The frame that looks back.
struct View: Sendable {
    let frame: Int
    /// 1 if the frames go forward, -1 backward: what was tracked on the other side is unseen.
    var step = 1
    /// In the whole video; nil for a camera.
    var frames: Int?

    /// Frames back to another one, as the frames go; negative ahead.
    func distance(_ other: Int) -> Int { (frame - other) * step }
}

/// One object's memories and pointers by frame. The room is bounded however long the video is: prompted frames,
/// as many as the graph has slots; the tracked ones that a rule can still reach; and, for who turns round, those
/// about the first prompt.
struct Bank: Sendable {
    private struct Prompted {
        let frame: Int
        var memory, pointer: KeptNumbers
    }

    let rule: VideoRule
    let turns: Bool
    /// In the order in which they came.
    private var prompted: [Prompted] = []
    private var memories: [Int: KeptNumbers] = [:]
    private var pointers: [Int: KeptNumbers] = [:]
    private var first: Int?

    init(_ rule: VideoRule, turns: Bool) { (self.rule, self.turns) = (rule, turns) }

    /// Frames of which anything is kept.
    var frames: Set<Int> { Set(prompted.map(\.frame)).union(memories.keys).union(pointers.keys) }

    /// Keeps a frame; what was kept of it as a tracked one is replaced.
    mutating func keep(_ frame: Int, memory: [Float], pointer: [Float], prompted isPrompted: Bool) {
        let memory = KeptNumbers(memory, as: rule.stored), pointer = KeptNumbers(pointer, as: rule.stored)
        memories[frame] = nil
        pointers[frame] = nil
        if isPrompted {
            first = first ?? frame
            if let at = prompted.firstIndex(where: { $0.frame == frame }) {
                (prompted[at].memory, prompted[at].pointer) = (memory, pointer)
            } else {
                prompted.append(Prompted(frame: frame, memory: memory, pointer: pointer))
            }
            while prompted.count > rule.memorySlots { prompted.remove(at: farthest(from: frame)) }
        } else {
            (memories[frame], pointers[frame]) = (memory, pointer)
        }
        forget(&memories, frame, rule.memoryFrames)
        forget(&pointers, frame, rule.pointerFrames)
    }

    /// The first of those farthest away.
    private func farthest(from frame: Int) -> Int {
        var found = 0
        for at in prompted.indices where abs(prompted[at].frame - frame) > abs(prompted[found].frame - frame) {
            found = at
        }
        return found
    }

    /// Drops frames that no later frame can see.
    private func forget(_ kept: inout [Int: KeptNumbers], _ frame: Int, _ reach: Int) {
        let near = turns ? [frame] + (first.map { [$0] } ?? []) : [frame]
        for each in kept.keys where near.allSatisfy({ abs(each - $0) > reach }) { kept[each] = nil }
    }

    /// Lists the memories that a frame sees, at most as many as there are slots: prompted frames, then tracked
    /// ones, the oldest first.
    func memories(_ view: View) -> [Seen] {
        let chosen = chosen(view)
        var listed = prompted.filter { chosen.contains($0.frame) }.sorted { $0.frame < $1.frame }
            .map { Seen(age: 0, value: $0.memory) }
        let near = near(view, memories, chosen, \.memory, rule.memoryFrames)
        let ages = near.keys.sorted().prefix(max(0, capacity - listed.count))
        listed += ages.reversed().map { Seen(age: Double($0), value: near[$0]!) }
        guard let pruning = rule.pruning else { return listed }
        return keptMemories(listed.map(\.value), pruning, width: rule.memoryWidth).map { listed[$0] }
    }

    /// Lists the pointers that a frame sees, at most as many as there are slots: prompted frames, then the
    /// newest.
    func pointers(_ view: View) -> [Seen] {
        let chosen = chosen(view)
        var found = prompted.filter { chosen.contains($0.frame) && view.distance($0.frame) >= 0 }
            .sorted { $0.frame < $1.frame }
            .map { (abs(view.distance($0.frame)), $0.pointer) }
        var longest = rule.pointerScale
        if let frames = view.frames { longest = max(1, min(longest, Double(frames) - 1)) }
        let reach = Int(min(Double(rule.pointerFrames), longest))
        let near = near(view, pointers, chosen, \.pointer, reach)
        found += near.keys.sorted().map { ($0, near[$0]!) }
        return found.prefix(rule.pointerSlots).map { Seen(age: Double($0.0) / longest, value: $0.1) }
    }

    /// Memories that may be listed: those that are pruned need no slot.
    private var capacity: Int {
        guard let pruning = rule.pruning, rule.memorySlots + pruning.dropped >= pruning.listed else {
            return rule.memorySlots
        }
        return rule.memorySlots + pruning.dropped
    }

    /// Chooses the prompted frames whose memories have a slot: all, or the closest ones.
    private func chosen(_ view: View) -> Set<Int> {
        let tracked = memories.keys.map(view.distance).filter { $0 >= 1 && $0 <= rule.memoryFrames }
        let room = max(rule.promptedSlots, capacity - tracked.count)
        return closest(prompted.map(\.frame), view, room)
    }

    /// Tracked frames by age, 1...reach, and prompted ones that have no slot as such.
    private func near(
        _ view: View, _ tracked: [Int: KeptNumbers], _ chosen: Set<Int>,
        _ part: (Prompted) -> KeptNumbers, _ reach: Int
    ) -> [Int: KeptNumbers] {
        var byAge: [Int: KeptNumbers] = [:]
        for each in prompted where !chosen.contains(each.frame) { byAge[view.distance(each.frame)] = part(each) }
        for (frame, value) in tracked { byAge[view.distance(frame)] = value }
        return byAge.filter { $0.key >= 1 && $0.key <= reach }
    }
}

/// Chooses prompted frames as SAM 2's `max_cond_frames_in_attn` does: the closest before, the closest after, then
/// by distance.
func closest(_ frames: [Int], _ view: View, _ most: Int) -> Set<Int> {
    let left = frames.sorted()
    guard left.count > most else { return Set(left) }
    let rest = left.enumerated().sorted {
        (abs($0.element - view.frame), $0.offset) < (abs($1.element - view.frame), $1.offset)
    }
    let before = left.last { $0 < view.frame }, after = left.first { $0 >= view.frame }
    var chosen: [Int] = []
    for frame in [before, after].compactMap({ $0 }) + rest.map(\.element) where !chosen.contains(frame) {
        chosen.append(frame)
    }
    return Set(chosen.prefix(most))
}

/// Chooses the memories that reach the graph, of prompted frames first and the newest last; of equally alike ones
/// the first goes.
func keptMemories(_ memories: [KeptNumbers], _ rule: Pruning, width: Int) -> [Int] {
    let all = Array(memories.indices)
    guard memories.count >= rule.listed, memories.count > 2, let newest = memories.last?.values else { return all }
    let alike = all.dropFirst().dropLast().map { ($0, likeness(memories[$0].values, newest, width)) }
    let dropped = alike.sorted { ($1.1, $0.0) < ($0.1, $1.0) }.prefix(rule.dropped).map(\.0)
    return all.filter { !dropped.contains($0) }
}

/// Sums the cosines of two memories' tokens.
private func likeness(_ memory: [Float], _ newest: [Float], _ width: Int) -> Double {
    var sum = 0.0
    for token in stride(from: 0, to: memory.count, by: width) {
        var (product, own, other): (Float, Float, Float) = (0, 0, 0)
        for at in token..<(token + width) {
            product += memory[at] * newest[at]
            own += memory[at] * memory[at]
            other += newest[at] * newest[at]
        }
        sum += Double(product / max(own.squareRoot() * other.squareRoot(), 1e-8))
    }
    return sum
}
