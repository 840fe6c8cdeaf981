"""Where a phone's commands run: a bubblewrap sandbox, or this host with the paths rewritten.

The sandbox looks like a phone from inside: its own process numbers, user 2000, nothing writable
but /data/local/tmp, no libraries of this host. It is entered anew by every command, so what one
command leaves running the next can see and kill. The other way is for containers that forbid
namespaces: commands see this host's processes and may write what the user of the tests may write.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from tests.fakes import qemu
from tests.fakes.keeper import INFO, Keeper, SandboxError
from tests.fakes.launch import Command, command_line, host_processes, only_child
from tests.fakes.tools import (
    LOADER,
    ToolError,
    host_tool,
    install_programs,
    install_recorded,
    link_applets,
    loader,
)

DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty")
MARK = "SAM_EXPORT_FAKE_PHONE"
FORCED = "SAM_EXPORT_FAKE_SANDBOX"
"""Set to `plain` in the environment of the tests to do without namespaces."""
PHONE_ENVIRONMENT = {
    "HOME": "/",
    "SHELL": "/system/bin/sh",
    "USER": "shell",
    "LOGNAME": "shell",
    "HOSTNAME": "localhost",
    "TMPDIR": "/data/local/tmp",
    "ANDROID_ROOT": "/system",
    "ANDROID_DATA": "/data",
}


class Sandbox(Protocol):
    """How commands run."""

    name: str
    why: str

    def command(self, line: str) -> Command:
        """What to execute on this host for a line of the phone's shell; empty for a shell."""
        ...

    def shell(self, pid: int) -> int:
        """The shell's pid, given that of the process started."""
        ...

    def shown(self, output: bytes) -> bytes:
        """Output as the phone would print it."""
        ...

    def processes(self) -> list[int]:
        """Pids, on this host, of everything the phone's commands left running."""
        ...

    def close(self) -> None:
        """Ends it and all that runs in it."""
        ...


class Bubblewrap:
    """Namespaces that one waiting process keeps; every command enters them."""

    name, why = "bwrap", ""

    def __init__(self, root: Path, arm64: bool) -> None:
        self._nsenter = _needed("nsenter")
        system_bin = root / "system/bin"
        try:
            needed = install_programs(system_bin)
            loaders = {loader(_needed(name)) for name in ("mksh", "toybox")}
        except ToolError as error:
            raise SandboxError(str(error)) from error
        link_applets(system_bin, _needed("toybox"), "toybox")
        install_recorded(system_bin, {})
        binds = [("--ro-bind", path, str(path)) for path in needed]
        binds += [("--ro-bind", path, LOADER) for path in loaders]
        binds += [
            ("--bind", root / path, f"/{path}") for path in ("data/local/tmp", "metadata/fake")
        ]
        # bubblewrap's own --dev needs a second user namespace, and that one cannot be entered.
        binds += [("--dev-bind", Path(path), path) for path in DEVICES if Path(path).exists()]
        late = [("--ro-bind", root / "proc/cpuinfo", "/proc/cpuinfo")] if arm64 else []
        for _, _, inside in binds:
            place = root / inside[1:]
            if not place.exists():
                place.parent.mkdir(parents=True, exist_ok=True)
                place.touch()
        argv = _bwrap_command(root, binds, late)
        if arm64:
            argv = qemu.registered(argv, root.parent / f"{root.name}-binfmt")
        self._keeper = Keeper(argv)
        entered = self.command("true").argv
        tried = subprocess.run(entered, capture_output=True, text=True, check=False)
        if tried.returncode:
            self.close()
            raise SandboxError(tried.stderr.strip() or f"nsenter: exit code {tried.returncode}")

    def command(self, line: str) -> Command:
        namespaces = ["-U", "-m", "-p", "-i", "-u", "--preserve-credentials"]
        enter = [str(self._nsenter), "-t", str(self._keeper.pid), *namespaces, "--"]
        run = ["/system/bin/sh", *(["-c", line] if line else [])]
        return Command(enter + run, PHONE_ENVIRONMENT | {"PATH": "/system/bin"}, Path("/"))

    def shell(self, pid: int) -> int:
        return only_child(pid)

    def shown(self, output: bytes) -> bytes:
        return output

    def processes(self) -> list[int]:
        inside = f"pid:[{self._keeper.pid_namespace}]"
        return [pid for pid in _linked(inside) if pid not in self._keeper.own]

    def close(self) -> None:
        self._keeper.close()


