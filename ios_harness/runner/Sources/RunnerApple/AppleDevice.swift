#if canImport(UIKit) && canImport(CoreML)
    import Darwin
    import Foundation
    import RunnerCore
    import UIKit

    /// The phone, tablet or simulator that the app runs on. Its battery is asked when it is made.
    public struct AppleDevice: Machine {
        private let batteryPercent: Int?
        private let charging: Bool?
        private let systemName: String
        private let systemVersion: String

        @MainActor public init() {
            let device = UIDevice.current
            device.isBatteryMonitoringEnabled = true
            batteryPercent = device.batteryLevel < 0 ? nil : Int((device.batteryLevel * 100).rounded())
            charging =
                switch device.batteryState {
                case .charging, .full: true
                case .unplugged: false
                default: nil
                }
            (systemName, systemVersion) = (device.systemName, device.systemVersion)
        }

        public func facts() -> Facts {
            let process = ProcessInfo.processInfo
            #if targetEnvironment(simulator)
                let kind = "simulator"
            #else
                let kind = process.isiOSAppOnMac ? "mac" : "device"
            #endif
            let simulated = process.environment["SIMULATOR_MODEL_IDENTIFIER"]
            #if arch(arm64)
                let abi = "arm64"
            #else
                let abi = "x86_64"
            #endif
            return Facts(
                kind: kind, model: simulated ?? text(of: "hw.machine"), system: systemName,
                version: systemVersion, build: text(of: "kern.osversion"), abi: abi,
                cores: process.processorCount, memoryBytes: Int(process.physicalMemory),
                pageBytes: Int(getpagesize()))
        }

        public func state() -> DeviceState {
            let process = ProcessInfo.processInfo
            let thermal: Int? =
                switch process.thermalState {
                case .nominal: 0
                case .fair: 1
                case .serious: 2
                case .critical: 3
                @unknown default: nil
                }
            let home = URL(fileURLWithPath: NSHomeDirectory())
            let key = URLResourceKey.volumeAvailableCapacityForImportantUsageKey
            let free = try? home.resourceValues(forKeys: [key]).volumeAvailableCapacityForImportantUsage
            return DeviceState(
                thermal: thermal, lowPower: process.isLowPowerModeEnabled, batteryPercent: batteryPercent,
                charging: charging, freeBytes: free.map(Int.init))
        }

        /// The app's footprint at its most, as the system counts it before it ends an app. What the Neural
        /// Engine takes is not in it.
        public func peakBytes() -> Int? {
            var info = task_vm_info_data_t()
            var count = mach_msg_type_number_t(MemoryLayout<task_vm_info_data_t>.size / MemoryLayout<integer_t>.size)
            let status = withUnsafeMutablePointer(to: &info) { pointer in
                pointer.withMemoryRebound(to: integer_t.self, capacity: Int(count)) {
                    task_info(mach_task_self_, task_flavor_t(TASK_VM_INFO), $0, &count)
                }
            }
            return status == KERN_SUCCESS ? Int(info.ledger_phys_footprint_peak) : nil
        }
    }

    /// A text of `sysctlbyname`; empty if there is none.
    private func text(of name: String) -> String {
        var size = 0
        guard sysctlbyname(name, nil, &size, nil, 0) == 0, size > 1 else { return "" }
        var bytes = [UInt8](repeating: 0, count: size)
        guard sysctlbyname(name, &bytes, &size, nil, 0) == 0 else { return "" }
        return String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
    }
#endif
