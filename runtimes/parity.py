"""Compare a bundle's lowered graphs with its goldens, on this machine.

    python -m runtimes.parity FOLDER --json

works on a bundle that is not sealed yet (no hash is checked): the export runs it in a process of
its own, in which no toolkit that lowered a graph is loaded.

A graph that an earlier one feeds is compared twice: on the goldens' inputs, and in a chain, on the
outputs of the lowered graphs before it. At last the stored picture goes through everything, as a
user's would; see `runtimes.end_to_end`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import get_args

import numpy as np

from exporter import child
from exporter.bundle.agreement import END_TO_END, VIDEO
from exporter.bundle.end_to_end import check_facts
from exporter.bundle.flow import Feed, feeds, order_graphs
from exporter.bundle.folder import Bundle, read_manifest
from exporter.bundle.goldens import Goldens
from exporter.bundle.layouts import Array
from exporter.bundle.manifest import Figure, Manifest
from exporter.bundle.preprocess import Floats
from exporter.bundle.tensors import GraphSpec, TensorSpec
from exporter.errors import BundleError, ParityError, SamExportError
from exporter.printable import one_line
from runtimes.chain_parity import check_chain
from runtimes.end_to_end import check_end_to_end
from runtimes.engines import (
    Arithmetic,
    Load,
    LoadedGraph,
    arithmetic_of,
    engine_in,
    load_graph,
    run_canonical,
)
from runtimes.measures import (
    FLOORS,
    IOU,
    IOUS,
    JOINED,
    MASKS,
    ONE_IOU,
    PANOPTIC_MASKS,
    PIXELS,
    PSNR,
    SENSITIVITY,
    THRESHOLDED_FAMILIES,
    WORST,
    Floors,
    Measure,
    chain,
    describe,
    find_misses,
    floor_of,
    is_chain,
    means_broken,
    prompt_sensitivity,
)
from runtimes.memory_parity import check_bank, takes_bank
from runtimes.process import peak_bytes
from runtimes.volume_end_to_end import check_volume

__all__ = ["Figure", "check_parity", "describe", "find_misses"]

CLICK = "click"


@dataclass
class Tally:
    """Every value measured so far, by graph and output; `pixels` of prompts' masks as well."""

    threshold: float
    pixels: bool = False
    values: dict[tuple[str, str, Measure], list[float]] = field(default_factory=dict)

    def add(self, graph: str, output: str, expected: Floats, actual: Floats) -> None:
        """Measure one output of one case."""
        measures = [PSNR] if is_chain(graph) else [PSNR, WORST]
        measures += [IOU] if output == MASKS else []
        counted = (PANOPTIC_MASKS, MASKS) if self.pixels else (PANOPTIC_MASKS,)
        measures += [PIXELS] if output in counted else []
        for measure in measures:
            value = measure.function(expected, actual, self.threshold)
            self.values.setdefault((graph, output, measure), []).append(value)

    def figures(self, floors: Floors) -> Iterator[Figure]:
        """Make the worst figure of each, with its floor."""
        for (graph, output, measure), values in self.values.items():
            yield Figure(
                graph=graph,
                output=output,
                measure=measure.name,
                value=measure.worst(values),
                unit=measure.unit,
                better=measure.better,
                floor=floors(graph, output, measure.name),
            )


def check_parity(
    folder: Path,
    manifest: Manifest,
    engine: str | None = None,
    threads: int = 2,
    floors: str = "",
    load: Callable[[str], LoadedGraph] | None = None,
) -> tuple[Figure, ...]:
    """Run every golden case through the lowered graphs.

    Args:
        folder: a bundle, sealed or not; no hash is checked here.
        manifest: of that bundle.
        engine: a name, or None for the first that can run here.
        threads: for engines that take a number.
        floors: see `floors_of`.
        load: graph name -> a loaded graph, used instead of an engine here: a device, say.

    Returns:
        The worst figure of each graph output and measure, with its floor; see `find_misses`.

    Raises:
        ParityError: an output is not finite.
        BundleError: the goldens are incomplete, or do not fit the specs or the manifest.
        RequestError: no engine here can run the bundle.
    """
    floor = floors_of(manifest, floors)
    bundle = Bundle(folder, manifest)
    goldens = bundle.goldens()
    if load is None:
        check_facts(manifest, goldens)
    tally = Tally(manifest.mask.threshold, manifest.family in THRESHOLDED_FAMILIES)
    extra: list[Figure] = []
    lowered = Lowered()
    graphs = order_graphs(manifest.graphs)
    kept: dict[str, LoadedGraph] = {}
    for at, graph in enumerate(graphs):
        spec, earlier = graph.spec, graphs[:at]
        loaded = load(spec.name) if load else load_graph(bundle, spec.name, engine, threads)
        kept[spec.name] = loaded
        cases = goldens.cases(spec.name)
        outputs = {case: _run(loaded, spec, goldens, case, {}) for case in cases}
        for case, got in outputs.items():
            _compare(tally, spec.name, spec, goldens, case, got)
        extra += _following(loaded, spec, goldens, outputs, floor)
        fed = feeds(graph, earlier)
        for case in lowered.cases(spec, goldens, fed):
            instead = lowered.inputs(case, fed)
            outputs[case] = got = _run(loaded, spec, goldens, case, instead)
            shown = {name: array for name, array in got.items() if name == MASKS} or got
            _compare(tally, chain(graph, earlier), spec, goldens, case, shown)
        lowered.add(spec, outputs, last=graph is graphs[-1])
        del outputs
    if load is None:  # a device runs graphs alone; the rules of the host are not its own
        extra += _with_host(bundle, goldens, kept.__getitem__, floor)
    return tuple(_with_arithmetic(each, kept) for each in (*tally.figures(floor), *extra))


