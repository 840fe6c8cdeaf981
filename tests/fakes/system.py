"""What a simulated phone is made of: recorded properties, a kernel, cores, services' answers."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SAMPLES = Path(__file__).parent / "samples"
SIMULATED = "ro.sam_export.simulated"
"""The property that tells a harness: this is no phone, whatever the others say."""
PLENTY_KB = 64 << 20
SLOW_KHZ, FAST_KHZ = 1_800_000, 2_400_000
PARTS = {SLOW_KHZ: "0xd05", FAST_KHZ: "0xd0b"}
"""Arm's numbers of a slow and a fast core, for /proc/cpuinfo."""


@dataclass(frozen=True)
class Model:
    """A kind of phone.

    Attributes:
        getprop, battery, thermal: names in samples/.
        machine: what `uname -m` says.
        kernel: release.
    """

    name: str
    machine: str
    kernel: str
    getprop: str
    battery: str
    thermal: str

    @property
    def arm64(self) -> bool:
        """Whether its programs are arm64's."""
        return self.machine == "aarch64"


X86_64 = Model(
    name="x86_64",
    machine="x86_64",
    kernel="6.1.23-android14-4-00257-g7e35917775b8-ab9964412",
    getprop="getprop-emulator-x86_64-android14.txt",
    battery="battery-usb-full.txt",
    thermal="thermalservice-android16-xiaomi.txt",
)
ARM64 = Model(
    name="arm64",
    machine="aarch64",
    kernel="6.1.99-android14-11-gd7dac4b14270-ab12946699",
    getprop="getprop-pixel-like-phone.txt",
    battery="battery-recent-with-eventlog.txt",
    thermal="thermalservice-qualcomm-per-core.txt",
)


@dataclass(frozen=True)
class Core:
    """One core as /sys tells of it; frequencies in kHz."""

    index: int
    max_khz: int
    min_khz: int
    now_khz: int
    governor: str
    capacity: int


def host_cores() -> tuple[Core, ...]:
    """Cores numbered as this process may use them, so that `taskset` works: the lower half slow."""
    numbers = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    speeds = [SLOW_KHZ if i < len(numbers) // 2 else FAST_KHZ for i in range(len(numbers))]
    return tuple(
        Core(number, khz, 300_000, 300_000, "schedutil", 1024 * khz // FAST_KHZ)
        for number, khz in zip(numbers, speeds, strict=True)
    )


def eight_cores() -> tuple[Core, ...]:
    """A phone of one, four and three cores, recorded. Not for `taskset`: the host has fewer."""
    rows = re.findall(
        r"^(\d+) (\d+) (\d+) (\d+) (\S+) (\d+)$", sample("cpu-topology-1-4-3.txt"), re.MULTILINE
    )
    return tuple(
        Core(int(n), int(most), int(least), int(now), governor, int(capacity))
        for n, most, least, now, governor, capacity in rows
    )


def sample(name: str) -> str:
    """A recorded answer."""
    return (SAMPLES / name).read_text()


def write_cores(root: Path, cores: Sequence[Core]) -> None:
    """/sys/devices/system/cpu and /proc/cpuinfo of an arm64 phone."""
    folder = root / "sys/devices/system/cpu"
    online = ",".join(str(core.index) for core in cores)
    for name, text in (
        ("possible", f"0-{cores[-1].index}" if cores[-1].index else "0"),
        ("present", online),
        ("online", online),
    ):
        replace(folder / name, text + "\n")
    for core in cores:
        one = folder / f"cpu{core.index}"
        replace(one / "cpu_capacity", f"{core.capacity}\n")
        replace(one / "cpufreq/cpuinfo_max_freq", f"{core.max_khz}\n")
        replace(one / "cpufreq/cpuinfo_min_freq", f"{core.min_khz}\n")
        replace(one / "cpufreq/scaling_max_freq", f"{core.max_khz}\n")
        replace(one / "cpufreq/scaling_cur_freq", f"{core.now_khz}\n")
        replace(one / "cpufreq/scaling_governor", f"{core.governor}\n")
    block = sample("proc-cpuinfo-arm64-2core.txt").split("\n\n")[0]
    # In place: a sandbox has this very file bound over its own.
    (root / "proc/cpuinfo").write_text("".join(_cpuinfo(block, core) for core in cores))


def _cpuinfo(block: str, core: Core) -> str:
    part = PARTS[SLOW_KHZ if core.capacity < 1024 else FAST_KHZ]
    block = re.sub(r"(processor\t: )\d+", rf"\g<1>{core.index}", block)
    return re.sub(r"(CPU part\t: )\S+", rf"\g<1>{part}", block) + "\n\n"


def write_skeleton(root: Path) -> None:
    """The folders every phone has, and what tells who `shell` is."""
    for name in (
        "data/local/tmp",
        "metadata/fake",
        "system/bin",
        "system/lib64",
        "proc",
        "dev",
        "etc",
    ):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "data/local/tmp").chmod(0o771)
    (root / "etc/passwd").write_text("root:x:0:0::/:\nshell:x:2000:2000::/:/system/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\nshell:x:2000:\n")


def initial_state(model: Model) -> dict[str, str]:
    """Files of /metadata/fake, which the recorded commands answer from and write to."""
    battery = sample(model.battery)
    return {
        "prop": f"{sample(model.getprop).rstrip()}\n[{SIMULATED}]: [1]\n",
        "battery": battery,
        "battery.real": battery,
        "battery.stopped": sample("battery-updates-stopped.txt"),
        "kernel": f"release={model.kernel}\nversion='#1 SMP PREEMPT'\nmachine={model.machine}\n",
        "thermal.override": "",
        "wakefulness": "Asleep\n",
        "fixed_performance": "0\n",
        "setting.global.stay_on_while_plugged_in": "0\n",
        "setting.global.airplane_mode_on": "1\n",
        "setting.global.wifi_on": "0\n",
        "setting.global.low_power": "0\n",
        "calls": "",
    }


def replace(path: Path, text: str) -> None:
    """Writes a file so that a reader sees the old text or the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(text)
    fresh.replace(path)
