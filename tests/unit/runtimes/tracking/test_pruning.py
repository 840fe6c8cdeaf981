"""Frames that Surgical SAM 2's published code keeps."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from exporter.bundle.video import Pruning
from runtimes.tracking.bank import Bank, View
from runtimes.tracking.pruning import kept_memories
from tests.unit.video_bundle import RULE

CASES = Path(__file__).parents[3] / "conformance" / "cases"
CASE = json.loads((CASES / "surgical_sam2.json").read_text())["frame_selection"]["cases"]
SURGICAL = Pruning(listed=7, dropped=2)


def tokens(name: str) -> list[np.ndarray]:
    """(frames, 64, 4, 4) -> a (16, 64) memory for each frame."""
    with np.load(CASES / "surgical_sam2.npz") as arrays:
        stored = arrays[f"frame_selection.{name}.memories"]
    return [each.reshape(64, 16).T for each in stored]


@pytest.mark.parametrize("name", CASE)
def test_the_published_choice(name):
    case, memories = CASE[name], tokens(name)
    listed = case["list_before_pruning"]
    kept = kept_memories([memories[frame] for frame in listed], SURGICAL)
    assert [listed[i] for i in kept] == case["chosen"]


@pytest.mark.parametrize("name", CASE)
def test_a_bank_lists_and_prunes_as_published(name):
    case, memories = CASE[name], tokens(name)
    rule = replace(RULE, memory_slots=6, pruning=SURGICAL)
    bank, pointer = Bank(rule), np.zeros(4, np.float32)
    for frame, memory in enumerate(memories):
        bank.keep(frame, memory, pointer, prompted=frame in case["conditioning_frames"])
    seen = bank.memories(View(case["frame"]))
    frames = [frame for one in seen for frame, m in enumerate(memories) if (one.value == m).all()]
    assert frames == case["chosen"]
    prompted = case["conditioning_frames"]
    ages = [0 if frame in prompted else case["frame"] - frame for frame in frames]
    assert [one.age for one in seen] == ages


def test_of_equally_alike_memories_the_first_goes():
    same = [np.ones((4, 4), np.float32)] * 7
    assert kept_memories(same, SURGICAL) == [0, 3, 4, 5, 6]


def test_a_memory_of_zeros_is_like_nothing():
    memories = [np.ones((4, 4), np.float32)] * 7
    memories[1] = np.zeros((4, 4), np.float32)
    assert kept_memories(memories, SURGICAL) == [0, 1, 4, 5, 6]
