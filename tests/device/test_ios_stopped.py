"""`sam-bench` on simulated devices, stopped at any moment."""

from __future__ import annotations

import signal

import pytest

from tests.fakes import signals as loop
from tests.ios_runner import built_runner
from tests.unit.tiny_bundle import build


@pytest.mark.parametrize(("command", "number"), [("iphone", "INT"), ("simulator", "TERM")])
def test_it_ends_with_one_line_and_nothing_goes_on(command, number, tmp_path) -> None:
    """A few moments; `python -m tests.fakes.signals --command iphone` tries as many as you like."""
    built_runner()
    build(tmp_path / "tiny")
    place = loop.Place(tmp_path, (tmp_path / "tiny",), loop.apple_world(tmp_path))
    tally = loop.run(command, place, 4, signal.Signals[f"SIG{number}"], undisturbed=1)
    assert tally.faults == []
    assert sum(tally.ended.values()) == 4
