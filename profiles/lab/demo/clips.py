"""Judge the demo's memory on held-out clips: `python -m profiles.lab.demo.clips --write`."""

from __future__ import annotations

import argparse
import hashlib
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open

from exporter.bundle.folder import open_bundle
from exporter.bundle.preprocess import Floats, fit, upscaled_masks
from exporter.demo import network
from exporter.following import Rules, follow
from exporter.goldens import run
from exporter.graphs import graphs_of
from exporter.host_data import host_data
from exporter.host_rules import prompt_rule
from exporter.models.layers import freeze
from exporter.scenes.clip import Clip, clip
from exporter.scenes.prompts import Mask, Point, deepest_pixel
from exporter.scenes.scene import HELD_OUT
from exporter.variants import load_variant
from exporter.variants._video import with_memory
from profiles.lab.bench.machine import circumstances
from profiles.lab.demo.evaluate import Model, Prompt, best_of_three, iou
from profiles.lab.steps import write_page
from runtimes.tracker import open_tracker

SIZES = ((192, 192), (240, 320), (256, 192), (180, 320), (320, 320))
"""Height and width of the clips, in turn."""
FRAMES = 20
WHOLE = 0.9
"""Least share of an object that is seen where it counts as not hidden."""

KEPT = "image demo, the first frame's mask kept"
AGAIN = "image demo, the first frame's click on every frame"
FED = "no memory: the last mask as `mask_input`"
FED_CLICK = "no memory: the same and a click at its deepest pixel"
MEMORY = "memory"
METHODS = (KEPT, AGAIN, FED, FED_CLICK, MEMORY)
ALL, SEEN, PART, ABSENT, BACK = (
    "all frames", "seen whole", "hidden in part", "not there", "after coming back",
)  # fmt: skip
COLUMNS = (ALL, SEEN, PART, ABSENT, BACK)


@dataclass(frozen=True)
class Asked:
    """A clip and the objects asked for: number -> the click on its first frame."""

    clip: Clip
    clicks: Mapping[int, Point]


@dataclass(frozen=True)
class Score:
    """J of a method for an object on a frame, and the columns that it counts in."""

    method: str
    place: tuple[int, int]
    columns: tuple[str, ...]
    value: float


def asked(seed: int, size: tuple[int, int], frames: int) -> Asked:
    """Compose a clip, and click every object that its first frame shows well."""
    made = clip(seed, *size, frames)
    clicks = {n: deepest_pixel(made.owners[0] == n) for n in made.clear()}
    return Asked(made, clicks)


class Unremembering:
    """The image demo on a clip, in every way that needs no memory."""

    def __init__(self) -> None:
        self.model = Model(network.load())

    def masks(self, given: Asked) -> Iterator[tuple[int, str, int, Mask]]:
        """Yield frame, method, object and its mask, from the second frame on."""
        latest: dict[tuple[str, int], Floats] = {}
        for at, picture in enumerate(given.clip.frames):
            self.model.set_image(picture)
            for number, click in given.clicks.items():
                for method in METHODS[:-1]:
                    before = latest.get((method, number))
                    low = self._answer(method, click, before)
                    latest[method, number] = low
                    if at:
                        yield at, method, number, self.model.upscale(low)

    def _answer(self, method: str, click: Point, before: Floats | None) -> Floats:
        first = Prompt(((click, 1),))
        if before is None or method == AGAIN:
            return self._predict(first)
        if method == KEPT:
            return before
        mask = self.model.upscale(before)
        if method == FED_CLICK and mask.any():
            return self._predict(Prompt(((deepest_pixel(mask), 1),), mask=before))
        return self._predict(Prompt(mask=before))

    def _predict(self, prompt: Prompt) -> Floats:
        found = self.model.predict(prompt)
        return found.low_res_masks[best_of_three(found.iou_predictions)]


