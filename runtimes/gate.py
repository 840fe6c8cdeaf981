"""Judge a bundle of few bits by its masks, on pictures that it was not calibrated on.

    python -m runtimes.gate FOLDER < PICTURES        files of goldens, as a JSON list

Rounding to few bits moves every number; only the masks tell whether that matters. Every graph runs
on the outputs of the lowered graphs before it, as in an app.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from exporter import child
from exporter.bundle.agreement import END_TO_END
from exporter.bundle.end_to_end import Ask, answer
from exporter.bundle.flow import feeds, order_graphs
from exporter.bundle.folder import Bundle, read_manifest
from exporter.bundle.goldens import PICTURE, SHARED, SIZE, Goldens
from exporter.bundle.layouts import Array
from exporter.bundle.manifest import Figure, GraphFile, Manifest
from exporter.bundle.masks import Masks
from exporter.bundle.preprocess import Bools, Floats, Frame, seen_frame
from exporter.bundle.prompts import Prompts
from exporter.bundle.tensors import GraphSpec
from exporter.bundle.volume_cases import masks_of_outputs
from exporter.bundle.voxels import Cube, VolumeMasks
from exporter.errors import ParityError
from exporter.watching import read_sample
from runtimes.engines import (
    Arithmetic,
    Load,
    LoadedGraph,
    arithmetic_of,
    engine_in,
    loader,
    run_canonical,
)
from runtimes.measures import (
    MASKS,
    describe,
    find_misses,
    floor_of,
    means_broken,
    prompt_sensitivity,
)

AnyMasks = Masks | VolumeMasks
OUTPUT = "masks"
EMBEDDINGS = "image_embeddings"
MOST_DETECTIONS = 20
"""Of a picture, the highest scores first."""
LEAST_MOVE = 0.1
"""Share of an output's norm, by which it differs clearly from another."""
BEYOND = 0.01
"""Share of the span of an embedding's values, by which a value is clearly beyond them."""
CUT_SHARE = 0.01
"""Of a channel's values."""
BAND = 0.02
"""Width of a boundary, as a share of the picture's diagonal (Cheng et al. 2021, Boundary IoU)."""


@dataclass
class Tally:
    """What was seen so far, a value for each mask or picture.

    Attributes:
        ious: of each mask with torch's, at the picture's size.
        boundary_ious: the same, of the bands inside the masks' edges.
        others: 1 where another mask of the prompt is ranked first.
        score_errors: of the predicted IoU of the mask that torch ranks first.
        sensitivities: of each picture, see `runtimes.measures.prompt_sensitivity`.
        dead: channels that are constant here and are not in torch.
        saturated: channels that are cut off at the widest value of all, and are not in torch.
    """

    ious: list[float] = field(default_factory=list)
    boundary_ious: list[float] = field(default_factory=list)
    others: list[float] = field(default_factory=list)
    score_errors: list[float] = field(default_factory=list)
    sensitivities: list[float] = field(default_factory=list)
    dead: int = 0
    saturated: int = 0

    def add(self, expected: AnyMasks, actual: AnyMasks) -> None:
        """Compare the best masks of one prompt set."""
        self.others.append(float(expected.best != actual.best))
        self._pair(expected, expected.best, actual, actual.best)

    def add_detections(self, expected: AnyMasks, actual: AnyMasks) -> None:
        """Compare each of torch's first detections with the one that overlaps it most."""
        for index, mask in enumerate(expected.masks[:MOST_DETECTIONS]):
            overlaps = [iou(mask, other) for other in actual.masks]
            if overlaps:
                self._pair(expected, index, actual, int(np.argmax(overlaps)))
            else:
                self.ious.append(0.0)
                self.boundary_ious.append(0.0)
        both = len(expected.masks) and len(actual.masks)
        same = expected.best == actual.best if both else len(expected.masks) == len(actual.masks)
        self.others.append(float(not same))

    def _pair(self, expected: AnyMasks, first: int, actual: AnyMasks, second: int) -> None:
        one, other = expected.masks[first], actual.masks[second]
        band = max(1, round(BAND * float(np.linalg.norm(one.shape))))
        self.ious.append(iou(one, other))
        self.boundary_ious.append(iou(boundary(one, band), boundary(other, band)))
        error = expected.iou_predictions[first] - actual.iou_predictions[second]
        self.score_errors.append(abs(float(error)))

    def figures(self, precision: str) -> tuple[Figure, ...]:
        """Sum up, with the floors of a precision. ParityError if no mask was compared."""
        if not self.ious:
            raise ParityError("no mask was compared: the pictures give none")
        return tuple(
            Figure(
                graph=END_TO_END,
                output=OUTPUT,
                measure=each.name,
                value=each.of(self),
                unit="",
                better=each.better,
                floor=floor_of(precision, END_TO_END, OUTPUT, each.name),
            )
            for each in MEASURES
        )


@dataclass(frozen=True)
class GateMeasure:
    """One figure of the gate; its floor is in `runtimes.measures.FLOORS`."""

    name: str
    better: Literal["higher", "lower"]
    of: Callable[[Tally], float]


