"""What a frame sees of earlier ones, beside the published predictor's rules written out at length.

The reference keeps every frame for ever, as that predictor does; the bank may not.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from runtimes.tracking.bank import Bank, View, closest
from tests.unit.video_bundle import RULE


def value(frame: int) -> np.ndarray:
    return np.full((2, 4), frame, np.float32)


def pointer(frame: int) -> np.ndarray:
    return np.full(4, 1000 + frame, np.float32)


def published(prompted, tracked, view: View, limit: int = -1):
    """(age, frame) of the memories and of the pointers, as SAM 2's video predictor lists them."""
    chosen = set(prompted)
    if limit >= 0:
        chosen = closest(prompted, view, limit)
    others = {*tracked, *(set(prompted) - chosen)}
    back = [view.frame - age * view.step for age in range(1, 7)]
    memories = {(0.0, frame) for frame in chosen}
    memories |= {(float(age), frame) for age, frame in enumerate(back, 1) if frame in others}
    most = 16 if view.frames is None else min(view.frames, 16)
    pointers = set()
    for frame in chosen:
        if (view.frame - frame) * view.step >= 0:
            pointers.add((abs(view.frame - frame) / (most - 1), frame))
    for age in range(1, most):
        frame = view.frame - age * view.step
        if frame in others:
            pointers.add((age / (most - 1), frame))
    return memories, pointers


def seen(bank: Bank, view: View):
    memories, pointers = bank.memories(view), bank.pointers(view)
    assert len(memories) <= bank.rule.memory_slots
    assert len(pointers) <= bank.rule.pointer_slots
    return (
        {(one.age, int(one.value[0, 0])) for one in memories},
        {(one.age, int(one.value[0]) - 1000) for one in pointers},
    )


@pytest.mark.parametrize("frames", [None, 4, 10, 16, 100])
def test_forward_from_one_prompt_as_published(frames):
    bank, tracked = Bank(RULE), []
    bank.keep(0, value(0), pointer(0), prompted=True)
    for frame in range(1, 60 if frames is None else frames):
        view = View(frame, 1, frames)
        assert seen(bank, view) == published([0], tracked, view)
        bank.keep(frame, value(frame), pointer(frame), prompted=False)
        tracked.append(frame)
        # A correction looks at the same frame again, and may not see itself.
        assert seen(bank, view) == published([0], tracked, view)


@pytest.mark.parametrize(
    "skipped", [{3, 4}, set(range(2, 9)), {1, 5, 9, 13, 17}, set(range(5, 40))]
)
def test_skipped_frames_keep_their_distance(skipped):
    bank, tracked = Bank(RULE), []
    bank.keep(0, value(0), pointer(0), prompted=True)
    for frame in sorted(set(range(1, 60)) - skipped):
        assert seen(bank, View(frame)) == published([0], tracked, View(frame))
        bank.keep(frame, value(frame), pointer(frame), prompted=False)
        tracked.append(frame)


def test_back_from_the_first_prompt_what_was_tracked_after_it_counts():
    bank, tracked = Bank(RULE, turns=True), []
    bank.keep(30, value(30), pointer(30), prompted=True)
    for frame in range(31, 90):
        bank.keep(frame, value(frame), pointer(frame), prompted=False)
        tracked.append(frame)
    for frame in range(29, -1, -1):
        view = View(frame, -1, 90)
        assert seen(bank, view) == published([30], tracked, view)
        bank.keep(frame, value(frame), pointer(frame), prompted=False)
        tracked.append(frame)


@pytest.mark.parametrize("prompted", [[0, 2], [0, 9], [0, 3, 20], [0, 1, 2, 3]])
def test_with_room_for_them_several_prompted_frames_are_as_published(prompted):
    rule = replace(RULE, memory_slots=10, pointer_slots=19, prompted_slots=4)
    bank, tracked, kept = Bank(rule), [], []
    for frame in range(50):
        if frame:
            assert seen(bank, View(frame)) == published(kept, tracked, View(frame))
        bank.keep(frame, value(frame), pointer(frame), prompted=frame in prompted)
        (kept if frame in prompted else tracked).append(frame)


def test_without_room_the_closest_prompted_frame_keeps_its_slot():
    bank = Bank(RULE)
    for frame in range(30):
        bank.keep(frame, value(frame), pointer(frame), prompted=frame in (0, 20))
    memories, pointers = seen(bank, View(30))
    assert (0.0, 20) in memories
    assert len(memories) == 7
    assert {frame for _, frame in memories} == {20, *range(24, 30)}
    assert (10 / 15, 20) in pointers


def test_a_frame_that_was_tracked_and_is_prompted_counts_once():
    bank = Bank(RULE)
    bank.keep(0, value(0), pointer(0), prompted=True)
    bank.keep(1, value(1), pointer(1), prompted=False)
    bank.keep(1, value(1), pointer(1), prompted=True)
    memories, pointers = seen(bank, View(2))
    assert memories == {(0.0, 0), (0.0, 1)}
    assert sorted(frame for _, frame in pointers) == [0, 1]


def test_fewer_slots_keep_the_prompted_frame_and_the_newest():
    bank = Bank(replace(RULE, memory_slots=2, pointer_slots=3))
    for frame in range(9):
        bank.keep(frame, value(frame), pointer(frame), prompted=frame == 0)
    memories, pointers = seen(bank, View(9))
    assert memories == {(0.0, 0), (1.0, 8)}
    assert {frame for _, frame in pointers} == {0, 8, 7}


@pytest.mark.parametrize("turns", [False, True])
def test_the_bank_of_a_long_video_stays_small(turns):
    bank = Bank(RULE, turns)
    for frame in range(2000):
        bank.keep(frame, value(frame), pointer(frame), prompted=frame % 100 == 0)
    # 16 that a pointer is kept of, as many about the first prompt, and prompted ones.
    assert len(bank.frames) <= (31 if turns else 16) + 7
    assert len(bank._memories) <= (13 if turns else 7)


def test_what_is_stored_has_the_rules_type():
    bank = Bank(replace(RULE, stored="float16"))
    bank.keep(0, value(0), pointer(0), prompted=True)
    assert bank.memories(View(1))[0].value.dtype == np.float16
