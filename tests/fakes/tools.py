"""Puts a phone's programs into its /system/bin: a shell, toybox, and answers recorded elsewhere."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
from pathlib import Path

LOADER = "/system/lib64/ld.so"
"""Where the sandbox has this host's dynamic loader: not where a program pushed from a PC expects
it, because a phone has none there either."""
EXTRA = ("awk", "diff", "expr", "tr")
"""What Android has beside toybox's own commands."""
RECORDED = Path(__file__).parent / "android"


class ToolError(Exception):
    """A program of this host cannot be used on the phone."""


@functools.cache
def libraries(program: Path) -> tuple[Path, ...]:
    """The shared libraries of a program, without the loader."""
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    return tuple(Path(path) for path in re.findall(r"=> (/\S+)", listed))


@functools.cache
def loader(program: Path) -> Path:
    """The loader that a program asks for. ToolError for a static one."""
    found = re.search(rb"/lib[\w./-]*/ld-[\w.-]+(?=\0)", program.read_bytes()[:8192])
    if found is None or len(found[0]) < len(LOADER):
        raise ToolError(f"{program} names no loader")
    return Path(found[0].decode())


@functools.cache
def moved(program: Path) -> bytes:
    """A program's bytes, asking for LOADER."""
    name = str(loader(program)).encode()
    return program.read_bytes().replace(name, LOADER.encode().ljust(len(name), b"\0"), 1)


@functools.cache
def host_tool(name: str) -> Path | None:
    """A program of this host by its name."""
    found = shutil.which(name)
    return Path(found).resolve() if found else None


@functools.cache
def applets(toybox: Path) -> tuple[str, ...]:
    """The commands in a toybox."""
    listed = subprocess.run([toybox], capture_output=True, text=True, check=True).stdout
    return tuple(listed.split())


def install_programs(system_bin: Path) -> tuple[Path, ...]:
    """Copies a shell, toybox and EXTRA; returns the host's libraries they need."""
    chosen = {"sh": host_tool("mksh"), "toybox": host_tool("toybox")}
    chosen |= {name: host_tool(name) for name in EXTRA}
    needed: set[Path] = set()
    for name, program in chosen.items():
        if program is None:
            continue
        place = system_bin / name
        place.write_bytes(moved(program))
        place.chmod(0o755)
        needed |= {*libraries(program)}
    return tuple(sorted(needed))


def link_applets(system_bin: Path, toybox: Path, target: str) -> None:
    """A link to `target` for every command of a toybox that is not there yet."""
    for name in applets(toybox):
        place = system_bin / name
        if not place.exists():
            place.symlink_to(target)


def install_recorded(system_bin: Path, rewrite: dict[str, str]) -> None:
    """The scripts of android/, with some of their paths replaced."""
    for script in RECORDED.iterdir():
        text = script.read_text()
        for old, new in rewrite.items():
            text = text.replace(old, new)
        place = system_bin / script.name
        place.unlink(missing_ok=True)
        place.write_text(text)
        place.chmod(0o755)
