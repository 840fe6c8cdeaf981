from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.runtimes.swift.swift_kit import SCRATCH, require_swift, swift


@pytest.fixture(scope="session")
def built() -> Path:
    """The command, built with the tests."""
    require_swift()
    ran = swift("build", "--build-tests")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "warning:" not in ran.stdout + ran.stderr
    return SCRATCH / "debug" / "sam-segment"
