"""A session on several workers (`pytest -n 2`) or on one: what they share, what they hand over."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

WORKER = "PYTEST_XDIST_WORKER" in os.environ
LINES = pytest.StashKey[list[str]]()
"""In a config's stash: lines for the end of the output."""


def share_out_cores(config: pytest.Config) -> None:
    """Before the workers start: torch, and what tests start, take as many threads each."""
    workers = getattr(config.option, "numprocesses", None)
    if workers and not WORKER:
        cores = max((os.cpu_count() or 1) // workers, 1)
        os.environ.setdefault("OMP_NUM_THREADS", str(cores))


def shared_folder(factory: pytest.TempPathFactory) -> Path:
    """A folder of this session, the same for each of its workers."""
    own = factory.getbasetemp()
    return own.parent if WORKER else own
