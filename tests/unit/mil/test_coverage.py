from __future__ import annotations

import importlib

import pytest

from runtimes.engines.mil.registry import EXACT, OPERATIONS

# Each case's program is checked to hold its operation (`building.run_cases`).
MODULES = ("activation", "constexpr", "conv", "elementwise", "image", "index", "linear", "norm")
MODULES += ("reduce", "shape")


def _tested():
    cases = [
        each
        for name in MODULES
        for each in importlib.import_module(f"tests.unit.mil.test_{name}").CASES
    ]
    return {each.operation for each in cases}


@pytest.mark.parametrize("operation", sorted(OPERATIONS))
def test_operation_has_a_case(operation):
    assert operation in _tested()


def test_exact_operations_exist():
    assert not EXACT - OPERATIONS.keys()
