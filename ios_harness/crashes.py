"""Crash logs of Apple's systems (`.ips`): what ended the runner.

A file is two JSON texts: a line for the head, then the body. `JetsamEvent` files tell which
processes the system ended for want of memory.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from exporter.errors import RunnerError
from exporter.printable import printable
from ios_harness.errors import CrashError, MemoryLimitError
from ios_harness.program import at, objects_at, text_at
from ios_harness.transports import EXECUTABLE

JETSAM = "JetsamEvent"
_MEMORY = ("per-process-limit", "highwater", "vm-pageshortage", "jettisoned")


def is_ours(name: str) -> bool:
    """Tell whether a log of that name can be about the runner."""
    return name.endswith(".ips") and name.startswith((f"{EXECUTABLE}-", f"{JETSAM}-"))


def ending(logs: Sequence[Path], doing: str) -> RunnerError:
    """Make the error for a runner that ended without an answer.

    Args:
        logs: what the system wrote about it, newest last.
        doing: the runner's last word on what it did; empty if it said none.
    """
    during = f" during {printable(doing, 120)}" if doing else ""
    for path in reversed(logs):
        head, body = _read(path)
        if path.name.startswith(JETSAM):
            reason = _jetsam(body)
            if reason:
                return MemoryLimitError(
                    f"the system ended the runner for its memory ({reason}){during}: its log is "
                    f"{path}; measure a smaller bundle or precision"
                )
            continue
        if text_at(head, "app_name") in ("", EXECUTABLE):
            return CrashError(f"the runner crashed ({_why(body)}){during}: its log is {path}")
    return RunnerError(
        f"the runner ended without an answer{during}, and the device has no crash log of it: look "
        "at Settings > Privacy & Security > Analytics & Improvements > Analytics Data"
    )


def _read(path: Path) -> tuple[Any, Any]:
    """Read the head and the body; None for what is no JSON."""
    head, _, body = path.read_text(encoding="utf-8", errors="replace").partition("\n")
    return _json(head), _json(body)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        return None


def _jetsam(body: Any) -> str:
    """Why the runner was ended; empty if it was not one of those."""
    for process in objects_at(body, "processes"):
        reason = text_at(process, "reason")
        if text_at(process, "name") == EXECUTABLE and reason.startswith(_MEMORY):
            return printable(reason, 40)
    return ""


def _why(body: Any) -> str:
    """Name the exception and signal, and what the system says of the end."""
    kind, signal = text_at(body, "exception", "type"), text_at(body, "exception", "signal")
    indicator = text_at(body, "termination", "indicator")
    told = [part for part in (kind, signal, indicator) if part]
    code = at(body, "termination", "code")
    if not told and code is not None:
        told = [f"termination code {code}"]
    return printable(", ".join(told), 120) or "no reason told"
