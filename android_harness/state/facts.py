"""What an Android device is: its properties, cores and memory, asked in one trip."""

from __future__ import annotations

import re
from collections.abc import Mapping

from android_harness.runtimes import ABIS
from android_harness.state import device_class, evidence, topology
from exporter.printable import printable
from runtimes.device import DeviceFacts

WORK = "/data/local/tmp/sam-export"
"""The one folder that is ours; the shell may write and execute there, and nowhere else."""
LEAST_MB = 64
"""Free space under which not even a runner and a small bundle would fit."""
ROOM = {"space": "df -k /data/local/tmp"}
"""What may change while a device is in use."""
PARTS = {
    "properties": "getprop",
    "kernel": "uname -rm",
    "page": "getconf PAGE_SIZE",
    "memory": "grep MemTotal /proc/meminfo",
    "cores": topology.SCRIPT,
    **evidence.PARTS,
    **ROOM,
}


def parse(answers: Mapping[str, str], device: str, serial: str) -> DeviceFacts:
    """Parse the answers to PARTS.

    Args:
        answers: part -> what it printed.
        device: as a user names it.
        serial: adb's name for it; an emulator's tells what it is.
    """
    props = properties(answers.get("properties", ""))
    version, api = props.get("ro.build.version.release", ""), props.get("ro.build.version.sdk", "")
    memory = re.search(r"MemTotal:\s*(\d+) kB", answers.get("memory", ""))
    page = answers.get("page", "")
    kept = evidence.evidence_of(answers, props, serial)
    found, reason = device_class.judge(kept)
    return DeviceFacts(
        device=device,
        device_class=found,
        manufacturer=printable(props.get("ro.product.manufacturer", "")),
        model=printable(props.get("ro.product.model", "")),
        soc=printable(_soc(props)),
        system=printable(f"Android {version} (API {api})"),
        build=printable(props.get("ro.build.fingerprint") or answers.get("kernel", "")),
        # Never abilist: an x86_64 image lists arm64 too, and translates it.
        abi=printable(props.get("ro.product.cpu.abi", "")),
        clusters=topology.parse(answers.get("cores", "")).clusters,
        memory_mb=int(memory[1]) // 1024 if memory else 0,
        page_size=int(page) if page.isdecimal() else 0,
        evidence=kept,
        class_reason=reason,
    )


def properties(text: str) -> dict[str, str]:
    """`[name]: [value]` as getprop prints it; a value may hold commas, brackets and line ends."""
    pairs = re.findall(r"^\[([^\]\n]+)\]: \[(.*?)\]$(?=\n\[|\s*\Z)", text, re.MULTILINE | re.DOTALL)
    return dict(pairs)


def free_kb(text: str) -> int | None:
    """Parse the free space in the output of `df -k`, in KB; None if it is missing."""
    rows = [line.split() for line in text.splitlines()[1:]]
    numbers = [row[3] for row in rows if len(row) >= 6 and row[3].isdigit()]
    return int(numbers[0]) if numbers else None


def problem_of(facts: DeviceFacts, answers: Mapping[str, str]) -> str:
    """Why nothing can be measured on it, and what to do; empty if it can."""
    if facts.abi not in ABIS:
        return f"its ABI is {facts.abi or 'not told'}; a runner exists for {' and '.join(ABIS)}"
    free = free_kb(answers.get("space", ""))
    if free is not None and free < LEAST_MB * 1024:
        return (
            f"full: {free // 1024} MB are free in /data/local/tmp, {LEAST_MB} MB are the least: "
            f"free some, or try `sam-bench clean --device {facts.device}`"
        )
    return ""


def _soc(props: Mapping[str, str]) -> str:
    """Manufacturer and model (Android 12 and later), or the name of the board."""
    parts = [props.get(f"ro.soc.{word}", "") for word in ("manufacturer", "model")]
    named = [part for part in parts if part and part.lower() != "unknown"]
    return " ".join(named) or props.get("ro.board.platform") or props.get("ro.hardware", "")
