/// Compares loaded graphs with a bundle's goldens, as `runtimes/parity.py` does.
///
/// A graph that an earlier one feeds is compared twice: on the goldens' inputs, and in a chain, on what the
/// earlier graph gave here.
struct Parity {
    let graphs: Graphs
    let goldens: Goldens
    private var values: [(key: Key, value: Double)] = []

    private struct Key: Hashable {
        let graph: String
        let output: String
        let measure: Measure
    }

    private struct Ran {
        let name: String
        let outputs: [String: Value]
        let tensors: [String: Tensor]
    }

    init(_ graphs: Graphs, _ goldens: Goldens) { (self.graphs, self.goldens) = (graphs, goldens) }

    /// Runs every case.
    ///
    /// - Returns: the worst figure of each output and measure, with the floor that the manifest has for it.
    /// - Throws: `SegmentAnythingError.bundle` if a value is not finite, or the goldens are not whole.
    static func check(_ graphs: Graphs, _ goldens: Goldens) async throws -> [Figure] {
        var parity = Parity(graphs, goldens)
        try await parity.run()
        return parity.figures()
    }

    private mutating func run() async throws {
        let manifest = graphs.manifest
        let ordered = manifest.graphs.filter { $0.runs == .image } + manifest.graphs.filter { $0.runs != .image }
        var given: [String: Value] = [:], sources: [String: GraphFile.Runs] = [:], before: [String] = []
        for graph in ordered {
            let ran = try await cases(graph)
            for each in ran { try compare(graph.name, graph, each) }
            follow(graph, ran)
            // A decoder's pointers are of one frame; a bank of the same name holds those of many.
            let fed = graph.inputs.map(\.name).filter {
                sources[$0] != nil && !(graph.runs == .frame && sources[$0] == .prompt)
            }
            for each in ran where !fed.isEmpty && !fed.contains(where: { goldens.owns(graph, each.name, $0) }) {
                let again = try await self.case(graph, each.name, instead: given.filter { fed.contains($0.key) })
                try compare((before + [graph.name]).joined(separator: "+"), graph, again)
            }
            given.merge(ran[0].outputs) { _, new in new }
            for spec in graph.outputs { sources[spec.name] = graph.runs }
            before.append(graph.name)
        }
    }

    private func cases(_ graph: GraphFile) async throws -> [Ran] {
        var ran: [Ran] = []
        for name in try goldens.cases(graph) { ran.append(try await self.case(graph, name, instead: [:])) }
        return ran
    }

    private func `case`(_ graph: GraphFile, _ name: String, instead: [String: Value]) async throws -> Ran {
        let inputs = try goldens.inputs(graph, name).merging(instead) { _, held in held }
        let outputs = try await graphs.run(graph, inputs)
        let tensors = canonical(try outputs.mapValues { try $0.tensor() }, graph)
        for (output, tensor) in tensors.sorted(by: { $0.key < $1.key }) {
            let bad = tensor.values.lazy.filter { !$0.isFinite }.count
            guard bad == 0 else {
                throw SegmentAnythingError.bundle(
                    "\(bad) of \(tensor.values.count) values of \(graph.name) \(output) are not finite")
            }
        }
        return Ran(name: name, outputs: outputs, tensors: tensors)
    }

    private mutating func compare(_ label: String, _ graph: GraphFile, _ ran: Ran) throws {
        let isChain = label.contains("+")
        let masks = ran.tensors.keys.contains(Parity.masks)
        for (output, actual) in ran.tensors where !(isChain && masks && output != Parity.masks) {
            let expected = try goldens.array(graph, ran.name, output)
            guard expected.shape == actual.shape else {
                throw SegmentAnythingError.bundle(
                    "golden \(graph.name)/\(ran.name)/\(output) is \(expected.shape), not \(actual.shape): "
                        + "export the bundle again")
            }
            let (psnr, worst) = Measure.distance(expected.values, actual.values)
            values.append((Key(graph: label, output: output, measure: .psnr), psnr))
            if !isChain { values.append((Key(graph: label, output: output, measure: .worst), worst)) }
            if output == Parity.masks {
                let iou = Measure.leastIoU(expected, actual, threshold: graphs.manifest.mask.threshold)
                values.append((Key(graph: label, output: output, measure: .iou), iou))
            }
        }
    }

    /// Whether the masks follow the clicks.
    private mutating func follow(_ graph: GraphFile, _ ran: [Ran]) {
        let clicks = ran.filter { $0.name.hasPrefix("click") }
        guard graph.outputs.contains(where: { $0.name == Parity.masks }), clicks.count > 1 else { return }
        let expected = clicks.compactMap { try? goldens.array(graph, $0.name, Parity.masks).values }
        let value = Measure.followed(expected, clicks.compactMap { $0.tensors[Parity.masks]?.values })
        values.append((Key(graph: graph.name, output: Parity.masks, measure: .sensitivity), value))
    }

    private func figures() -> [Figure] {
        var worst: [Key: Double] = [:]
        for (key, value) in values {
            let last = worst[key] ?? value
            worst[key] = key.measure.higherIsBetter ? min(last, value) : max(last, value)
        }
        let floors = graphs.manifest.parity
        return worst.map { key, value in
            let written = floors.first {
                ($0.graph, $0.output, $0.measure) == (key.graph, key.output, key.measure.rawValue)
            }
            return Figure(key.graph, key.output, key.measure, value, floor: written?.floor)
        }
        .sorted { ($0.graph, $0.output, $0.measure) < ($1.graph, $1.output, $1.measure) }
    }

    private static let masks = "low_res_masks"
}
