"""What Windows says of this process's memory and the machine's; Linux and macOS say it elsewhere.

Written after Microsoft's reference and tried with stand-ins for its libraries, not on Windows.
"""

from __future__ import annotations

import ctypes
from typing import Any


class _ProcessMemory(ctypes.Structure):
    """PROCESS_MEMORY_COUNTERS."""

    _fields_ = (
        ("cb", ctypes.c_uint32),
        ("PageFaultCount", ctypes.c_uint32),
        ("PeakWorkingSetSize", ctypes.c_size_t),
        ("WorkingSetSize", ctypes.c_size_t),
        ("QuotaPeakPagedPoolUsage", ctypes.c_size_t),
        ("QuotaPagedPoolUsage", ctypes.c_size_t),
        ("QuotaPeakNonPagedPoolUsage", ctypes.c_size_t),
        ("QuotaNonPagedPoolUsage", ctypes.c_size_t),
        ("PagefileUsage", ctypes.c_size_t),
        ("PeakPagefileUsage", ctypes.c_size_t),
    )


class _MachineMemory(ctypes.Structure):
    """MEMORYSTATUSEX."""

    _fields_ = (
        ("dwLength", ctypes.c_uint32),
        ("dwMemoryLoad", ctypes.c_uint32),
        *((f"bytes_{i}", ctypes.c_uint64) for i in range(7)),
    )


def peak_bytes() -> int:
    """Peak resident memory of this process; 0 if this is not Windows or it does not tell."""
    kernel, counters = _library("kernel32"), _ProcessMemory()
    if kernel is None:
        return 0
    counters.cb = ctypes.sizeof(counters)
    kernel.GetCurrentProcess.restype = ctypes.c_void_p
    ask = kernel.K32GetProcessMemoryInfo
    ask.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint32)
    told = ask(kernel.GetCurrentProcess(), ctypes.addressof(counters), counters.cb)
    return int(counters.PeakWorkingSetSize) if told else 0


def memory_bytes() -> int:
    """Memory of this machine; 0 if this is not Windows or it does not tell."""
    kernel, status = _library("kernel32"), _MachineMemory()
    if kernel is None:
        return 0
    status.dwLength = ctypes.sizeof(status)
    ask = kernel.GlobalMemoryStatusEx
    ask.argtypes = (ctypes.c_void_p,)
    return int(status.bytes_0) if ask(ctypes.addressof(status)) else 0


def _library(name: str) -> Any:
    """Load a library of Windows; None on other systems."""
    windll = getattr(ctypes, "windll", None)
    return None if windll is None else getattr(windll, name)