MEASURES = (
    GateMeasure("mean_mask_iou", "higher", lambda tally: float(np.mean(tally.ious))),
    GateMeasure("p1_mask_iou", "higher", lambda tally: float(np.percentile(tally.ious, 1))),
    GateMeasure("worst_mask_iou", "higher", lambda tally: min(tally.ious)),
    GateMeasure("mean_boundary_iou", "higher", lambda tally: float(np.mean(tally.boundary_ious))),
    GateMeasure("other_mask_share", "lower", lambda tally: float(np.mean(tally.others))),
    GateMeasure("iou_prediction_error", "lower", lambda tally: float(np.mean(tally.score_errors))),
    GateMeasure(
        "least_prompt_sensitivity", "higher", lambda tally: min(tally.sensitivities, default=1.0)
    ),
    GateMeasure("dead_channels", "lower", lambda tally: float(tally.dead)),
    GateMeasure("saturated_channels", "lower", lambda tally: float(tally.saturated)),
)


def judge(
    bundle: Bundle, pictures: Sequence[Path], engine: str | None = None, threads: int = 2
) -> tuple[Figure, ...]:
    """Run every picture and prompt through the bundle's graphs; its goldens are torch's masks.

    Args:
        bundle: sealed or not.
        pictures: files of goldens of the same graphs.
        engine: a name, or None for the first that can run here.
        threads: for engines that take a number.

    Raises:
        ParityError: an output is not finite.
        BundleError: the goldens are not of these graphs.
    """
    load, words = loader(bundle, engine, threads), set[str]()

    def noted(graph: str) -> LoadedGraph:
        loaded = load(graph)
        words.add(arithmetic_of(loaded))
        return loaded

    tally = compare(bundle.manifest, pictures, noted)
    figures = tally.figures(bundle.manifest.precision)
    return tuple(replace(figure, arithmetic=max(words)) for figure in figures)


def compare(manifest: Manifest, pictures: Sequence[Path], load: Load) -> Tally:
    """Compare the masks of graphs, however they are loaded, with torch's; see `judge`."""
    tally = Tally()
    given: list[dict[str, Array]] = [{} for _ in pictures]
    earlier: list[GraphFile] = []
    for graphs in _chains(order_graphs(manifest.graphs)):
        # One chain at a time: the next is loaded when the memory of this one is free again.
        loaded = [(graph.spec, load(graph.spec.name), feeds(graph, earlier)) for graph in graphs]
        for picture, outputs in zip(pictures, given, strict=True):
            goldens = read_sample(picture)
            runs: dict[str, dict[str, Array]] = {}
            for spec, running, fed in loaded:
                once = {name: outputs[name] for name in fed}
                for case, made in _run(running, spec, goldens, once, runs).items():
                    runs.setdefault(case, {}).update(made)
            outputs |= runs[min(runs)]
            _compare(tally, manifest, [spec for spec, *_ in loaded], goldens, runs)
        earlier += graphs
        del loaded
    return tally


def _chains(graphs: Sequence[GraphFile]) -> Iterator[list[GraphFile]]:
    """Group the graphs of a prompt that feed one another: one's outputs are the next one's."""
    chain: list[GraphFile] = []
    for graph in graphs:
        both = bool(chain) and chain[-1].spec.runs == graph.spec.runs == "prompt"
        if chain and not (both and feeds(graph, chain)):
            yield chain
            chain = []
        chain.append(graph)
    yield chain


def iou(first: Bools, second: Bools) -> float:
    """Intersection over union of two masks of one shape; 1 if both are empty."""
    either = int((first | second).sum())
    return int((first & second).sum()) / either if either else 1.0


def boundary(mask: Bools, band: int) -> Bools:
    """The pixels of a mask (H, W), or voxels of (X, Y, Z), within `band` of its edge, inside it."""
    side, inner = 2 * band + 1, mask
    for axis in range(mask.ndim):  # a box is a row along each axis in turn
        rows = np.moveaxis(inner, axis, 0)
        rest = ((0, 0),) * (mask.ndim - 1)
        sums = np.pad(np.pad(rows, ((band, band), *rest)).cumsum(0), ((1, 0), *rest))
        inner = np.moveaxis(sums[side:] - sums[:-side] == side, 0, axis)
    return mask & ~inner


def _run(
    loaded: LoadedGraph,
    spec: GraphSpec,
    goldens: Goldens,
    once: Mapping[str, Array],
    earlier: Mapping[str, Mapping[str, Array]],
) -> dict[str, dict[str, Array]]:
    """Run a graph's cases of one picture; a case's own arrays are not replaced.

    Args:
        loaded: the graph.
        spec: its.
        goldens: of the picture.
        once: what earlier graphs gave of the picture and it takes, by name.
        earlier: what those of the same prompt gave, by case and name.
    """
    runs = {}
    for case in goldens.cases(spec.name):
        inputs = goldens.inputs(spec, case)
        own = {name for name in once if goldens.owns(spec.name, case, name)}
        inputs |= {name: array for name, array in once.items() if name not in own}
        before = earlier.get(case, {})
        inputs |= {name: before[name] for name in inputs if name in before}
        runs[case] = run_canonical(loaded, spec, inputs)
        for name, array in runs[case].items():
            if not np.isfinite(array).all():
                raise ParityError(
                    f"{spec.name} {name} is not finite for the prompts {case!r} of a test picture: "
                    "give --keep-float a part of it, or another --precision"
                )
    return runs


