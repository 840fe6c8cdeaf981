// Declarations of Apple's UIKit, and of what Foundation has on Apple's systems alone, that the runner uses.
// Nothing here runs.
import Foundation

@MainActor public final class UIDevice {
    public enum BatteryState: Int, Sendable { case unknown, unplugged, charging, full }
    public static var current: UIDevice { fatalError() }
    public var isBatteryMonitoringEnabled = false
    public var batteryLevel: Float { fatalError() }
    public var batteryState: BatteryState { fatalError() }
    public var systemName: String { fatalError() }
    public var systemVersion: String { fatalError() }
}

@MainActor public final class UIApplication {
    public static var shared: UIApplication { fatalError() }
    public var isIdleTimerDisabled = false
}

extension ProcessInfo {
    public enum ThermalState: Int, Sendable { case nominal, fair, serious, critical }
    public var thermalState: ThermalState { fatalError() }
    public var isiOSAppOnMac: Bool { fatalError() }
    public var isLowPowerModeEnabled: Bool { fatalError() }
}

extension URLResourceKey {
    public static let volumeAvailableCapacityForImportantUsageKey = URLResourceKey(rawValue: "")
}

extension URLResourceValues {
    public var volumeAvailableCapacityForImportantUsage: Int64? { nil }
}
