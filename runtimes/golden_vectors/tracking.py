"""Objects through frames: what the host asks of the graphs, over the stand-ins of stand_ins.py.

README.md says how the topic is written.
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from exporter.bundle.folder import Bundle
from exporter.bundle.preprocess import Bools, upscale
from exporter.bundle.prompts import Prompts
from exporter.errors import RequestError
from runtimes.golden_vectors.networks import HOST, NETWORKS, described, manifest, specs
from runtimes.golden_vectors.seeds import MARGIN, first_clear
from runtimes.golden_vectors.stand_ins import StandIn, digest, picture, wholes
from runtimes.golden_vectors.store import Case, Topic
from runtimes.tracker import Tracker
from runtimes.tracking.result import ObjectPrompt, Tracked


def _disc(width: int, height: int, x: float, y: float, radius: float) -> Bools:
    rows, columns = np.mgrid[:height, :width] + 0.5
    inside: Bools = (columns - x) ** 2 + (rows - y) ** 2 < radius**2
    return inside


_TWO = ((5.5, 4.0), (9.0, 2.5))
GIVEN: dict[str, Prompts | Bools] = {
    "click": Prompts(((5.5, 4.0),), (1,)),
    "other": Prompts(((3.0, 9.25),), (1,)),
    "two": Prompts(_TWO, (1, 0)),
    "three": Prompts((*_TWO, (8.0, 8.0)), (1, 0, 1)),
    "five": Prompts(((1.0, 1.0),) * 5, (1,) * 5),
    "outside": Prompts(((99.0, 1.0),), (1,)),
    "nothing": Prompts(),
    "box": Prompts(box=(2.0, 1.5, 9.0, 10.0)),
    "disc": _disc(16, 12, 6.6, 5.4, 4.3),
    "upright": _disc(10, 14, 5.3, 6.1, 4.1),
    "empty": np.zeros((12, 16), np.bool_),
}
"""Prompts by the names that steps have for them; an array is a mask."""
Step = dict[str, Any]


def _start(frame: int = 0, frames: int | None = None) -> Step:
    return {"do": "start", "frame": frame, "frames": frames}


def _add(name: str, prompt: str = "click") -> Step:
    return {"do": "add", "name": name, "prompt": prompt}


def _correct(name: str, prompt: str = "other") -> Step:
    return {"do": "correct", "name": name, "prompt": prompt}


def _remove(name: str) -> Step:
    return {"do": "remove", "name": name}


def _track(*frames: int, **more: Any) -> list[Step]:
    return [{"do": "track", "frame": frame, **more} for frame in frames]


@dataclass(frozen=True)
class Followed:
    """A case.

    Attributes:
        network: name of it.
        steps: what a caller does.
        turns: see `Tracker`.
        broken: an output that is no number; empty for none.
        max_objects: see `Tracker`.
    """

    network: str
    steps: list[Step]
    turns: bool = False
    broken: str = ""
    max_objects: int = 3


CASES: dict[str, Followed] = {
    "a click, and every slot is filled": Followed(
        "full", [_start(), _add("a"), *_track(*range(1, 18))]
    ),
    "a box, in a clip of six frames": Followed(
        "full", [_start(0, 6), _add("a", "box"), *_track(*range(1, 6))]
    ),
    "two clicks and skipped frames": Followed(
        "full", [_start(3), _add("a", "two"), *_track(4, 7, 8, 15, 16)]
    ),
    "forward, then backward": Followed(
        "full", [_start(5, 9), _add("a"), *_track(6, 7, 8, 4, 3, 1)], turns=True
    ),
    "backward, without what is kept for it": Followed(
        "few",
        [
            _start(9), _add("a"), *_track(10, 11), *_track(12, prompts={"a": "other"}), *_track(8),
            *_track(7, prompts={"a": "box"}), *_track(6),
        ],
    ),
    "backward, with what is kept for it": Followed(
        "pooled", [_start(5), _add("a"), *_track(6, 7, 8, 9, 10, 4, 3, 2)], turns=True
    ),
    "corrections": Followed(
        "full",
        [
            _start(), _add("a"), _correct("a"), *_track(1), _correct("a"), _correct("a", "click"),
            *_track(2), _correct("a", "box"), _correct("a", "box"), _correct("b"), *_track(3, 4),
        ],
    ),
    "prompts in the middle": Followed(
        "full",
        [
            _start(), _add("a"), *_track(1), *_track(2, prompts={"a": "box"}), *_track(3),
            *_track(4, prompts={"a": "disc"}), _correct("a"), *_track(5, 6, 13),
        ],
    ),
    "several objects": Followed(
        "full",
        [
            _start(), _add("a"), _add("b", "other"), *_track(1), _add("c", "box"), _add("a"),
            _add("d"), *_track(2), _remove("a"), _remove("a"), *_track(3, objects=["b"]),
            _correct("c"), *_track(4), *_track(5, prompts={"a": "two", "b": "disc"}), *_track(6),
            {"do": "reset"}, *_track(7), _start(7), _add("c"), *_track(8),
        ],
    ),
    "masks": Followed(
        "full",
        [
            _start(), _add("a", "disc"), _add("b", "empty"), _add("c", "upright"), *_track(1),
            _correct("b"), *_track(2),
        ],
    ),
    "wrong requests": Followed(
        "full",
        [
            *_track(1), _add("a"), _start(0, 0), _start(2), _add(""), _add("a", "nothing"),
            _add("a", "outside"), _add("a", "five"), _add("a"), *_track(2),
            *_track(3, size=(8, 8)), *_track(3, objects=["b"]), *_track(3),
        ],
    ),
    "a memory that is no number": Followed(
        "full", [_start(), _add("a"), *_track(1)], broken="memory"
    ),
    "a pointer that is no number": Followed(
        "full", [_start(), _add("a")], broken="object_pointers"
    ),
    "one memory, then several": Followed(
        "pooled", [_start(), _add("a"), _add("b", "box"), *_track(1, 2, 3, 4, 9, 10)]
    ),
    "more prompted frames than slots": Followed(
        "pooled",
        [
            _start(0, 12), _add("a"), *_track(1, prompts={"a": "other"}), *_track(2),
            *_track(3, prompts={"a": "upright"}), *_track(4, 5),
            *_track(6, prompts={"a": "other"}), *_track(7, 4),
        ],
    ),
    "memories that are alike": Followed("pruned", [_start(), _add("a"), *_track(*range(1, 12))]),
    "memories that are alike, two prompted": Followed(
        "pruned",
        [
            _start(), _add("a"), *_track(*range(1, 6)), *_track(6, prompts={"a": "other"}),
            *_track(*range(7, 11)),
        ],
    ),
    "fewer slots": Followed(
        "few",
        [
            _start(), _add("a", "two"), _add("b", "three"),
            *_track(1, 2, 3), *_track(4, prompts={"a": "disc"}), *_track(5, 6),
        ],
    ),
}  # fmt: skip


def tracking() -> Topic:
    """The prompts, the networks, then the cases over them."""
    topic = Topic("tracking")
    topic.add("prompts", kind="prompts", **{name: _given(each) for name, each in GIVEN.items()})
    known: Case = {}
    for name, network in NETWORKS.items():
        told = described(network)
        topic.add(name, kind="network", **{k: v for k, v in told.items() if known.get(k) != v})
        known = known or told
    for name, case in CASES.items():
        salt, steps = first_clear(partial(_run, case), 1)
        topic.add(
            name, kind="frames", network=case.network, turns=case.turns, broken=case.broken,
            max_objects=case.max_objects, salt=salt, steps=steps,
        )  # fmt: skip
    return topic


def _run(case: Followed, salt: int) -> tuple[tuple[int, list[Case]], bool]:
    """Follow a case; says whether no mask is near its threshold."""
    network = NETWORKS[case.network]
    calls: list[str] = []
    by_name = {spec.name: StandIn(spec, salt, calls, case.broken) for spec in specs(network)}
    clear = True
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder) / network.video.host_data, allow_pickle=False, **HOST)
        tracker = Tracker(
            Bundle(Path(folder), manifest(network)), load=by_name.__getitem__, turns=case.turns,
            max_objects=case.max_objects,
        )  # fmt: skip
        steps = []
        for step in case.steps:
            calls.clear()
            try:
                found = take(tracker, step, network.size)
                told: Case = {"found": "; ".join(map(_told, found))} if found else {}
                clear &= all(map(_is_clear, found))
            except RequestError as error:
                told = {"error": type(error).__name__, "says": re.split("[:;]", str(error))[0]}
            if calls:
                told["calls"] = "; ".join(calls)
            steps.append({k: v for k, v in step.items() if v is not None} | told)
    return (salt, steps), clear


def take(tracker: Tracker, step: Step, size: tuple[int, int]) -> list[Tracked]:
    """Take one step; returns what was found."""
    name = step.get("name", "")
    if step["do"] == "start":
        tracker.start(picture(step["frame"], *size), step["frame"], step.get("frames"))
        return []
    if step["do"] == "add":
        return [tracker.show(name, _prompt(step["prompt"]))]
    if step["do"] == "correct":
        given = _prompt(step["prompt"]).prompts
        return [tracker.correct(name, given.points or None, given.labels, given.box)]
    if step["do"] == "track":
        prompts = {each: _prompt(given) for each, given in step.get("prompts", {}).items()}
        frame = picture(step["frame"], *step.get("size", size))
        return list(tracker.track(frame, step["frame"], prompts, step.get("objects")).values())
    if step["do"] == "remove":
        tracker.remove(name)
    else:
        tracker.reset()
    return []


def _prompt(name: str) -> ObjectPrompt:
    given = GIVEN[name]
    return ObjectPrompt(given) if isinstance(given, Prompts) else ObjectPrompt(mask=given)


def _told(found: Tracked) -> str:
    """Write what was found of an object as README.md says."""
    score, iou = wholes([found.score, found.iou])
    low = digest(wholes(found.low_res_mask))
    there = "present" if found.present else "absent"
    how = "prompted" if found.prompted else "tracked"
    return f"{found.name} {there} {how} {score} {iou} {low:08x} {found.mask.sum()}"


def _is_clear(found: Tracked) -> bool:
    logits = upscale(found.low_res_mask[None], found._where, found._rule.upscale)
    return bool(np.abs(logits - found._rule.threshold).min() > MARGIN)


def _given(given: Prompts | Bools) -> Case:
    return {"given": asdict(given)} if isinstance(given, Prompts) else {"mask": given}
