"""What holds for every test."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from exporter.bundle.folder import Bundle
from tests.exports import Exports
from tests.workers import LINES, WORKER, share_out_cores, shared_folder

share_out_cores(os.environ)


def pytest_configure() -> None:
    """What tests start heeds SIGHUP and SIGINT, whatever started the tests.

    `nohup` and a script's `&` make a process ignore them, and what is ignored stays so in all that
    it starts; what has a handler here has the default there.
    """
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: None)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker's lines go to whoever started it."""
    if WORKER:
        session.config.workeroutput["lines"] = session.config.stash.get(LINES, [])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """A worker has ended, well or not."""
    lines = getattr(node, "workeroutput", {}).get("lines", [])
    node.config.stash.setdefault(LINES, []).extend(lines)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """How simulated phones ran their commands, and what was missing for the better way."""
    for line in config.stash.get(LINES, []):
        terminalreporter.write_line(line)


@pytest.fixture(autouse=True)
def nobodys_adb(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test reaches adb only by the private server's environment, never by forgetting it."""
    monkeypatch.setenv("SAM_EXPORT_ADB", "/no/adb/for/a/test/without/a/server")


@pytest.fixture(scope="session")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exports]:
    """The bundles of this session, whichever worker made them; whole at its end as at its start."""
    made = Exports(shared_folder(tmp_path_factory) / "exports")
    yield made
    made.check()


@pytest.fixture(scope="session")
def weights(exports: Exports) -> Path:
    """The demo model's checkpoint."""
    return exports.weights()


@pytest.fixture(scope="session")
def demo_bundle(exports: Exports) -> Callable[[str, str], Bundle]:
    """(target, precision) -> the demo model's bundle; shared, so no test may change it."""
    return exports.bundle
