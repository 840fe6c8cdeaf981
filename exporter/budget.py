"""Keep as few blocks in float as a bar on the masks asks for: `--min-iou`.

The simulation in torch (`exporter.sensitivity`) ranks the blocks; the bar is held by the lowered
graphs themselves.
"""

from __future__ import annotations

import importlib
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporter import child
from exporter.bundle.folder import Bundle
from exporter.bundle.manifest import Manifest
from exporter.bundle.recipe import Block, Trial
from exporter.errors import ParityError
from exporter.progress import Progress

if TYPE_CHECKING:
    from exporter.bundle.preprocess import Floats
    from exporter.compensation import Compensation
    from exporter.evaluation import Asked
    from exporter.goldens import Arrays
    from exporter.graphs import Graph
    from exporter.keeping import Keeping
    from exporter.samples import Samples

GATE_MODULE = "runtimes.gate"
ENGINES_MODULE = "runtimes.engines"
DEVICE_MODULE = "runtimes.device"
TIMING_MODULE = "runtimes.host_run"
"""Reached by name: imports flow from there to here."""
RUNS, SECONDS = 5, 1.0
"""Timed calls, and time for them, at least."""


@dataclass(frozen=True)
class Measured:
    """The lowered graphs with some blocks in float.

    Attributes:
        kept: names of these blocks.
        mean_mask_iou: of the gate.
        bytes: of all graphs.
        latency_ms: median of the graph that sees the image, on this host; None if no app would use
            the runtime that runs it here.
    """

    kept: tuple[str, ...]
    mean_mask_iou: float
    bytes: int
    latency_ms: float | None

    @property
    def trial(self) -> Trial:
        """Take what a recipe keeps: nothing that differs from run to run."""
        return Trial(self.kept, self.mean_mask_iou, self.bytes)


@dataclass(frozen=True)
class Searched(Bundle):
    """A bundle that `--min-iou` made, and the trials before it; the last is the bundle."""

    trials: tuple[Measured, ...] = ()


@dataclass(frozen=True)
class Network:
    """A variant's graphs in torch, and what was recorded and settled for all of its bundles.

    Attributes:
        goldens: what every target shares.
        samples: None if the precision is not judged on pictures.
        keeping: what stays float.
        compensations: graph -> its weights of linear layers in 4 bits.
        asked: the user's pictures to judge bundles on, with torch's masks; None if none were given.
        host_data: what the host of a video needs of the network; empty for pictures.
    """

    graphs: Sequence[Graph]
    goldens: Arrays
    samples: Samples | None
    keeping: Keeping
    compensations: Mapping[str, Compensation] = field(default_factory=dict)
    asked: Asked | None = None
    host_data: Mapping[str, Floats] = field(default_factory=dict)


def lower_within(
    network: Network,
    folder: Path,
    lower: Callable[[frozenset[str]], Manifest],
    report: Progress,
) -> tuple[Manifest, tuple[Measured, ...]]:
    """Lower a bundle's graphs; again, until their masks meet the bar, if one is asked for.

    Args:
        network: what is lowered.
        folder: where the bundle is made.
        lower: modules in float -> the graphs, with goldens and manifest, in the folder.
        report: called once a trial.

    Returns:
        The manifest of what the folder holds, and the trials, the last of which that is.

    Raises:
        ParityError: the bar is out of reach.
    """
    keeping, samples = network.keeping, network.samples
    if keeping.bar is None or samples is None:
        return lower(keeping.modules()), ()
    pictures = [str(path) for path in samples.gate]
    # Trials are compared with each other; the bundle's own check follows.
    command = [GATE_MODULE, str(folder), "--arithmetic", "quick"]
    made: list[Manifest] = []

    def measure(blocks: tuple[str, ...]) -> Measured:
        made.append(lower(keeping.modules(blocks)))
        answer = child.call(command, pictures, what="the gate")
        (iou,) = (f["value"] for f in answer["figures"] if f["measure"] == "mean_mask_iou")
        size = sum(graph.bytes for graph in made[-1].graphs)
        report(
            f"masks {iou:.4f} with {len(blocks)} of {len(keeping.blocks)} blocks in float; "
            f"{keeping.bar:g} is asked for"
        )
        return Measured(blocks, iou, size, _latency_ms(folder, made[-1]))

    trials = search(keeping.blocks, keeping.bar, measure)
    return made[-1], trials


def trials_of(bundle: Bundle) -> tuple[Measured, ...]:
    """List the trials that led to a bundle; none unless this export searched."""
    return bundle.trials if isinstance(bundle, Searched) else ()


def trade_off(trials: Sequence[Measured]) -> list[str]:
    """Lay trials out as a table, a line each."""
    rows = [("mean IoU", "MB", "ms here", "blocks in float")] if trials else []
    for each in trials:
        ms = "-" if each.latency_ms is None else f"{each.latency_ms:.1f}"
        kept = ", ".join(each.kept) or "none"
        rows.append((f"{each.mean_mask_iou:.4f}", f"{each.bytes / 1e6:.2f}", ms, kept))
    return ["  {:>8}  {:>7}  {:>8}  {}".format(*row) for row in rows]


def _latency_ms(folder: Path, manifest: Manifest) -> float | None:
    """Time the graph that sees the image; None if no app would use the runtime that is here."""
    engines: Any = importlib.import_module(ENGINES_MODULE)
    if engines.choose_engine(manifest.target).interprets:
        return None
    seeing = (g for g in manifest.graphs if any(t.name == "image" for t in g.spec.inputs))
    method = importlib.import_module(DEVICE_MODULE).Method(runs=RUNS, seconds=SECONDS)
    job = {"folder": str(folder), "graph": next(seeing).spec.name, "method": asdict(method)}
    timed = child.call([TIMING_MODULE], job, what="timing the graph")
    return float(statistics.median(timed["samples_ns"])) / 1e6


def search(
    blocks: Sequence[Block], bar: float, measure: Callable[[tuple[str, ...]], Measured]
) -> tuple[Measured, ...]:
    """Take blocks to float until the bar is met; the last trial meets it.

    How many to add follows from the simulation: what they lose alone, as a share of what all lose
    alone, is what the masks should gain.

    Args:
        blocks: the first to go to float first.
        bar: least mean IoU.
        measure: names of blocks in float -> the lowered graphs.

    Raises:
        ParityError: the bar is not met with all of them in float.
    """
    trials = [measure(())]
    while trials[-1].mean_mask_iou < bar:
        done = len(trials[-1].kept)
        if done == len(blocks):
            raise ParityError(_out_of_reach(trials, bar))
        more = _how_many(blocks[done:], trials[-1].mean_mask_iou, bar)
        trials.append(measure(tuple(block.name for block in blocks[: done + more])))
    return tuple(trials)


def _how_many(left: Sequence[Block], reached: float, bar: float) -> int:
    """The least number of the next blocks that should be enough, 1 or more."""
    losses = [1.0 - block.mean_mask_iou for block in left]
    wanted = (bar - reached) / (1.0 - reached) * sum(losses)
    for count in range(1, len(left)):
        if sum(losses[:count]) >= wanted:
            return count
    return len(left)


def _out_of_reach(trials: Sequence[Measured], bar: float) -> str:
    best = max(trials, key=lambda each: each.mean_mask_iou)
    reached = math.floor(best.mean_mask_iou * 1e4) / 1e4
    return (
        f"--min-iou {bar:g} is out of reach: {reached:.4f} was, with {len(best.kept)} of "
        f"{len(trials[-1].kept)} blocks in float, and all of them were tried; give --min-iou "
        f"{reached:.4f} or less, or a --precision of more bits"
    )
