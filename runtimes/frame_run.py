"""Tracked frames in one process on this machine, by the tracker that `sam-run` has.

    python -m runtimes.frame_run < JOB.json

loads a video bundle, fills a bank for every object, tracks them from frame to frame, and prints the
times as one line of JSON: `runs`, the fields of `GraphRun`s as `runtimes.frames` lists them. The
picture is the goldens', already resized.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from itertools import count
from typing import Any

import numpy as np

from exporter import child
from exporter.bundle.folder import Bundle
from exporter.bundle.layouts import Array
from exporter.bundle.preprocess import Floats, Frame
from exporter.bundle.reading import parse
from exporter.bundle.video import MEMORY_ATTENTION, VideoRule
from runtimes.device import GraphRun, Method
from runtimes.engines import LoadedGraph
from runtimes.frames import FramePart, frame_count, frame_runs, frame_title
from runtimes.host_run import open_here, time_calls
from runtimes.process import clock_ns, hold_to, peak_bytes
from runtimes.remote.frames import MEMORIES, POINTERS, frame_arrays
from runtimes.segmenters.slots import slot_rule
from runtimes.tracking.bank import Bank, View
from runtimes.tracking.decide import Rules
from runtimes.tracking.follow import Followed, Network, Scene
from runtimes.tracking.graphs import ENCODER, VideoGraphs, read_host_data, video_rule

_NS_IN_MS = 10**6
_ANYWHERE = Frame((0, 0), (0, 0), 0)
"""Where the picture lies in the input: only prompts ask for it."""


@dataclass(frozen=True)
class FrameJob:
    """The job of one process.

    Attributes:
        folder: the bundle; the parent has checked its hashes.
        objects: tracked on every frame.
        method: how it is timed; the parent has resolved its cores.
        cores: numbers to hold the process to; empty for all.
    """

    folder: str
    objects: int
    method: Method
    cores: tuple[int, ...] = ()


def run_frames(job: FrameJob) -> tuple[GraphRun, ...]:
    """Load every graph and time frames with a full bank; see `runtimes.frames.frame_runs`."""
    affinity = hold_to(job.cores)
    bundle, kind, runtime = open_here(job.folder)
    given = {name: _given(bundle, name) for name in (ENCODER, MEMORY_ATTENTION)}
    before, loads = peak_bytes(), dict[str, int]()

    def load(name: str) -> LoadedGraph:
        start = clock_ns()
        graph = bundle.manifest.graph(name)
        loaded = kind.open(bundle.file(name), graph, job.method.threads)
        loads[name] = clock_ns() - start
        return loaded

    graphs = VideoGraphs.open(bundle, load=load)
    video = _Video(bundle, graphs, given, job.objects)
    method = replace(job.method, runs=frame_count(job.method.runs, job.objects))
    samples = time_calls(video.track, method)
    title, load_ns = frame_title(job.objects), sum(loads.values())
    whole = replace(samples.run(title, runtime, load_ns, job.method, before), affinity=affinity)
    counted = video.spent[len(samples.warmup) :]
    parts = (
        FramePart(name, loads[name], first, tuple(frame[name] for frame in counted))
        for name, first in video.spent[0].items()
    )
    return frame_runs(whole, job.objects, parts)


def _given(bundle: Bundle, name: str) -> dict[str, Array]:
    spec = bundle.manifest.graph(name).spec
    return frame_arrays(bundle.goldens(), spec, video_rule(bundle))


class _Video:
    """Objects whose banks are full, and a camera that shows the same picture again and again.

    Attributes:
        spent: graph -> nanoseconds of all objects together, for each frame.
    """

    def __init__(
        self,
        bundle: Bundle,
        graphs: VideoGraphs,
        given: Mapping[str, Mapping[str, Array]],
        objects: int,
    ) -> None:
        rule, host = video_rule(bundle), read_host_data(bundle)
        rules = Rules(bundle.manifest.mask, rule, host.no_pointer)
        network = Network(graphs, slot_rule(bundle.manifest), rules, host)
        bank, image = given[MEMORY_ATTENTION], given[ENCODER]
        self.spent: list[dict[str, int]] = []
        self._graphs, self._image = graphs, image["image"]
        self._resized: Floats = image.get("resized_size", np.zeros((1, 2), np.float32))
        first = rule.prompted_slots + max(rule.memory_frames, rule.pointer_frames)
        self._numbers = count(first)
        self._objects = [
            Followed(f"object {at}", network, _full(rule, bank, first)) for at in range(objects)
        ]

    def track(self) -> None:
        """Track every object on one more frame, and remember it."""
        self._graphs.ms.clear()
        encoded = self._graphs.encode(self._image, self._resized)
        scene = Scene(View(next(self._numbers)), encoded, _ANYWHERE)
        for one in self._objects:
            one.track(scene)
            one.leave(scene)
        self.spent.append({n: round(ms * _NS_IN_MS) for n, ms in self._graphs.ms.items()})


def _full(rule: VideoRule, given: Mapping[str, Array], frames: int) -> Bank:
    """Make a bank of so many frames before, the first of them prompted."""
    bank, memories, pointers = Bank(rule), given[MEMORIES][0], given[POINTERS][0]
    for frame in range(frames):
        memory, pointer = (kept[frame % len(kept)] for kept in (memories, pointers))
        bank.keep(frame, memory, pointer, prompted=frame < rule.prompted_slots)
    return bank


def work(data: Any) -> dict[str, Any]:
    """Do a `FrameJob` (JSON); returns `runs`, a list of `GraphRun`s as JSON."""
    return {"runs": [asdict(run) for run in run_frames(parse(FrameJob, data, "job"))]}


if __name__ == "__main__":
    sys.exit(child.serve(work))
