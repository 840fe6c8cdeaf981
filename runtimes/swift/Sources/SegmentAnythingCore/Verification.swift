import Foundation

/// What a self-check found on one device: which placements compute the masks of the published network.
public struct Verification: Codable, Equatable, Sendable {
    /// The fastest placement that agrees; nil if none does.
    public let chosen: Placement?
    /// In the order they were tried.
    public let trials: [Trial]
    /// Whether it was found in an earlier run, and nothing was computed now.
    public internal(set) var isRemembered = false

    /// The trials that do not agree, with the reason.
    public var refused: [Trial] { trials.filter { $0.refusal != nil } }

    init(_ trials: [Trial]) {
        self.trials = trials
        let agreeing = trials.filter { $0.refusal == nil }
        // Of equals, the one that was tried first: the runtime's usual choice.
        chosen = agreeing.enumerated().min { ($0.1.seconds, $0.0) < ($1.1.seconds, $1.0) }?.element.placement
    }
}

extension Verification: CustomStringConvertible {
    /// A line for each placement.
    public var description: String {
        trials.map { trial in
            let name = trial.placement == chosen ? "\(trial.placement) (chosen)" : "\(trial.placement)"
            return "\(printable(name)): \(trial.verdict)"
        }
        .joined(separator: "\n")
    }
}

/// One placement, tried.
public struct Trial: Codable, Equatable, Sendable {
    public let placement: Placement
    /// Why it is not used; nil if it agrees with the goldens.
    public let refusal: Refusal?
    /// Every measure; empty if it could not be run.
    public let figures: [Figure]
    /// Each graph's median call, in seconds.
    public let medians: [String: Double]
    public let loads: [Load]

    /// Of all graphs together: an image and a click on it.
    public var seconds: Double { medians.values.reduce(0, +) }

    var verdict: String {
        if let refusal { return "refused: \(refusal)" }
        let times = medians.sorted { $0.key < $1.key }
            .map { "\(printable($0.key)) \(String(format: "%.4g", $0.value * 1e3)) ms" }
        return "agrees, \(times.joined(separator: ", "))"
    }
}

/// Why a placement is not used.
public enum Refusal: Codable, Equatable, Sendable, CustomStringConvertible {
    /// It computes other numbers: the figures that miss their floors.
    case differs([Figure])
    /// It cannot be loaded or run, or gives values that are not finite; the runtime's words.
    case fails(String)
    /// The app ended while it was tried, as often as this.
    case ended(times: Int)

    public var description: String {
        switch self {
        case .differs(let figures): figures.map(\.description).joined(separator: "; ")
        case .fails(let reason): printable(reason, most: 500)
        case .ended(let times): "the app ended \(times) times while it was tried"
        }
    }
}

/// How placements are tried.
struct SelfCheck {
    let bundle: ModelBundle
    let goldens: Goldens
    let clock: @Sendable () -> Double

    /// Calls of a graph that are timed, at least; and seconds after which no further one begins.
    static let leastCalls = 2, mostCalls = 5, longest = 2.0

    init(_ bundle: ModelBundle, clock: @escaping @Sendable () -> Double) throws {
        (self.bundle, self.clock) = (bundle, clock)
        guard bundle.manifest.parity.contains(where: { $0.floor != nil }) else {
            throw SegmentAnythingError.bundle("the manifest has no floors to verify against: export it again")
        }
        goldens = try Goldens(bundle)
    }

    /// Loads, compares, times. A fault of the runtime is a refusal; one of the goldens is thrown.
    func attempt(_ engine: any Engine) async throws -> Trial {
        let placement = engine.placement
        var loads: [Load] = [], figures: [Figure] = []
        do {
            let graphs = try await Graphs(bundle, engine)
            loads = graphs.loads
            figures = try await Parity.check(graphs, goldens)
            let missed = figures.filter { !$0.meetsFloor && !letPass($0) }
            let medians = try await missed.isEmpty ? time(graphs) : [:]
            return Trial(
                placement: placement, refusal: missed.isEmpty ? nil : .differs(missed), figures: figures,
                medians: medians, loads: loads)
        } catch is CancellationError {
            throw CancellationError()
        } catch {
            let reason = (error as? SegmentAnythingError)?.message ?? error.localizedDescription
            return Trial(
                placement: placement, refusal: .fails(reason), figures: figures, medians: [:], loads: loads)
        }
    }

    /// Whether the export let the figure pass although it missed its floor: the bundle is degraded.
    private func letPass(_ figure: Figure) -> Bool {
        bundle.manifest.parity.contains {
            ($0.graph, $0.output, $0.measure) == (figure.graph, figure.output, figure.measure) && !$0.meetsFloor
        }
    }

    /// Finds each graph's median call on its first case; parity warmed it up.
    private func time(_ graphs: Graphs) async throws -> [String: Double] {
        var medians: [String: Double] = [:]
        for graph in bundle.manifest.graphs {
            let inputs = try goldens.inputs(graph, goldens.cases(graph)[0])
            var calls: [Double] = []
            let start = clock()
            while calls.count < SelfCheck.leastCalls
                || (calls.count < SelfCheck.mostCalls && clock() - start < SelfCheck.longest)
            {
                let begun = clock()
                _ = try await graphs.run(graph, inputs)
                calls.append(clock() - begun)
            }
            medians[graph.name] = calls.sorted()[calls.count / 2]
        }
        return medians
    }
}

/// Seconds of a clock that only goes on.
@Sendable func monotonic() -> Double { Double(DispatchTime.now().uptimeNanoseconds) * 1e-9 }
