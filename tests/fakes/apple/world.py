"""Simulated Apple devices: a folder of state that the fake programs read and write.

    world.json          one row a device, and which tools there are
    UDID/Documents/     the runner's files
    UDID/logs/          crash logs
    UDID/state.json     what the runner tells of its state
    calls.txt           every call of a program

Standard library only: the programs start quickly.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

WORLD = "SAM_FAKE_APPLE"
UDID = "00008110-001234567890001E"


@dataclass(frozen=True)
class FakeDevice:
    """A device, and what is wrong with it.

    Attributes:
        kind: `phone` or `simulator`.
        fault: what a launch with the verb `on` does: crash, memory, hang, lost, truncate, version,
            old, wrong, hot; empty for nothing.
    """

    udid: str = UDID
    name: str = "Test iPhone"
    kind: str = "phone"
    version: str = "26.5"
    build: str = "23F77"
    connected: bool = True
    paired: bool = True
    developer_mode: bool = True
    image: bool = True
    locked: bool = False
    trusted: bool = True
    installed: bool = True
    accepts: bool = True
    full: bool = False
    booted: bool = True
    fault: str = ""
    on: str = "run"
    state: dict[str, Any] = field(
        default_factory=lambda: {
            "thermal": 0,
            "low_power": False,
            "battery_percent": 80,
            "charging": True,
            "free_bytes": 8 << 30,
            "model": "iPhone15,3",
            "system": "iOS",
            "version": "26.5",
            "build": "23F77",
        }
    )


@dataclass(frozen=True)
class World:
    """All of them, in a folder."""

    folder: Path

    @classmethod
    def here(cls) -> World:
        """The one of the environment."""
        return cls(Path(os.environ[WORLD]))

    def devices(self) -> list[FakeDevice]:
        """Every device, in order."""
        file = self.folder / "world.json"
        return [FakeDevice(**row) for row in json.loads(file.read_text())] if file.exists() else []

    def add(self, device: FakeDevice) -> FakeDevice:
        """A new device."""
        self._write([*self.devices(), device])
        return device

    def change(self, udid: str = UDID, **changes: Any) -> None:
        """What happens to a device."""
        self._write([replace(d, **changes) if d.udid == udid else d for d in self.devices()])

    def tell(self, udid: str = UDID, **state: Any) -> None:
        """What a device tells of its state from here on."""
        (device,) = (d for d in self.devices() if d.udid == udid)
        self.change(udid, state={**device.state, **state})

    def home(self, udid: str = UDID) -> Path:
        """A device's folder."""
        path = self.folder / udid
        (path / "Documents").mkdir(parents=True, exist_ok=True)
        (path / "logs").mkdir(exist_ok=True)
        return path

    def note(self, words: list[str]) -> None:
        """Keep a call."""
        with (self.folder / "calls.txt").open("a") as stream:
            stream.write(" ".join(words) + "\n")

    def calls(self) -> list[str]:
        """Every call so far."""
        file = self.folder / "calls.txt"
        return file.read_text().splitlines() if file.exists() else []

    def running(self, udid: str = UDID) -> list[int]:
        """Numbers of the runners that live on a device."""
        file = self.home(udid) / "pid"
        if not file.exists():
            return []
        pid = int(file.read_text())
        state = Path(f"/proc/{pid}/stat")
        alive = state.exists() and state.read_text().rpartition(")")[2].split()[0] not in "ZX"
        return [pid] if alive else []

    def _write(self, devices: list[FakeDevice]) -> None:
        rows = json.dumps([asdict(device) for device in devices])
        new = self.folder / "world.new"
        new.write_text(rows)
        new.replace(self.folder / "world.json")
        for device in devices:
            (self.home(device.udid) / "state.json").write_text(json.dumps(device.state))


def launch(world: World, device: FakeDevice, words: list[str]) -> subprocess.Popen[bytes]:
    """Start the runner on a device, with what is wrong there."""
    home = world.home(device.udid)
    stop(world, device.udid)
    process = subprocess.Popen(
        [os.environ["SAM_FAKE_RUNNER"], *words],
        env={
            **os.environ,
            "SAM_RUNNER_HOME": str(home / "Documents"),
            "SAM_RUNNER_STATE": str(home / "state.json"),
        },
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    (home / "pid").write_text(str(process.pid))
    fault = device.fault if words[0] == device.on else ""
    if fault in ("crash", "memory", "hang", "lost"):
        _interrupt(world, device, process, fault, words[1])
    return process


def finish(world: World, device: FakeDevice, words: list[str]) -> None:
    """What is wrong with the answer of a launch that ended."""
    if words[0] != device.on:
        return
    if device.fault == "hot":
        world.tell(device.udid, thermal=2)
    pack = world.home(device.udid) / "Documents" / "answers" / f"{words[1]}.pack"
    if not pack.exists():
        return
    raw = pack.read_bytes()
    if device.fault == "truncate":
        pack.write_bytes(raw[: len(raw) - 7])
    if device.fault in ("version", "old"):
        old = b'"answer":1' if device.fault == "version" else f'"request":"{words[1]}"'.encode()
        new = (
            b'"answer":7'
            if device.fault == "version"
            else b'"request":"' + b"x" * len(words[1]) + b'"'
        )
        pack.write_bytes(_rehashed(raw.replace(old, new)))


def stop(world: World, udid: str) -> None:
    """End a device's runner."""
    for pid in world.running(udid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    (world.home(udid) / "pid").unlink(missing_ok=True)


def _interrupt(
    world: World, device: FakeDevice, process: subprocess.Popen[bytes], fault: str, request: str
) -> None:
    """While it works: after its first stage, before its answer."""
    stage = world.home(device.udid) / "Documents" / "answers" / f"{request}.stage"
    end = time.monotonic() + 20
    while not stage.exists() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.002)
    if fault == "hang":
        process.send_signal(signal.SIGSTOP)  # its watchdog too: a system that does not schedule it
        return
    process.kill()
    process.wait()
    logs = world.home(device.udid) / "logs"
    if fault == "lost":
        world.change(device.udid, connected=False)
    if fault == "crash":
        (logs / "SamRunner-2026-11-30-031500.ips").write_text(CRASH)
    if fault == "memory":
        (logs / "JetsamEvent-2026-11-30-031500.ips").write_text(JETSAM)


CRASH = (
    '{"app_name":"SamRunner","bundleID":"org.samexport.runner","bug_type":"309","os_version":'
    '"iPhone OS 26.5 (23F77)"}\n{"exception":{"type":"EXC_CRASH","signal":"SIGABRT"},"termination":'
    '{"namespace":"SIGNAL","code":6,"indicator":"Abort trap: 6"},"faultingThread":3}'
)
JETSAM = (
    '{"bug_type":"298","os_version":"iPhone OS 26.5 (23F77)"}\n{"largestProcess":"SamRunner",'
    '"processes":[{"name":"backboardd","pid":60},{"name":"SamRunner","pid":512,"reason":'
    '"per-process-limit","rpages":204800}]}'
)


def _rehashed(raw: bytes) -> bytes:
    """A pack whose first file was changed, made to agree with itself again."""
    length = int.from_bytes(raw[8:16], "little")
    index = json.loads(raw[16 : 16 + length])
    first = index["files"][0]
    content = raw[16 + length : 16 + length + first["size"]]
    first["sha256"] = hashlib.sha256(content).hexdigest()
    new = json.dumps(index).encode()
    return raw[:8] + len(new).to_bytes(8, "little") + new + raw[16 + length :]
