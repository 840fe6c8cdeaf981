import Foundation
import RunnerApple
import RunnerCore
import SwiftUI
import UIKit

/// The runner: does the request in its arguments, writes the answer, and ends.
@main
struct SamRunnerApp: App {
    var body: some Scene {
        WindowGroup { RunnerView() }
    }
}

struct RunnerView: View {
    @State private var line = "sam-bench starts this app. Keep the screen on; it ends by itself."

    var body: some View {
        Text(line).padding().task { await serve() }
    }

    private func serve() async {
        let words = Array(CommandLine.arguments.dropFirst()).filter { !$0.hasPrefix("-") }
        guard words.count == 3 else { return }  // opened by hand
        UIApplication.shared.isIdleTimerDisabled = true
        line = words.joined(separator: " ")
        let files = FileManager.default
        guard let documents = files.urls(for: .documentDirectory, in: .userDomainMask).first,
            let support = files.urls(for: .applicationSupportDirectory, in: .userDomainMask).first
        else { exit(2) }
        let cache = support.appendingPathComponent("compiled")
        let version = ProcessInfo.processInfo.operatingSystemVersionString
        let coreML = EngineKind(version: version) { units, _ in
            try CoreMLRunnerEngine(units: units, cache: cache)
        }
        var runtimes = ["coreml": coreML]
        #if canImport(CoreAI)
            if #available(iOS 27, *) {
                runtimes["coreai"] = EngineKind(version: version) { units, _ in
                    try CoreAIRunnerEngine(units: units)
                }
            }
        #endif
        let desk = Desk(home: documents, machine: AppleDevice(), runtimes: runtimes)
        // Not on the main thread: the system ends an app that does not answer it.
        exit(await Task.detached { await desk.serve(words) }.value)
    }
}
