"""Facts about this machine and its condition now, from /proc, /sys and the standard library."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
import sys
from pathlib import Path

from runtimes import windows
from runtimes.device import HOST, Cluster, Condition, DeviceFacts, Temperature
from runtimes.process import allowed_cores

SYSTEM = Path("/sys")
CPUINFO = Path("/proc/cpuinfo")
BUSY_NOTE = "other work was running on the host"
BUSY = 0.5
"""Waiting processes for each core above which results note that the host was not idle."""


def host_facts(system: Path = SYSTEM, cpuinfo: Path = CPUINFO) -> DeviceFacts:
    """Collect the facts about this machine.

    Args:
        system: the folder of sysfs.
        cpuinfo: Linux's file about its processors.
    """
    return DeviceFacts(
        device=HOST,
        device_class=HOST,
        manufacturer=_text(system / "class/dmi/id/sys_vendor"),
        model=_model(system),
        soc=_processor(cpuinfo),
        system=_system(),
        build=platform.release(),
        abi=platform.machine(),
        clusters=clusters(system, allowed_cores()),
        memory_mb=_memory() // 2**20,
        page_size=_pages("SC_PAGE_SIZE"),
    )


def host_condition(system: Path = SYSTEM) -> Condition:
    """Read this machine's condition now; fields that it does not report are None or empty."""
    load = _load()
    percent, charging = _battery(system)
    frequencies = {
        str(core): khz
        for core in allowed_cores()
        if (khz := _number(_cpufreq(system, core) / "scaling_cur_freq")) is not None
    }
    busy = load is not None and load > BUSY * len(allowed_cores())
    return Condition(
        at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        temperatures=_temperatures(system),
        battery_percent=percent,
        charging=charging,
        frequencies_khz=frequencies,
        load=load,
        notes=(BUSY_NOTE,) if busy else (),
    )


def clusters(system: Path, cores: tuple[int, ...]) -> tuple[Cluster, ...]:
    """Group cores by top frequency, the slowest first; one cluster if frequencies are unknown."""
    groups: dict[int | None, list[int]] = {}
    for core in cores:
        groups.setdefault(_number(_cpufreq(system, core) / "cpuinfo_max_freq"), []).append(core)
    ordered = sorted(groups.items(), key=lambda item: item[0] or 0)
    return tuple(Cluster(tuple(members), khz) for khz, members in ordered)


def _cpufreq(system: Path, core: int) -> Path:
    return system / f"devices/system/cpu/cpu{core}/cpufreq"


def _temperatures(system: Path) -> tuple[Temperature, ...]:
    found = []
    for zone in sorted((system / "class/thermal").glob("thermal_zone*")):
        millidegrees = _number(zone / "temp")
        if millidegrees is not None:
            kind = _text(zone / "type") or "unknown"
            found.append(Temperature(zone.name, kind, millidegrees / 1000))
    return tuple(found)


def _battery(system: Path) -> tuple[int | None, bool | None]:
    for supply in sorted((system / "class/power_supply").glob("BAT*")):
        status = _text(supply / "status")
        return _number(supply / "capacity"), (status == "Charging") if status else None
    return None, None


def _model(system: Path) -> str:
    if sys.platform == "darwin":
        return _sysctl("hw.model")
    return _text(system / "class/dmi/id/product_name")


def _processor(cpuinfo: Path) -> str:
    if sys.platform == "darwin":
        return _sysctl("machdep.cpu.brand_string")
    for line in _text(cpuinfo).splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.processor()


def _system() -> str:
    if sys.platform == "darwin":
        return f"macOS {platform.mac_ver()[0]}"
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.system()


def _sysctl(name: str) -> str:
    """Ask macOS for a value; empty if it does not know the name."""
    command = ["/usr/sbin/sysctl", "-n", name]
    try:
        ran = subprocess.run(
            command,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return ran.stdout.strip()


def _load() -> float | None:
    """Processes that want to run, over a minute; Windows does not count them."""
    try:
        return round(os.getloadavg()[0], 2)
    except (AttributeError, OSError):
        return None


def _memory() -> int:
    return _pages("SC_PHYS_PAGES") * _pages("SC_PAGE_SIZE") or windows.memory_bytes()


def _pages(name: str) -> int:
    try:
        return max(0, os.sysconf(name))
    except (AttributeError, ValueError, OSError):
        return 0


def _text(path: Path) -> str:
    """Read a file, stripped; empty if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.lstrip("-").isdecimal() else None
