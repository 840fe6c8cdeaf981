"""What is kept of an object's earlier frames, and which of it a frame sees. numpy only.

The room is bounded however long the video is: prompted frames, as many as the graph has slots; the
tracked frames that a rule can still reach; and, for whoever turns round, those about the first
prompt.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from exporter.bundle.preprocess import Floats
from exporter.bundle.video import VideoRule
from runtimes.tracking.pruning import kept_memories

V = TypeVar("V")


@dataclass(frozen=True)
class Seen:
    """A memory or a pointer that a frame sees, and its age as the graph takes it."""

    age: float
    value: Floats


@dataclass(frozen=True)
class View:
    """The frame that looks back.

    Attributes:
        frame: its number.
        step: 1 if the frames go forward, -1 backward: what was tracked on the other side is unseen.
        frames: in the whole video; None for a camera.
    """

    frame: int
    step: int = 1
    frames: int | None = None

    def distance(self, frame: int) -> int:
        """Count frames back to another one, as the frames go; negative ahead."""
        return (self.frame - frame) * self.step


@dataclass
class Bank:
    """One object's memories (T, C) and pointers (W,) by frame.

    Attributes:
        rule: the manifest's.
        turns: whether frames will be tracked in both directions from the first prompt.
    """

    rule: VideoRule
    turns: bool = False
    _prompted: dict[int, tuple[Floats, Floats]] = field(default_factory=dict)
    _memories: dict[int, Floats] = field(default_factory=dict)
    _pointers: dict[int, Floats] = field(default_factory=dict)
    _first: int | None = None

    def keep(self, frame: int, memory: Floats, pointer: Floats, *, prompted: bool) -> None:
        """Keep a frame; what was kept of it before is replaced."""
        stored = np.dtype(self.rule.stored)
        memory, pointer = memory.astype(stored), pointer.astype(stored)
        self._memories.pop(frame, None)
        self._pointers.pop(frame, None)
        if prompted:
            self._first = frame if self._first is None else self._first
            self._prompted[frame] = memory, pointer
            while len(self._prompted) > self.rule.memory_slots:
                del self._prompted[max(self._prompted, key=lambda each: abs(each - frame))]
        else:
            self._memories[frame] = memory
            self._pointers[frame] = pointer
        self._forget(self._memories, frame, self.rule.memory_frames)
        self._forget(self._pointers, frame, self.rule.pointer_frames)

    def _forget(self, kept: dict[int, Floats], frame: int, reach: int) -> None:
        """Drop frames that no later frame can see."""
        near = [frame] if self._first is None or not self.turns else [frame, self._first]
        for each in [e for e in kept if all(abs(e - centre) > reach for centre in near)]:
            del kept[each]

    @property
    def frames(self) -> tuple[int, ...]:
        """Frames of which anything is kept."""
        return tuple(sorted({*self._prompted, *self._memories, *self._pointers}))

    def memories(self, view: View) -> list[Seen]:
        """List the memories (T, C) that a frame sees, at most M, in the order of `Pruning`."""
        chosen = self._chosen(view)
        listed = [Seen(0.0, self._prompted[frame][0]) for frame in sorted(chosen)]
        near = self._near(view, self._memories, chosen, 0, self.rule.memory_frames)
        room = self._capacity - len(listed)
        listed += [Seen(float(age), near[age]) for age in sorted(near)[:room][::-1]]
        if self.rule.pruning is None:
            return listed
        kept = kept_memories([each.value for each in listed], self.rule.pruning)
        return [listed[i] for i in kept]

    def pointers(self, view: View) -> list[Seen]:
        """List the pointers (W,) that a frame sees, at most P: prompted frames, then the newest."""
        chosen = self._chosen(view)
        past = [frame for frame in sorted(chosen) if view.distance(frame) >= 0]
        ages = [(abs(view.distance(frame)), self._prompted[frame][1]) for frame in past]
        longest = self.rule.pointer_scale
        if view.frames is not None:
            longest = max(1.0, min(longest, view.frames - 1.0))
        reach = int(min(self.rule.pointer_frames, longest))
        near = self._near(view, self._pointers, chosen, 1, reach)
        ages += [(age, near[age]) for age in sorted(near)]
        return [Seen(age / longest, value) for age, value in ages[: self.rule.pointer_slots]]

    @property
    def _capacity(self) -> int:
        """Memories that may be listed: those that are pruned need no slot."""
        pruning, slots = self.rule.pruning, self.rule.memory_slots
        if pruning is None or slots + pruning.dropped < pruning.listed:
            return slots
        return slots + pruning.dropped

    def _chosen(self, view: View) -> set[int]:
        """Choose the prompted frames whose memories have a slot: all, or the closest ones."""
        tracked = sum(1 <= view.distance(f) <= self.rule.memory_frames for f in self._memories)
        room = max(self.rule.prompted_slots, self._capacity - tracked)
        return closest(self._prompted, view, room)

    def _near(
        self, view: View, tracked: Mapping[int, Floats], chosen: set[int], part: int, reach: int
    ) -> dict[int, Floats]:
        """Map ages 1..reach to tracked frames, and to prompted ones that have no slot as such."""
        others = {f: both[part] for f, both in self._prompted.items() if f not in chosen}
        by_age = {view.distance(frame): value for frame, value in {**others, **tracked}.items()}
        return {age: value for age, value in by_age.items() if 1 <= age <= reach}


def closest(frames: Iterable[int], view: View, most: int) -> set[int]:
    """Choose prompted frames: the closest before, the closest after, then by distance.

    As SAM 2's `max_cond_frames_in_attn` does.
    """
    left = sorted(frames)
    if len(left) <= most:
        return set(left)
    before = [f for f in left if f < view.frame][-1:]
    after = [f for f in left if f >= view.frame][:1]
    rest = sorted(left, key=lambda f: abs(f - view.frame))
    return set(list(dict.fromkeys([*before, *after, *rest]))[:most])
