"""Starts a command of the phone's shell as a process of this host."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from asyncio.subprocess import Process, SubprocessStreamProtocol
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

LIMIT = 1 << 20


@dataclass
class Started:
    """A running command. `shell` finds the pid of the shell itself, on this host."""

    process: Process
    transport: asyncio.SubprocessTransport
    shell: Callable[[int], int]

    def hang_up(self) -> None:
        """Closes the pipes and sends SIGHUP to the shell alone: its children live on."""
        for descriptor in range(3):
            pipe = self.transport.get_pipe_transport(descriptor)
            if pipe is not None:
                pipe.close()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.shell(self.process.pid), signal.SIGHUP)


@dataclass(frozen=True)
class Command:
    """What is executed on this host for one command of the phone."""

    argv: list[str]
    environment: dict[str, str]
    folder: Path


async def launch(command: Command, merged: bool, shell: Callable[[int], int]) -> Started:
    """Starts it in a session of its own; `merged` sends stderr where stdout goes."""
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.subprocess_exec(
        lambda: SubprocessStreamProtocol(limit=LIMIT, loop=loop),
        *command.argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if merged else subprocess.PIPE,
        env=command.environment,
        cwd=command.folder,
        start_new_session=True,
    )
    return Started(Process(transport, protocol, loop), transport, shell)


def only_child(pid: int) -> int:
    """The child of a process that has one; itself before and after."""
    with contextlib.suppress(OSError):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if children:
            return int(children[0])
    return pid


def host_processes() -> Iterable[Path]:
    """The folders in /proc of this host's processes; none where there is no /proc."""
    return (path for path in Path("/proc").glob("[0-9]*") if path.name.isdigit())


def command_line(process: Path) -> str:
    """What a process was started as; empty for one that has ended."""
    try:
        return (process / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except OSError:
        return ""
