"""The commands as processes: Ctrl-C ends them with one line while they still start.

Python's own handler would show where in an import it struck. Each command sets one of its own when
it begins to work (`exporter.signals.terminable`). SIGTERM needs nothing here: until then the system
ends the process.
"""

from __future__ import annotations

import importlib
import os
import signal
from typing import Any


def sam_export() -> int:
    """Run `sam-export`; returns the exit status."""
    return _start("sam-export", "exporter.cli")


def sam_run() -> int:
    """Run `sam-run`; returns the exit status."""
    return _start("sam-run", "runtimes.cli")


def sam_bench() -> int:
    """Run `sam-bench`; returns the exit status."""
    return _start("sam-bench", "profiles.cli")


def _start(program: str, module: str) -> int:
    """Import a command by name, so that nothing is imported before the signal is set."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is ignored

        def end(number: int, frame: Any) -> None:
            # At once: what is raised in an import may be lost, or abort the process.
            os.write(2, f"{program}: interrupted\n".encode())
            os._exit(128 + number)

        signal.signal(signal.SIGINT, end)
    status: int = importlib.import_module(module).main()
    return status
