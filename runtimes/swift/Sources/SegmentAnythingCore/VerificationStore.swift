import Foundation

/// Keeps what self-checks found, a file for each device, system build and bundle.
public struct VerificationStore: Sendable {
    /// Model, processor cores and memory: Apple's `iPhone18,1, 6 cores, 8 GB`.
    let device: String
    /// With its build.
    let system: String
    private let folder: URL

    /// - Parameters:
    ///   - folder: nil for one in Application Support.
    ///   - device: nil for this one.
    ///   - system: nil for this one, with its build.
    public init(folder: URL? = nil, device: String? = nil, system: String? = nil) {
        let manager = FileManager.default
        let support = manager.urls(for: .applicationSupportDirectory, in: .userDomainMask).first
        self.folder = folder ?? (support ?? manager.temporaryDirectory)
            .appendingPathComponent("SegmentAnything").appendingPathComponent("verified")
        let process = ProcessInfo.processInfo
        self.device = device
            ?? "\(machine()), \(process.processorCount) cores, \(process.physicalMemory >> 30) GB"
        self.system = system ?? process.operatingSystemVersionString
    }

    /// What is kept while placements are tried, and after it.
    struct Record: Codable {
        /// All that the record is about, so that another's is not taken for it.
        let key: [String]
        var trials: [Trial] = []
        /// The placement that is tried at the moment; after a crash, the one that was.
        var trying: Placement?
        /// How often the app ended while a placement was tried.
        var ends: [String: Int] = [:]
        var isDone = false
    }

    /// What the last whole check of this bundle on this device and system found; nil if there was none.
    public func verification(of manifest: Manifest) -> Verification? {
        guard let record = record(of: manifest), record.isDone else { return nil }
        var found = Verification(record.trials)
        found.isRemembered = true
        return found
    }

    func record(of manifest: Manifest) -> Record? {
        guard let data = try? Data(contentsOf: file(manifest)),
            let record = try? JSONDecoder().decode(Record.self, from: data), record.key == key(manifest)
        else { return nil }
        return record
    }

    func begin(_ manifest: Manifest) -> Record { Record(key: key(manifest)) }

    /// Throws `SegmentAnythingError.request` if there is no room: a crash could not be seen afterwards.
    func keep(_ record: Record, of manifest: Manifest) throws {
        do {
            try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
            try JSONEncoder().encode(record).write(to: file(manifest), options: .atomic)
        } catch {
            throw SegmentAnythingError.request(
                "what was verified cannot be kept in \(folder.path): \(error.localizedDescription)")
        }
    }

    /// The manifest's hash covers every file's.
    private func key(_ manifest: Manifest) -> [String] {
        [device, system, manifest.target, manifest.contentHash]
    }

    private func file(_ manifest: Manifest) -> URL {
        let name = sha256(Data(key(manifest).joined(separator: "\n").utf8)).prefix(32)
        return folder.appendingPathComponent("\(name).json")
    }
}

/// Apple's identifier of a phone or tablet; elsewhere the processor's kind.
private func machine() -> String {
    var names = utsname()
    uname(&names)
    return withUnsafeBytes(of: &names.machine) { bytes in
        String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
    }
}
