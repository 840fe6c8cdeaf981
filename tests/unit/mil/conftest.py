from __future__ import annotations

import pytest

from tests.unit.mil.building import run_cases


@pytest.fixture(scope="module")
def results(request, tmp_path_factory):
    """What the interpreter makes of the module's `CASES`, by their names."""
    return run_cases(request.module.CASES, tmp_path_factory.mktemp("packages"))
