from __future__ import annotations

import functools

import numpy as np
import pytest

from runtimes.cli import main
from tests.unit.tiny_volume import build


@pytest.fixture(scope="session")
def volume_folder(tmp_path_factory):
    """A sealed tiny bundle for volumes; shared, so no test may change it."""
    folder = tmp_path_factory.mktemp("bundles") / "tiny-volume"
    build(folder)
    return folder


@pytest.fixture
def run(volume_folder, command_on_tiny):
    """`sam-run` on it, beside `dog.png`: exit status, stdout, stderr."""
    return functools.partial(command_on_tiny(main), bundle=volume_folder)


@pytest.fixture
def refused(run, tmp_path):
    """Run what is wrong: one line, status 2, nothing written; returns the line."""

    def call(*arguments, **options):
        before = sorted(tmp_path.iterdir())
        status, out, err = run(*arguments, **options)
        assert (status, out) == (2, ""), err
        assert err.startswith("sam-run: error: ")
        assert err.count("\n") == 1
        assert sorted(tmp_path.iterdir()) == before
        return err

    return call


@pytest.fixture
def values():
    """A volume longer than the cube along one axis and shorter along another."""
    return np.random.default_rng(0).integers(-50, 200, (40, 16, 11)).astype(np.int16)
