"""What the runner answers, and what is said of an answer that cannot be taken."""

from __future__ import annotations

import json

import pytest

from exporter.errors import RunnerError
from ios_harness.answers import FILE, RunnerAnswer, read_answer, thermal_status
from ios_harness.device_class import facts_of, judge
from ios_harness.errors import AnswerError, HangError
from ios_harness.transports import Identity
from runtimes.device import Placed

STATE = {
    "thermal": 0,
    "low_power": False,
    "battery_percent": 80,
    "charging": True,
    "free_bytes": 1 << 30,
}
FACTS = {
    "kind": "device",
    "model": "iPhone15,3",
    "system": "iOS",
    "version": "26.5",
    "build": "23F77",
    "abi": "arm64",
    "cores": 6,
    "memory_bytes": 6 << 30,
    "page_bytes": 16384,
}
GOOD = {"answer": 1, "request": "run-1", "facts": FACTS, "state": STATE, "runtimes": {"coreml": ""}}


def read(**changes) -> RunnerAnswer:
    """An answer with some fields changed; None takes one out."""
    data = {name: value for name, value in {**GOOD, **changes}.items() if value is not None}
    return read_answer({FILE: json.dumps(data).encode()}, "run-1")


def test_a_good_answer():
    row = {"name": "x", "operation": "ios17.conv", "unit": "neural engine", "cost": 0.5}
    answer = read(placement=[row], cold_load_ns=5, state_after={**STATE, "thermal": 2})
    assert answer.placement == (Placed("x", "ios17.conv", "neural engine", 0.5),)
    assert answer.notes() == ("throttled: thermal state nominal -> serious",)
    condition = answer.state.condition()
    assert condition.thermal_status == thermal_status(0)
    assert (condition.battery_percent, condition.charging, condition.notes) == (80, True, ())


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"answer": 2}, AnswerError, "speaks version 2, not 1: build and install the runner"),
        ({"answer": None}, AnswerError, "speaks version None, not 1"),
        ({"request": "run-2"}, AnswerError, "answered 'run-2', not what was asked"),
        ({"facts": None}, AnswerError, "not whole: answer is missing"),
        ({"state": {**STATE, "thermal": -1}}, AnswerError, "thermal"),
        (
            {"error": "no such file", "kind": "failed"},
            RunnerError,
            "the runner failed: no such file",
        ),
        ({"error": "calling x took long", "kind": "hung"}, HangError, "stopped itself: calling x"),
    ],
)
def test_an_answer_that_cannot_be_taken(changes, kind, words):
    with pytest.raises(kind, match=words) as raised:
        read(**changes)
    assert type(raised.value) is kind


@pytest.mark.parametrize("raw", [None, b"", b"[]", b"{", b"\xff"])
def test_what_is_no_answer(raw):
    with pytest.raises(AnswerError):
        read_answer({} if raw is None else {FILE: raw}, "run-1")


def test_a_state_that_tells_nothing():
    answer = read(state=dict.fromkeys(STATE), state_after=dict.fromkeys(STATE))
    assert answer.notes() == ()
    assert answer.state.condition().notes == ("the device tells no thermal state",)
    assert thermal_status(4) is None


def test_low_power_mode_that_was_switched_on_marks_the_run():
    answer = read(state_after={**STATE, "low_power": True, "battery_percent": 5})
    assert answer.notes() == ("throttled: low-power mode is on",)
    assert answer.state_after is not None
    assert answer.state_after.condition().notes == ("low-power mode is on", "the battery is low")


@pytest.mark.parametrize(
    ("kind", "model", "found"),
    [
        ("device", "iPhone15,3", "phone"),
        ("device", "iPad14,1", "phone"),
        ("device", "AppleTV14,1", "unknown"),
        ("mac", "Mac15,6", "unknown"),
        ("simulator", "iPhone17,1", "simulator"),
        ("simulated", "iPhone15,3", "simulated"),
    ],
)
def test_the_class_of_a_device(kind, model, found):
    assert judge({"kind": kind, "model": model})[0] == found


def test_the_facts_of_a_device():
    facts = facts_of(read().facts, Identity("U", model="iPhone 14 Pro"), "ios:U")
    assert (facts.device_class, facts.model) == ("phone", "iPhone 14 Pro (iPhone15,3)")
    assert (facts.system, facts.build, facts.memory_mb) == ("iOS 26.5", "23F77", 6144)
    assert facts.clusters[0].cores == (0, 1, 2, 3, 4, 5)
