from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.runtimes.kotlin.kotlin_kit import PACKAGE, SCRATCH, environment, require_kotlin
from tests.unit.runtimes.segment_kit import run


@pytest.fixture(scope="session")
def built() -> Iterator[Path]:
    """The command, compiled with the tests."""
    require_kotlin()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment().items():
            patch.setenv(name, value)
        ran = run(PACKAGE / "compile", SCRATCH, "tests")
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert ran.stdout + ran.stderr == ""
        yield PACKAGE / "sam-segment"
