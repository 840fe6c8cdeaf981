"""A session on several workers (`pytest -n 2`) or on one: what they share, what they hand over."""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from pathlib import Path

import pytest

WORKER = "PYTEST_XDIST_WORKER" in os.environ
LINES = pytest.StashKey[list[str]]()
"""In a config's stash: lines for the end of the output."""


def share_out_cores(environment: MutableMapping[str, str]) -> None:
    """For torch and for what tests start: both read it as they begin."""
    if WORKER:
        cores = (os.cpu_count() or 1) // int(environment["PYTEST_XDIST_WORKER_COUNT"])
        environment.setdefault("OMP_NUM_THREADS", str(max(cores, 1)))


def shared_folder(factory: pytest.TempPathFactory) -> Path:
    """A folder of this session, the same for each of its workers."""
    own = factory.getbasetemp()
    return own.parent if WORKER else own