class Remembering:
    """The graphs of the video in torch; a frame is encoded once for all objects."""

    def __init__(self, memory: Path) -> None:
        sam = freeze(network.load_video(memory))
        variant = with_memory(load_variant("demo"))
        prompts = prompt_rule(variant)
        if prompts is None or variant.video is None:
            raise TypeError("the demo takes prompts and has a memory")
        graphs = graphs_of(sam, variant, prompts)
        self.graphs = {graph.spec.name: graph for graph in graphs}
        pointer = host_data(sam)["no_object_pointer"]
        self.rules = Rules(variant.preprocess, prompts, variant.mask, variant.video, pointer)
        self.encoded: dict[bytes, Mapping[str, Floats]] = {}

    def masks(self, given: Asked) -> Iterator[tuple[int, str, int, Mask]]:
        """See `Unremembering.masks`."""
        self.encoded.clear()
        height, width = given.clip.owners.shape[1:]
        where = fit(width, height, self.rules.preprocess)
        for number, click in given.clicks.items():
            steps = follow(self._run, self.rules, list(given.clip.frames), click)
            for at, step in enumerate(steps):
                if at:
                    mask = upscaled_masks(step.logits[None], where, self.rules.mask)[0]
                    yield at, MEMORY, number, mask

    def _run(self, name: str, given: Mapping[str, Floats]) -> Mapping[str, Floats]:
        if name != "image_encoder":
            return run(self.graphs[name], given)
        key = hashlib.sha256(given["image"].tobytes()).digest()
        if key not in self.encoded:
            self.encoded[key] = run(self.graphs[name], given)
        return self.encoded[key]


class Lowered:
    """A bundle and the tracker."""

    def __init__(self, folder: Path) -> None:
        self.name = folder.name
        self.tracker = open_tracker(open_bundle(folder), threads=1)

    def masks(self, given: Asked) -> Iterator[tuple[int, str, int, Mask]]:
        """See `Unremembering.masks`; the method is the bundle's name."""
        first, *later = given.clip.frames
        self.tracker.start(first, frames=len(given.clip.frames))
        for number, click in given.clicks.items():
            self.tracker.add_object(str(number), points=[click], labels=[1])
        for at, picture in enumerate(later, start=1):
            for name, found in self.tracker.track(picture).items():
                yield at, self.name, int(name), found.mask


Follower = Callable[[Asked], Iterator[tuple[int, str, int, Mask]]]


def judge(followers: Sequence[Follower], clips: int, frames: int, first: int) -> Iterator[Score]:
    """Score every object of held-out clips, on every frame after the first."""
    for at in range(clips):
        given = asked(HELD_OUT + first + at, SIZES[at % len(SIZES)], frames)
        for follower in followers:
            for frame, method, number, mask in follower(given):
                wanted = given.clip.masks(number)
                value = iou(mask, wanted[frame])
                yield Score(method, (at, number), _columns(given.clip, number, frame), value)


def _columns(given: Clip, number: int, frame: int) -> tuple[str, ...]:
    seen = np.asarray(given.masks(number).any(axis=(1, 2)))
    if not seen[frame]:
        return ALL, ABSENT
    kind = SEEN if given.shown[frame, number] >= WHOLE else PART
    return (ALL, kind) if seen[:frame].all() else (ALL, kind, BACK)


def means(scores: Sequence[Score]) -> dict[str, dict[str, float]]:
    """Average: method -> column -> J; all frames by object first, the other columns by frame."""
    found: dict[str, dict[str, float]] = {}
    for method in dict.fromkeys(score.method for score in scores):
        own = [score for score in scores if score.method == method]
        found[method] = {
            column: float(np.mean([s.value for s in own if column in s.columns] or [np.nan]))
            for column in COLUMNS[1:]
        }
        objects: dict[tuple[int, int], list[float]] = {}
        for score in own:
            objects.setdefault(score.place, []).append(score.value)
        found[method][ALL] = float(np.mean([np.mean(each) for each in objects.values()]))
    return found


def counts(scores: Sequence[Score]) -> dict[str, int]:
    """Count the object frames of each column, of one method."""
    own = [score for score in scores if score.method == scores[0].method]
    return {column: sum(column in score.columns for score in own) for column in COLUMNS}


def table(found: Mapping[str, Mapping[str, float]], frames: Mapping[str, int]) -> str:
    """Format as Markdown."""
    lines = ["| J | " + " | ".join(COLUMNS) + " |", "|---" * (1 + len(COLUMNS)) + "|"]
    rows = {method: [f"{row[c]:.3f}" for c in COLUMNS] for method, row in found.items()}
    rows["object frames"] = [str(frames[column]) for column in COLUMNS]
    return "\n".join([*lines, *("| " + " | ".join([n, *r]) + " |" for n, r in rows.items())])


