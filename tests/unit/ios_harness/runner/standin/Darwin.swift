// Declarations of Apple's Darwin that the runner uses, to type-check it where there is none. Nothing here
// runs.
public typealias integer_t = Int32
public typealias kern_return_t = Int32
public typealias mach_msg_type_number_t = UInt32
public typealias mach_port_t = UInt32
public typealias task_flavor_t = UInt32
public typealias task_info_t = UnsafeMutablePointer<integer_t>

public struct task_vm_info_data_t {
    public init() {}
    public var ledger_phys_footprint_peak: Int64 = 0
    public var phys_footprint: UInt64 = 0
}

public let KERN_SUCCESS: kern_return_t = 0
public let TASK_VM_INFO: Int32 = 22
public var mach_task_self_: mach_port_t { 0 }

public func task_info(
    _ target_task: mach_port_t, _ flavor: task_flavor_t, _ task_info_out: task_info_t?,
    _ task_info_outCnt: UnsafeMutablePointer<mach_msg_type_number_t>?
) -> kern_return_t { fatalError() }
public func sysctlbyname(
    _ name: UnsafePointer<CChar>?, _ oldp: UnsafeMutableRawPointer?, _ oldlenp: UnsafeMutablePointer<Int>?,
    _ newp: UnsafeMutableRawPointer?, _ newlen: Int
) -> Int32 { fatalError() }