@dataclass
class Lowered:
    """What the lowered graphs gave so far, each on what the ones before it gave.

    Attributes:
        shared: outputs of each graph in its first case, by name.
        asked: of graphs that run once a prompt: case -> outputs, for the graph that goes on.
    """

    shared: dict[str, Array] = field(default_factory=dict)
    asked: dict[str, dict[str, Array]] = field(default_factory=dict)

    def cases(self, spec: GraphSpec, goldens: Goldens, fed: Mapping[str, Feed]) -> list[str]:
        """List the cases of a graph that earlier graphs feed as its goldens do."""
        names = goldens.cases(spec.name) if fed else []
        answered = set().union(*self.asked.values())
        own = [name for name in fed if name not in answered]
        return [c for c in names if not any(goldens.owns(spec.name, c, name) for name in own)]

    def inputs(self, case: str, fed: Mapping[str, Feed]) -> dict[str, Array]:
        """Select what earlier graphs gave for a case."""
        given = self.shared | self.asked.get(case, {})
        return {name: given[name] for name in fed}

    def add(self, spec: GraphSpec, outputs: Mapping[str, dict[str, Array]], *, last: bool) -> None:
        """Keep a graph's outputs for the graphs after it."""
        self.shared |= outputs[min(outputs)]
        if spec.runs == "prompt" and not last:
            self.asked = {case: self.asked.get(case, {}) | got for case, got in outputs.items()}


def _following(
    loaded: LoadedGraph,
    spec: GraphSpec,
    goldens: Goldens,
    outputs: dict[str, dict[str, Array]],
    floors: Floors,
) -> Iterator[Figure]:
    """Measure whether a graph follows its prompts, or its bank, if it has one."""
    if any(tensor.name == MASKS for tensor in spec.outputs):
        yield _sensitivity(spec, goldens, outputs, floors)
    if takes_bank(spec):
        run = partial(run_canonical, loaded, spec)
        yield from check_bank(spec, goldens, outputs, run, floors)


def _with_host(bundle: Bundle, goldens: Goldens, load: Load, floors: Floors) -> Iterator[Figure]:
    """Measure all graphs together, with the host's work: a picture, and a video if it has one."""
    if bundle.manifest.volume is not None:
        yield from check_volume(bundle, goldens, load, floors)
        return
    yield from check_end_to_end(bundle, goldens, load, floors)
    if bundle.manifest.video is not None:
        yield from check_chain(bundle, goldens, load, floors)


def _with_arithmetic(figure: Figure, loaded: Mapping[str, LoadedGraph]) -> Figure:
    """Say in which arithmetic the graphs behind a figure were computed."""
    computed = {name: arithmetic_of(graph) for name, graph in loaded.items()}
    together = figure.graph in (END_TO_END, VIDEO)
    graphs = computed if together else figure.graph.split(JOINED)
    words = [computed[name] for name in graphs if computed[name]]
    return replace(figure, arithmetic=words[0]) if words else figure