class Plain:
    """This host's shell, with the phone's paths rewritten in the command and back in its output."""

    name = "plain"

    def __init__(self, root: Path, arm64: bool, why: str) -> None:
        self._root, self._arm64, self.why = root, arm64, why
        shell = host_tool("mksh") or host_tool("sh")
        if shell is None:
            raise SandboxError("no shell")
        self._shell = str(shell)
        system_bin = root / "system/bin"
        toybox = host_tool("toybox")
        if toybox is not None:
            (system_bin / "toybox").symlink_to(toybox)
            link_applets(system_bin, toybox, "toybox")
        (system_bin / "sh").unlink(missing_ok=True)
        (system_bin / "sh").symlink_to(shell)
        places = {
            path: f"{root}{path}" for path in ("/system/bin", "/metadata/fake", "/data/local")
        }
        install_recorded(
            system_bin, places | ({} if toybox else {"toybox date": str(host_tool("date"))})
        )

    def command(self, line: str) -> Command:
        places = r"data|metadata|sys|system|sdcard|vendor|storage|product|proc/cpuinfo"
        line = re.sub(rf"(?<![\w./-])/(?=(?:{places})(?![\w.-]))", f"{self._root}/", line)
        if self._arm64:
            line = qemu.prefixed(line, self._root)
        home = {"PATH": f"{self._root}/system/bin:{os.environ['PATH']}", MARK: str(self._root)}
        home |= {"HOME": str(self._root), "TMPDIR": f"{self._root}/data/local/tmp"}
        argv = [self._shell, *(["-c", line] if line else [])]
        return Command(argv, PHONE_ENVIRONMENT | home, self._root)

    def shell(self, pid: int) -> int:
        return pid

    def shown(self, output: bytes) -> bytes:
        return output.replace(str(self._root).encode(), b"")

    def processes(self) -> list[int]:
        mark = f"{MARK}={self._root}".encode()
        return [pid for pid, text in _environments() if mark in text.split(b"\0")]

    def close(self) -> None:
        kill(self.processes())


def open_sandbox(root: Path, arm64: bool) -> Sandbox:
    """The best that works here; its `why` says what is missing for the better one."""
    if os.environ.get(FORCED) == "plain":
        return Plain(root, arm64, f"{FORCED}=plain")
    try:
        return Bubblewrap(root, arm64)
    except SandboxError as error:
        shutil.rmtree(root / "system/bin")
        (root / "system/bin").mkdir()
        return Plain(root, arm64, str(error))


def kill(pids: list[int]) -> None:
    """SIGKILL to each that is still there."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def names(pids: list[int]) -> list[str]:
    """Command lines of processes that have one, i.e. are not ended."""
    lines = (command_line(Path(f"/proc/{pid}")) for pid in pids)
    return [line for line in lines if line]


def _bwrap_command(
    root: Path, binds: list[tuple[str, Path, str]], late: list[tuple[str, Path, str]]
) -> list[str]:
    argv = [str(_needed("bwrap")), "--unshare-user", "--uid", "2000", "--gid", "2000"]
    argv += ["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--hostname", "localhost"]
    argv += ["--die-with-parent", "--info-fd", INFO, "--ro-bind", str(root), "/"]
    for how, outside, inside in binds:
        argv += [how, str(outside), inside]
    argv += ["--proc", "/proc"]
    for how, outside, inside in late:
        argv += [how, str(outside), inside]
    return [*argv, "--chdir", "/"]


def _needed(name: str) -> Path:
    found = host_tool(name)
    if found is None:
        raise SandboxError(f"{name} is not installed")
    return found


def _linked(namespace: str) -> Iterator[int]:
    for process in host_processes():
        try:
            if str((process / "ns/pid").readlink()) == namespace:
                yield int(process.name)
        except OSError:
            continue


def _environments() -> Iterator[tuple[int, bytes]]:
    for process in host_processes():
        try:
            yield int(process.name), (process / "environ").read_bytes()
        except OSError:
            continue