def _compare(
    tally: Tally,
    manifest: Manifest,
    specs: Sequence[GraphSpec],
    goldens: Goldens,
    runs: Mapping[str, Mapping[str, Array]],
) -> None:
    """Compare what the graphs of a chain gave with torch's."""
    made = {tensor.name: spec for spec in specs for tensor in spec.outputs}
    place = _place(manifest, goldens)
    for case, outputs in runs.items():
        torch = {name: goldens.expected(made[name], case, name) for name in outputs}
        if EMBEDDINGS in outputs:
            tally.dead += dead_channels(torch[EMBEDDINGS], outputs[EMBEDDINGS])
            tally.saturated += saturated_channels(torch[EMBEDDINGS], outputs[EMBEDDINGS])
        if manifest.detections is not None:
            tally.add_detections(_masks(manifest, torch, place), _masks(manifest, outputs, place))
        elif MASKS in outputs:
            tally.add(_masks(manifest, torch, place), _masks(manifest, outputs, place))
    clicks = [case for case in runs if case.startswith("click") and MASKS in runs[case]]
    if len(clicks) > 1:
        expected = [goldens.expected(made[MASKS], case, MASKS) for case in clicks]
        actual = [runs[case][MASKS] for case in clicks]
        if moves(expected):
            tally.sensitivities.append(prompt_sensitivity(expected, actual))


def moves(expected: Sequence[Floats]) -> bool:
    """Whether torch's outputs differ clearly from click to click.

    Clicks on a user's picture may mean one object, and then only rounding is left to compare.
    """
    pairs = itertools.combinations(expected, 2)
    least = LEAST_MOVE * min(float(np.linalg.norm(each)) for each in expected)
    return all(float(np.linalg.norm(one - other)) > least for one, other in pairs)


def _place(manifest: Manifest, goldens: Goldens) -> Frame | Cube:
    """Say where a picture lies in the input; one of unknown size, and a volume, fills it."""
    tall, wide = manifest.preprocess.shape
    if manifest.volume is not None:
        return Cube((wide, wide, wide), (0, 0, 0), wide)
    known = goldens.owns(PICTURE, SHARED, SIZE)
    width, height = map(int, goldens.array(PICTURE, SHARED, SIZE)) if known else (wide, tall)
    return seen_frame(width, height, manifest.preprocess)


def _masks(
    manifest: Manifest, outputs: Mapping[str, Array], place: Frame | Cube
) -> Masks | VolumeMasks:
    """Make every mask of the first prompt set."""
    if isinstance(place, Cube):
        return masks_of_outputs(manifest, outputs, place, multimask=True)
    return answer(manifest, outputs, place, Ask(Prompts(), multimask=True))[1]


def dead_channels(expected: Floats, actual: Floats) -> int:
    """Count the channels (1, C, h, w) that are constant in `actual` and not in `expected`."""
    lively = expected.std(axis=(0, 2, 3)) > 0
    return int((lively & (actual.std(axis=(0, 2, 3)) == 0)).sum())


def saturated_channels(expected: Floats, actual: Floats) -> int:
    """Count the channels (1, C, h, w) that a narrow range cut off.

    Such a channel has many values in torch that lie clearly beyond all values of `actual`.
    """
    low, high = float(actual.min()), float(actual.max())
    slack = BEYOND * (high - low)
    beyond = (expected > high + slack) | (expected < low - slack)
    return int((beyond.mean(axis=(0, 2, 3)) > CUT_SHARE).sum())


def main(argv: Sequence[str] | None = None) -> int:
    """Print the figures as one line of JSON; the caller judges them."""
    parser = argparse.ArgumentParser("python -m runtimes.gate", description=main.__doc__)
    parser.add_argument("folder", type=Path, help="a bundle; no hash is checked")
    parser.add_argument("--arithmetic", choices=get_args(Arithmetic), default="usual")
    arguments = parser.parse_args(argv)
    folder = arguments.folder

    def work(pictures: Any) -> dict[str, Any]:
        bundle = Bundle(folder, read_manifest(folder))
        engine = engine_in(bundle.manifest.target, arguments.arithmetic)
        figures = judge(bundle, tuple(map(Path, pictures)), engine)
        under = find_misses(figures)
        return {
            "figures": [asdict(figure) for figure in figures],
            "missed": [describe(figure, bundle.manifest.precision) for figure in under],
            "broken": any(map(means_broken, under)),
        }

    return child.serve(work)


if __name__ == "__main__":
    sys.exit(main())