def floors_of(manifest: Manifest, row: str = "") -> Floors:
    """Choose a bundle's floors.

    Args:
        manifest: the bundle's.
        row: of `runtimes.measures.FLOORS`; empty for the precision's own. If that does not exist,
            the floors that the export wrote beside its figures are used.
    """
    row = row or manifest.precision
    if row in FLOORS or not manifest.parity:
        outputs = (tensor for graph in manifest.graphs for tensor in graph.spec.outputs)
        one = any(tensor.name == IOUS and tensor.shape[-1] == 1 for tensor in outputs)
        named = {IOUS: ONE_IOU} if one else {}
        return lambda graph, output, measure: floor_of(
            row, graph, named.get(output, output), measure, family=manifest.family
        )
    written = {(f.graph, f.output, f.measure): f.floor for f in manifest.parity}
    return lambda graph, output, measure: written.get((graph, output, measure))


def _run(
    loaded: LoadedGraph, spec: GraphSpec, goldens: Goldens, case: str, instead: dict[str, Array]
) -> dict[str, Array]:
    """Run a case, with `instead` replacing the goldens' inputs of the same names."""
    inputs = goldens.inputs(spec, case)
    inputs |= {name: array for name, array in instead.items() if name in inputs}
    for tensor in spec.inputs:
        _check_size(spec.name, case, tensor, inputs[tensor.name])
    outputs = run_canonical(loaded, spec, inputs)
    for name, array in outputs.items():
        bad = int(np.count_nonzero(~np.isfinite(array)))
        if bad:
            raise ParityError(
                f"{spec.name} {name}: {bad} of {array.size} values are not finite in golden case "
                f"{case!r}; see whether fp32 is finite: if so, the precision is the cause"
            )
    return outputs


def _compare(
    tally: Tally, label: str, spec: GraphSpec, goldens: Goldens, case: str, got: dict[str, Array]
) -> None:
    for name, actual in got.items():
        expected = goldens.expected(spec, case, name)
        if expected.shape != actual.shape or not np.isfinite(expected).all():
            raise BundleError(
                f"golden {spec.name}/{case}/{name} {expected.shape} is not finite or not of the "
                f"graph's shape {actual.shape}; export the bundle again"
            )
        tally.add(label, name, expected, actual)


def _check_size(graph: str, case: str, tensor: TensorSpec, array: Array) -> None:
    if array.size != int(np.prod(tensor.shape)):
        raise BundleError(
            f"golden {graph}/{case}/{tensor.name} {array.shape} does not fit the graph's input "
            f"{tensor.shape}; export the bundle again"
        )


def _sensitivity(
    spec: GraphSpec, goldens: Goldens, outputs: dict[str, dict[str, Array]], floors: Floors
) -> Figure:
    clicks = [case for case in outputs if case.startswith(CLICK)]
    value = prompt_sensitivity(
        [goldens.expected(spec, case, MASKS) for case in clicks],
        [outputs[case][MASKS] for case in clicks],
    )
    floor = floors(spec.name, MASKS, SENSITIVITY)
    return Figure(spec.name, MASKS, SENSITIVITY, value, "", "higher", floor)


def peak_mb() -> float:
    """Peak memory of this process, in MB."""
    return peak_bytes() / 2**20


def main(argv: Sequence[str] | None = None) -> int:
    """Print the figures. With --json the caller judges them, so a miss is no error here."""
    parser = argparse.ArgumentParser("python -m runtimes.parity", description=main.__doc__)
    parser.add_argument("folder", type=Path, help="a bundle; no hash is checked")
    parser.add_argument("--engine", help="default: the first that can run here")
    parser.add_argument("--arithmetic", choices=get_args(Arithmetic), default="usual")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--floors", default="", help="default: the precision's own")
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    arguments = parser.parse_args(argv)
    start = time.perf_counter()
    try:
        manifest = read_manifest(arguments.folder)
        engine = arguments.engine or engine_in(manifest.target, arguments.arithmetic)
        options = (engine, arguments.threads, arguments.floors)
        figures = check_parity(arguments.folder, manifest, *options)
    except SamExportError as error:
        if arguments.json:
            return child.refuse(error)
        sys.stderr.write(f"parity: error: {one_line(error)}\n")
        return error.exit_status
    if arguments.json:
        seconds = round(time.perf_counter() - start, 3)
        under = find_misses(figures)
        report = {
            "figures": [asdict(figure) for figure in figures],
            "missed": [describe(figure, manifest.precision) for figure in under],
            "broken": any(map(means_broken, under)),
            "seconds": seconds,
        }
        sys.stdout.write(json.dumps({**report, "peak_mb": round(peak_mb(), 1)}) + "\n")
        return 0
    sys.stdout.writelines(f"{one_line(describe(f, manifest.precision))}\n" for f in figures)
    return 1 if find_misses(figures) else 0


if __name__ == "__main__":
    sys.exit(main())
