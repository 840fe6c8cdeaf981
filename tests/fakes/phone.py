"""A simulated phone: a folder, a sandbox for its commands, a daemon for `adb`, faults, memory."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Coroutine, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from tests.fakes import system
from tests.fakes.adbd import Adbd, Connection, Service
from tests.fakes.auth import PublicKey
from tests.fakes.faults import Faults
from tests.fakes.launch import launch
from tests.fakes.sandbox import kill, names, open_sandbox
from tests.fakes.shell import run_raw, run_v2
from tests.fakes.storage import Storage
from tests.fakes.stream import Stream
from tests.fakes.sync import Sync
from tests.fakes.system import Core, Model

WAIT_SECONDS = 20.0
NO_ROOT = b"adbd cannot run as root in production builds\n"


class Phone:
    """What a test holds. Its methods may be called from any thread but the loop's.

    Attributes:
        model: `system.X86_64` or `system.ARM64`.
        root: the phone's `/` on this host; `root / "data/local/tmp"` is what a test looks at.
        faults: set one and it holds at once.
        commands: every command line a host asked for, since the last reset.
        cores: what /sys tells of.
        sandbox: how commands run; `.name` and `.why` say it.
    """

    def __init__(self, model: Model, root: Path, loop: asyncio.AbstractEventLoop) -> None:
        self.model, self.root, self._loop = model, root, loop
        self.faults = Faults()
        self.commands: list[str] = []
        self.keys: list[PublicKey] = []
        self.cores: tuple[Core, ...] = ()
        self._storage = Storage(root, self.faults)
        self._sequences: dict[str, tuple[str, ...]] = {}
        system.write_skeleton(root)
        self.set_cores(system.host_cores())
        self._write_state()
        self.faults.on_change(self._apply_faults)
        self.sandbox = open_sandbox(root, model.arm64)
        services: dict[str, Service] = {
            "shell": self._shell,
            "exec": self._shell,
            "sync": self._sync,
        }
        services |= {"root": self._refuse_root, "reboot": self._reboot}
        self._daemon = Adbd(self, services)
        self._do(self._daemon.plug())

    # What a test does to it.

    @property
    def serial(self) -> str:
        """What `adb -s` takes."""
        return f"127.0.0.1:{self._daemon.port}"

    @property
    def tmp(self) -> Path:
        """/data/local/tmp on this host."""
        return self.root / "data/local/tmp"

    def unplug(self) -> None:
        """Pulls the cable: hosts lose the phone at once and do not find it again."""
        self._do(self._unplugged())

    def plug(self) -> None:
        """Puts the cable back in; the serial is the same."""
        self._do(self._daemon.plug())

    def restart(self) -> None:
        """Off and on again: whatever ran is gone, files stay. Hosts see an offline device."""
        self.unplug()
        kill(self.sandbox.processes())
        self.plug()

    def set_cores(self, cores: Sequence[Core]) -> None:
        """Other cores in /sys and /proc/cpuinfo, e.g. `system.eight_cores()`."""
        self.cores = tuple(cores)
        shutil.rmtree(self.root / "sys/devices/system/cpu", ignore_errors=True)
        system.write_cores(self.root, self.cores)

    def set_frequency(self, index: int, now_khz: int, max_khz: int | None = None) -> None:
        """What a core runs at now, and the limit a hot phone has put on it."""
        folder = self.root / f"sys/devices/system/cpu/cpu{index}/cpufreq"
        system.replace(folder / "scaling_cur_freq", f"{now_khz}\n")
        if max_khz is not None:
            system.replace(folder / "scaling_max_freq", f"{max_khz}\n")

    def set_property(self, key: str, value: str) -> None:
        """Another value of `getprop KEY`; a new one where there is none."""
        kept = [row for row in self.state("prop").splitlines() if not row.startswith(f"[{key}]: ")]
        self.set_state("prop", "\n".join([*kept, f"[{key}]: [{value}]"]) + "\n")

    def set_state(self, name: str, text: str) -> None:
        """A file of /metadata/fake: `battery`, `wakefulness`, `setting.NAMESPACE.KEY` ..."""
        system.replace(self._state_file(name), text)

    def reset(self) -> None:
        """As new: no faults, no files, nothing running, every setting as it was, cable in."""
        for field in fields(Faults):
            setattr(self.faults, field.name, field.default)
        kill(self.sandbox.processes())
        for path in self.tmp.iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        self._write_state()
        self.set_cores(system.host_cores())
        self.plug()
        self.commands.clear()

    def close(self) -> None:
        """Nothing of it runs or listens afterwards; its folder stays."""
        self.unplug()
        self._do(self._daemon.idle())
        self.sandbox.close()

    # What a test looks at.

    def state(self, name: str) -> str:
        """A file of /metadata/fake as the recorded commands left it; empty where there is none."""
        path = self._state_file(name)
        return path.read_text() if path.exists() else ""

    @property
    def calls(self) -> list[str]:
        """`svc`, `cmd`, `settings put`, `input` ... as they were called since the last reset."""
        return self.state("calls").splitlines()

    def changes(self) -> dict[str, tuple[str, str]]:
        """Settings that are not as they were: name -> (before, now). Empty after good manners."""
        before = self._fresh
        now = {name: self.state(name) for name in before if name != "calls"}
        folder = self.root / "metadata/fake"
        now |= {path.name: path.read_text() for path in folder.glob("setting.*")}
        return {
            name: (before.get(name, ""), text)
            for name, text in sorted(now.items())
            if text != before.get(name, "")
        }

    def processes(self) -> list[str]:
        """Command lines of what runs on the phone now."""
        return names(self.sandbox.processes())

    def files(self) -> list[str]:
        """Paths below /data/local/tmp."""
        return sorted(str(path.relative_to(self.tmp)) for path in self.tmp.rglob("*"))

    # What the daemon asks.

    def banner(self) -> dict[str, str]:
        """For `adb devices -l`."""
        props: dict[str, str] = dict(
            re.findall(r"^\[(.+?)\]: \[(.*)\]$", self.state("prop"), re.MULTILINE)
        )
        wanted = ("name", "model", "device")
        device = props.get("ro.product.device", "")
        return {f"ro.product.{key}": props.get(f"ro.product.{key}", device) for key in wanted}

    def answers(self) -> bool:
        """Whether it greets."""
        return not self.faults.silent

    def allows(self) -> bool:
        """Whether it lets a host in."""
        return not self.faults.unauthorized

    # Services.

    async def _shell(self, connection: Connection, stream: Stream, asked: str) -> None:
        name, _, line = asked.partition(":")
        self.commands.append(line)
        kinds = name.split(",")
        command = self.sandbox.command(self.faults.command(line))
        merged = "v2" not in kinds
        started = await launch(command, merged, self.sandbox.shell)
        planned = [
            self._loop.call_later(delay, act)
            for delay, act in (
                (self.faults.drop_delay(line), self._daemon.unplug),
                (self.faults.kill_delay(line), self._kill_doomed),
            )
            if delay is not None
        ]
        garbled = self.faults.stdout(line)
        try:
            run = run_raw if merged else run_v2
            await run(stream, started, lambda data: garbled(self.sandbox.shown(data)))
        finally:
            for one in planned:
                one.cancel()

    def _kill_doomed(self) -> None:
        pids = self.sandbox.processes()
        kill([pid for pid in pids if self.faults.doomed("".join(names([pid])))])

    async def _sync(self, connection: Connection, stream: Stream, asked: str) -> None:
        await Sync(self._storage, stream, self._daemon.unplug).run()

    async def _refuse_root(self, connection: Connection, stream: Stream, asked: str) -> None:
        await stream.write(NO_ROOT)

    async def _reboot(self, connection: Connection, stream: Stream, asked: str) -> None:
        kill(self.sandbox.processes())
        self._daemon.unplug()
        await self._daemon.plug()

    # State.

    async def _unplugged(self) -> None:
        self._daemon.unplug()

    def _state_file(self, name: str) -> Path:
        return self.root / "metadata/fake" / name

    def _write_state(self) -> None:
        self._fresh = system.initial_state(self.model)
        for path in (self.root / "metadata/fake").glob("setting.*"):
            if path.name not in self._fresh:
                path.unlink()
        for name, text in self._fresh.items():
            if self.state(name) != text or not self._state_file(name).exists():
                self.set_state(name, text)

    def _apply_faults(self) -> None:
        faults = self.faults
        self._write_sequence("thermal", faults.thermal or (system.sample(self.model.thermal),))
        self._write_sequence("clock", tuple(f"{offset}\n" for offset in faults.clock or (0,)))
        size = faults.storage_bytes
        self.set_state("storage", f"{system.PLENTY_KB if size is None else size >> 10}\n")
        if faults.no_fixed_performance:
            self.set_state("no_fixed_performance", "")
        else:
            self._state_file("no_fixed_performance").unlink(missing_ok=True)

    def _write_sequence(self, name: str, answers: tuple[str, ...]) -> None:
        """The answers of a command that changes its mind: NAME.0, NAME.1 ... and NAME.count."""
        if self._sequences.get(name) == answers:
            return
        self._sequences[name] = answers
        for path in (self.root / "metadata/fake").glob(f"{name}.[0-9]*"):
            path.unlink()
        for number, text in enumerate(answers):
            self.set_state(f"{name}.{number}", text)
        self.set_state(f"{name}.count", "0\n")

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(WAIT_SECONDS)
