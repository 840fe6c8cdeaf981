"""A program that reaches devices (`xcrun`, `pymobiledevice3`): found on PATH, run with a bound."""

from __future__ import annotations

import json
import logging
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exporter import programs
from exporter.errors import RequestError
from exporter.printable import printable
from exporter.programs import FloodError, Said
from ios_harness.errors import NoProgramError, ToolError, ToolTimeoutError
from runtimes.remote.errors import UnusableError

LOG = logging.getLogger("sam_export.device")
QUICK = 60.0
"""Seconds for a call that copies nothing: the first one wakes the connection to the device."""
_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Program:
    """A program and the words that every call begins with."""

    words: tuple[str, ...]

    def run(self, *arguments: str, deadline: float = QUICK) -> Said:
        """Run one call; a failure of the command itself is in the answer, not an error.

        Raises:
            ToolTimeoutError: it took longer than `deadline` seconds.
            NoProgramError: it cannot be started.
            UnusableError: it writes without end.
        """
        command = [*self.words, *arguments]
        shown = printable(shlex.join(command))
        begun = time.perf_counter()
        try:
            # Its own session: Ctrl-C is for us, and what we do then needs the program.
            said = programs.run(command, deadline=deadline, apart=True)
        except subprocess.TimeoutExpired as error:
            LOG.debug("%s: no answer in %g s", shown, deadline)
            last = last_line(Said(-1, programs.text(error.stdout), programs.text(error.stderr)))
            raise ToolTimeoutError(
                f"`{short(arguments)}` did not end in {deadline:g} s{f' ({last})' if last else ''}"
            ) from None
        except OSError as error:
            raise NoProgramError(f"{self.words[0]} cannot be started: {error.strerror}") from None
        except FloodError:
            raise UnusableError(
                f"`{short(arguments)}` writes without end, so it was ended: neither a usable "
                "device nor its program does that"
            ) from None
        LOG.debug("%s -> %d in %.3f s", shown, said.code, time.perf_counter() - begun)
        if said.code:
            LOG.debug("  said: %s", printable((said.err + said.out).strip()))
        return said


def find_program(name: str) -> Path | None:
    """Find a program on PATH; absolute."""
    found = shutil.which(name)
    return Path(found).absolute() if found else None


def read_json(text: str, what: str) -> Any:
    """Decode what a program wrote. ToolError if it is no JSON."""
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        start = printable(text.strip(), 60)
        raise ToolError(f"{what} gave no JSON ({start or 'nothing'}): update the program") from None


def at(data: Any, *path: str) -> Any:
    """Follow keys through nested objects; None where one is missing."""
    for key in path:
        data = data.get(key) if isinstance(data, dict) else None
    return data


def text_at(data: Any, *path: str) -> str:
    """Find a text by its keys; empty if it is none."""
    found = at(data, *path)
    return found if isinstance(found, str) else ""


def objects_at(data: Any, *path: str) -> list[dict[str, Any]]:
    """Find a list by its keys; only the objects in it."""
    found = at(data, *path)
    return [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []


def last_line(said: Said) -> str:
    """Choose the line for a message: the last of stderr, or of stdout."""
    for text in (said.err, said.out):
        lines = [line.strip() for line in _ESCAPES.sub("", text).splitlines() if line.strip()]
        if lines:
            return printable(lines[-1], 300)
    return ""


def plain(said: Said) -> str:
    """Join all that was said, without colours."""
    return _ESCAPES.sub("", f"{said.out}\n{said.err}")


def short(arguments: Sequence[str], most: int = 60) -> str:
    """Show a call for a message, on one line."""
    line = " ".join(" ".join(arguments).split())
    return printable(line if len(line) <= most else f"{line[:most]}...")


def demand_name(name: str) -> str:
    """Return a name that no program takes for an option. RequestError if it is one."""
    if name.startswith("-"):
        raise RequestError(f"no device can be called {printable(name)!r}")
    return name
