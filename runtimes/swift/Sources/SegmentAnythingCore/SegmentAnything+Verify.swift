import Foundation

extension SegmentAnything {
    /// Times that the app may end while a placement is tried, before it is refused: the user may have
    /// closed it once.
    static let mostEnds = 2

    /// Runs the bundle's goldens on each placement and goes on with the fastest that agrees with the
    /// published network within the floors of the manifest. Acceleration can be silently wrong.
    ///
    /// What was found is kept for this device, system build and bundle, and given back by later calls at
    /// once. A check that was cut short goes on where it was; a placement that ended the app is not tried
    /// for ever. Clicks wait meanwhile, and an image has to be set again if the placement changed.
    ///
    /// - Parameters:
    ///   - placements: nil for all that can be tried without risk; the first is the usual one.
    ///   - again: forget what was found before.
    ///   - store: where it is kept.
    /// - Returns: what every placement gave. If none agrees, `chosen` is nil and nothing was changed: do
    ///   not use the bundle on this device.
    /// - Throws: `SegmentAnythingError.bundle` if the goldens or floors are missing, `.request` for a
    ///   placement that the runtime does not have; `CancellationError`.
    @discardableResult
    public func verify(
        on placements: [Placement]? = nil, again: Bool = false, store: VerificationStore = .init()
    ) async throws -> Verification {
        try await verify(on: placements, again: again, store: store, clock: monotonic)
    }

    func verify(
        on placements: [Placement]?, again: Bool, store: VerificationStore,
        clock: @escaping @Sendable () -> Double
    ) async throws -> Verification {
        try await line.pass {
            let engine = current
            let asked = placements ?? engine.placements
            let engines = try asked.map { try engine.placed(on: $0) }
            let found = try await tried(engines, again, store, clock)
            if let chosen = found.chosen { move(to: try engine.placed(on: chosen)) }
            return found
        }
    }

    private func tried(
        _ engines: [any Engine], _ again: Bool, _ store: VerificationStore,
        _ clock: @escaping @Sendable () -> Double
    ) async throws -> Verification {
        let manifest = bundle.manifest
        var record = again ? store.begin(manifest) : store.record(of: manifest) ?? store.begin(manifest)
        let known = Set(record.trials.map(\.placement))
        let asked = Set(engines.map(\.placement)), isRemembered = record.isDone && asked.isSubset(of: known)
        if !isRemembered {
            if let ended = record.trying { record.ends[ended.rawValue, default: 0] += 1 }
            let check = try SelfCheck(bundle, clock: clock)
            unload()  // one form of the graphs in memory at a time
            for engine in engines where !known.contains(engine.placement) {
                try Task.checkCancellation()
                record.trials.append(try await attempt(engine, check, &record, store))
                record.trying = nil
                try store.keep(record, of: manifest)
            }
        }
        var found = Verification(record.trials.filter { asked.contains($0.placement) })
        found.isRemembered = isRemembered
        if !isRemembered {
            // Of a few placements that do not agree, nothing follows for the others.
            let tried = Set(record.trials.map(\.placement))
            record.isDone = found.chosen != nil || Set(current.placements).isSubset(of: tried)
            try store.keep(record, of: manifest)
        }
        return found
    }

    private func attempt(
        _ engine: any Engine, _ check: SelfCheck, _ record: inout VerificationStore.Record,
        _ store: VerificationStore
    ) async throws -> Trial {
        let placement = engine.placement, ends = record.ends[placement.rawValue] ?? 0
        guard ends < SegmentAnything.mostEnds else {
            return Trial(
                placement: placement, refusal: .ended(times: ends), figures: [], medians: [:], loads: [])
        }
        record.trying = placement
        try store.keep(record, of: bundle.manifest)
        do {
            return try await check.attempt(engine)
        } catch {
            record.trying = nil
            try store.keep(record, of: bundle.manifest)
            throw error
        }
    }
}

extension SegmentAnything {
    /// Reads and verifies a bundle of any of the engines' formats.
    ///
    /// - Parameters:
    ///   - engines: one for each format.
    ///   - placement: nil for what `verify` chose on this device, or the usual one.
    ///   - store: what `verify` found.
    /// - Throws: as the other `init`; `.request` if no engine runs such a bundle.
    public convenience init(
        bundle url: URL, engines: [any Engine], placement: Placement? = nil,
        store: VerificationStore = .init(), verify: Bool = true
    ) throws {
        let engine = try chosenEngine(for: url, of: engines, placement, store)
        try self.init(bundle: url, engine: engine, verify: verify)
    }

    /// Takes the best bundle that this system can run: by the order of the engines, but none of which
    /// `verify` found here that it agrees on no placement.
    ///
    /// - Parameters:
    ///   - urls: of one variant, in several formats.
    ///   - engines: the best first.
    /// - Throws: `SegmentAnythingError.request` if no engine runs any of them, or all were refused.
    public convenience init(
        bundles urls: [URL], engines: [any Engine], store: VerificationStore = .init(), verify: Bool = true
    ) throws {
        let manifests = try urls.map { ($0, try ModelBundle($0, verify: false).manifest) }
        let able = engines.flatMap { engine in manifests.filter { $0.1.target == engine.target } }
        guard !able.isEmpty else {
            let given = manifests.map { printable($0.1.target) }.joined(separator: " and ")
            throw SegmentAnythingError.request(
                "this system runs \(engines.map(\.target).joined(separator: " and ")) bundles, not "
                    + "\(given.isEmpty ? "none" : given)")
        }
        let sound = able.first { _, manifest in
            guard let found = store.verification(of: manifest) else { return true }
            return found.chosen != nil
        }
        guard let sound else {
            throw SegmentAnythingError.request(
                "no bundle agrees with its goldens on this device: "
                    + able.map { "\(printable($0.1.target)) \(printable($0.1.precision))" }
                    .joined(separator: ", "))
        }
        try self.init(bundle: sound.0, engines: engines, store: store, verify: verify)
    }
}

/// The engine of a bundle's format, where the caller wants it or `verify` chose. Throws
/// `SegmentAnythingError.request` if there is none.
func chosenEngine(
    for url: URL, of engines: [any Engine], _ placement: Placement?, _ store: VerificationStore
) throws -> any Engine {
    let manifest = try ModelBundle(url, verify: false).manifest
    guard let engine = engines.first(where: { $0.target == manifest.target }) else {
        throw SegmentAnythingError.request(
            "this system runs \(engines.map(\.target).joined(separator: " and ")) bundles, not "
                + "\(printable(manifest.target))")
    }
    let chosen = placement ?? store.verification(of: manifest)?.chosen
    return try chosen.map { try engine.placed(on: $0) } ?? engine
}
