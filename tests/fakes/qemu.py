"""Runs arm64 programs on an x86_64 host, without changing anything of that host.

In a sandbox the kernel starts qemu by itself: a user namespace may have its own table of binary
formats (Linux 6.7). Elsewhere qemu is put before the loader's name in the command.
"""

from __future__ import annotations

import platform
import re
import sys
from pathlib import Path

from tests.fakes.tools import host_tool

QEMU = ("qemu-aarch64-static", "qemu-aarch64")
MAGIC = r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
MASK = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"
REGISTER = 'mount -t binfmt_misc none "$0" && printf %s "$1" > "$0/register" && shift && exec "$@"'


def program() -> Path | None:
    """qemu's user-mode emulator of arm64, if it is installed."""
    return next((found for found in map(host_tool, QEMU) if found), None)


def missing() -> str:
    """Why no arm64 program can run here at all; empty where one can."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return f"the arm64 phone needs an x86_64 Linux host, this is {platform.machine()}"
    if program() is None:
        return f"the arm64 phone needs {QEMU[0]} (Debian: qemu-user-static)"
    return ""


def registered(argv: list[str], folder: Path) -> list[str]:
    """`argv` run where the kernel hands arm64 programs to qemu; `folder` is made for the table."""
    folder.mkdir(exist_ok=True)
    # The kernel reads the \\x escapes itself.
    row = f":qemu-aarch64:M::{MAGIC}:{MASK}:{program()}:F"
    start = ["unshare", "-U", "-r", "-m", "sh", "-c", REGISTER]
    return [*start, str(folder), row, *argv]


def prefixed(line: str, root: Path) -> str:
    """A command with qemu before the arm64 loader; absolute paths are looked for in `root` first,
    so that /proc/cpuinfo and /sys tell of an arm64 machine."""
    before = f"{program()} -L {root} "
    return re.sub(r"(?<![\w./-])[\w./-]*ld-linux-aarch64\.so\.1", rf"{before}\g<0>", line)
