"""The commands as processes: Ctrl-C ends them without a word while they still start.

Python's own handler would show where in an import it struck. Each command sets one of its own when
it begins to work (`exporter.signals.terminable`). SIGTERM needs nothing here: until then the system
ends the process.
"""

from __future__ import annotations

import importlib
import signal


def sam_export() -> int:
    """Run `sam-export`; returns the exit status."""
    return _start("exporter.cli")


def sam_run() -> int:
    """Run `sam-run`; returns the exit status."""
    return _start("runtimes.cli")


def sam_bench() -> int:
    """Run `sam-bench`; returns the exit status."""
    return _start("profiles.cli")


def _start(module: str) -> int:
    """Import a command by name, so that nothing is imported before the signal is set."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is ignored
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    status: int = importlib.import_module(module).main()
    return status