REPORT = """# Objects followed through held-out clips by the demo

Region similarity J (IoU of a mask with the truth, 0..1, higher is better) on {clips} clips of
{frames} frames that training never draws: `exporter.scenes.clip` with seeds from {first:,} on,
sizes {sizes} in turn. {objects} objects, each clicked once, at its deepest pixel on the first
frame, which itself is not counted. "All frames" is the mean over objects of the mean over frames; a
frame on which the object is not to be seen counts 1 for an empty mask and 0 for any other, as in
the DAVIS benchmark. The other columns are means over object frames: at least {whole:.0%} of the
object seen; less; none; and, of the frames that show it, those after one that did not. Written by

    {command}

{main}

{words}
{lowered}
Weights: sha256 `{digest}`, float16 in the file. They come from

    {made}

({steps} steps, {minutes:.0f} minutes on one core shared with other work, the drawing of the clips
not counted. Of the run's states this was the best on {judged} objects of other held-out clips.)
"""

LOWERED = """
The bundles of `sam-export --video`, by `runtimes.tracker` on the first {clips} of
these clips:

{table}
"""


def words(found: Mapping[str, Mapping[str, float]]) -> str:
    """Say what the table says."""
    rest = {method: found[method] for method in METHODS[:-1]}
    best, own = max(rest, key=lambda method: rest[method][ALL]), found[MEMORY]
    gain = own[ALL] - rest[best][ALL]
    said = (
        f"The memory's {own[ALL]:.3f} is {abs(gain):.3f} {'above' if gain > 0 else 'below'} the "
        f"best way without one ({best}: {rest[best][ALL]:.3f})."
    )
    for column in (SEEN, PART, BACK):
        other = max(rest, key=lambda method: rest[method][column])
        if rest[other][column] > own[column]:
            said += (
                f' It does not win everywhere: in "{column}", {other} reaches '
                f"{rest[other][column]:.3f} and the memory {own[column]:.3f}."
            )
    return said


def parser() -> argparse.ArgumentParser:
    """Make the argument parser."""
    made = argparse.ArgumentParser("python -m profiles.lab.demo.clips", description=__doc__)
    add = made.add_argument
    add("--clips", type=int, default=50, help="held-out clips (default: %(default)s)")
    add("--frames", type=int, default=FRAMES, help="of a clip (default: %(default)s)")
    add("--first", type=int, default=0, help="number of the first held-out clip")
    add("--weights", type=Path, default=network.MEMORY, help="the memory's file")
    add("--bundles", type=Path, nargs="+", default=[], help="video bundles, judged on a few clips")
    add("--few", type=int, default=6, help="clips for bundles (default: %(default)s)")
    add("--write", action="store_true", help="also write profiles/results/demo-clips.md, .json")
    return made


def main() -> None:
    """Parse, judge, print."""
    arguments = parser().parse_args()
    torch.set_num_threads(1)
    command = "python -m profiles.lab.demo.clips " + shlex.join(sys.argv[1:])
    results = circumstances(command)
    plain, memory = Unremembering(), Remembering(arguments.weights)
    clips, frames, first = arguments.clips, arguments.frames, arguments.first
    scores = list(judge([plain.masks, memory.masks], clips, frames, first))
    found, lowered = means(scores), {}
    print(table(found, counts(scores)))
    text = ""
    if arguments.bundles:
        few = [memory.masks, *(Lowered(path).masks for path in arguments.bundles)]
        some = list(judge(few, arguments.few, frames, first))
        lowered = means(some)
        lowered["torch"] = lowered.pop(MEMORY)
        text = LOWERED.format(clips=arguments.few, table=table(lowered, counts(some)))
        print(text)
    if arguments.write:
        page = _page(arguments, found, scores, command, text)
        data: dict[str, Any] = {"means": found, "frames": counts(scores), "bundles": lowered}
        write_page("demo-clips", page, results | data)


def _page(
    arguments: argparse.Namespace, found: Mapping[str, Mapping[str, float]],
    scores: Sequence[Score], command: str, lowered: str,
) -> str:  # fmt: skip
    with safe_open(arguments.weights, framework="np") as opened:
        made = opened.metadata()
    return REPORT.format(
        clips=arguments.clips, frames=arguments.frames, first=HELD_OUT + arguments.first,
        sizes=", ".join(f"{h}x{w}" for h, w in SIZES), whole=WHOLE, command=command,
        objects=len({score.place for score in scores}), main=table(found, counts(scores)),
        words=words(found), lowered=lowered, made=made["command"], steps=made["steps"],
        minutes=float(made["seconds"]) / 60, judged=made["judged"],
        digest=hashlib.sha256(arguments.weights.read_bytes()).hexdigest(),
    )  # fmt: skip


if __name__ == "__main__":
    main()
