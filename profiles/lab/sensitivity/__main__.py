"""Measure on the demo what each part loses in few bits, and which exact edits pay.

    python -m profiles.lab.sensitivity --write

simulates rounding in torch (`exporter.rounding`), one part at a time, and compares masks with the
float32 network's as the gate does; writes profiles/results/sensitivity.md and its data.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from torch import Tensor

from exporter.checkpoints.obtain import Given, obtain
from exporter.compensation import Compensation
from exporter.goldens import record
from exporter.graphs import Graph, graphs_of
from exporter.islands import COORDINATES, DECODER_PARTS
from exporter.job import Job, settle
from exporter.models.layers import freeze
from exporter.pipeline import draft
from exporter.precision import BLOCK, Precision, load_precision
from exporter.products import Change, Product, named, products
from exporter.progress import on_stderr, silent
from exporter.rounding import Ranges, Rounding
from exporter.samples import CALIBRATION_SEED, GATE_SEED
from exporter.sensitivity import Bench
from exporter.targets import FINE
from exporter.variants import load_variant
from profiles.lab.bench.machine import circumstances
from profiles.lab.sensitivity import edits
from profiles.lab.sensitivity.operations import (
    CoarsePrompts,
    RoundedAttention,
    RoundedNorms,
    Within,
    in_half,
    in_steps,
)
from profiles.lab.sensitivity.page import page
from profiles.lab.steps import count, write_page

PRECISIONS = ("int8", "int8-weights", "int4-weights")
CALIBRATION_SCENES = 8
STRENGTHS = (0.25, 0.5, 0.75)
NAME = "sensitivity"


@dataclass(frozen=True)
class Row:
    """Masks of one change.

    Attributes:
        table: `parts`, `blocks` or `edits`.
        part: what was rounded, or which edit was made.
        precision: simulated; empty if it has none of its own.
        share: of the weights of its graph that are in few bits; None if it has none.
        mean, p1, others: IoU of the masks, its first percentile, share of other masks chosen.
    """

    table: str
    part: str
    precision: str = ""
    share: float | None = None
    mean: float = 0.0
    p1: float = 0.0
    others: float = 0.0


@dataclass(frozen=True)
class Lab:
    """The demo network with its pictures, and what its values lie between."""

    bench: Bench
    calibration: Bench
    ranges: dict[str, Any]
    size: int

    @property
    def graphs(self) -> Sequence[Graph]:
        """Encoder and decoder."""
        return self.bench.graphs

    def every(self) -> tuple[Product, ...]:
        """The products of both graphs."""
        return tuple(each for graph in self.graphs for each in products(graph))

    def rounding(self, precision: Precision, modules: frozenset[str]) -> Rounding:
        """Round these modules as a precision does."""
        return Rounding(precision, modules, self.ranges if precision.has_ranges else {})

    def measure(self, what: Row, change: Change, graphs: Sequence[Graph] = ()) -> Row:
        """Fill in the masks of a change; `graphs` stand for the network's own."""
        tally = dataclasses.replace(self.bench, graphs=graphs or self.graphs).tally(change)
        return dataclasses.replace(
            what,
            mean=float(np.mean(tally.ious)),
            p1=float(np.percentile(tally.ious, 1)),
            others=float(np.mean(tally.others)),
        )


def unchanged(path: str, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Change nothing."""
    del path
    return x, weight


def parts(lab: Lab) -> Iterator[Row]:
    """Measure what stays float by default, part by part, and beside it what does not."""
    encoder, decoder = lab.graphs
    names = [tensor.name for tensor in decoder.spec.inputs]
    for word, coarse in (("256 steps", in_steps(lab.size)), ("float16", in_half)):
        module = CoarsePrompts(decoder.module, names, coarse)
        graphs = (encoder, dataclasses.replace(decoder, module=module))
        yield lab.measure(Row("parts", f"{COORDINATES.name} in {word}"), unchanged, graphs)
    of_decoder = products(decoder)
    of_encoder = products(encoder)
    for part in DECODER_PARTS:
        yield from _products(lab, part.name, of_decoder, named(of_decoder, part.patterns))
    rest = named(of_decoder, ["mask_decoder.transformer"])
    yield from _products(lab, "decoder's transformer", of_decoder, rest)
    within = Ranges((lab.size // FINE) ** 2)
    lab.calibration.tally(within)
    modules = frozenset(each.module for each in of_encoder)
    fine = modules - within.found.keys()
    yield from _products(lab, "first layers of the encoder", of_encoder, fine)
    yield from _products(lab, "rest of the encoder", of_encoder, modules - fine)
    for word, mode in (
        ("softmax and attention's products", RoundedAttention),
        ("norms", RoundedNorms),
    ):
        for graph in lab.graphs:
            yield _operations(lab, word, mode, graph)


def _operations(
    lab: Lab, word: str, mode: Callable[[], AbstractContextManager[Any]], only: Graph
) -> Row:
    """Round operations without weights in one graph; the other runs before or after it."""
    module = Within(only.module, mode)
    graphs = [dataclasses.replace(g, module=module) if g is only else g for g in lab.graphs]
    part = f"{word}, {only.spec.name.replace('_', ' ')}"
    return lab.measure(Row("parts", part, "int8"), unchanged, graphs)


def _products(
    lab: Lab, part: str, every: Sequence[Product], modules: frozenset[str]
) -> Iterator[Row]:
    sizes = {each.module: each.weights for each in every}
    share = sum(sizes[module] for module in modules) / sum(sizes.values())
    for name in PRECISIONS:
        change = lab.rounding(load_precision(name), modules)
        yield lab.measure(Row("parts", part, name, share), change)


def blocks(lab: Lab) -> Iterator[Row]:
    """Measure the blocks of both graphs, one at a time."""
    for graph in lab.graphs:
        every = products(graph)
        for block in dict.fromkeys(each.block for each in every):
            modules = frozenset(each.module for each in every if each.block == block)
            for row in _products(lab, block, every, modules):
                yield dataclasses.replace(row, table="blocks")


def tried_edits(lab: Lab) -> Iterator[Row]:
    """Measure few bits with and without each exact edit."""
    encoder, decoder = lab.graphs
    modules = frozenset(each.module for each in products(encoder))
    for name in PRECISIONS:
        precision = load_precision(name)
        plain = lab.rounding(precision, modules)
        yield lab.measure(Row("edits", "none", name), plain)
        for strength in STRENGTHS:
            edited = edits.equalise(encoder, _largest(lab), strength)
            # The values' ranges changed with them.
            ranges = Ranges(10**12)
            dataclasses.replace(lab.calibration, graphs=(edited, decoder)).tally(ranges)
            found = ranges.found if precision.has_ranges else {}
            change = Rounding(precision, modules, found)
            what = Row("edits", f"channels equalised into norms, strength {strength:g}", name)
            yield lab.measure(what, change, (edited, decoder))
        if precision.compensates:
            what = Row("edits", "norms folded, roundings that make up for each other", name)
            with Compensation(encoder, lab.calibration.pictures).within(frozenset(), BLOCK):
                yield lab.measure(what, lab.rounding(precision, modules))
    what = Row("edits", "Hadamard rotation of 32 inputs", "int4-weights")
    yield lab.measure(what, _rotated(modules))
    yield from _signs(lab)


def _rotated(modules: frozenset[str]) -> Change:
    made: dict[str, Tensor] = {}

    def change(path: str, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        if path.rpartition(".")[0] not in modules:
            return x, weight
        if path not in made:
            made[path] = edits.rounded_rotated(weight, 4)
        return x, made[path]

    return change


def _largest(lab: Lab) -> dict[str, Tensor]:
    noted, handles = edits.Largest.watch(lab.graphs[0].module)
    lab.calibration.tally(unchanged)
    for handle in handles:
        handle.remove()
    return noted.found


def _signs(lab: Lab) -> Iterator[Row]:
    """Round the keys that tokens look at the image by, plain and with signs folded."""
    encoder, decoder = lab.graphs
    found: dict[str, Tensor] = {}
    handles = []
    for name, attention in edits.keys_to_image(decoder.module):

        def note(module: Any, given: Any, output: Tensor, name: str = name) -> None:
            del module, given
            found.setdefault(name, output.reshape(-1, output.shape[-1]))

        handles.append(attention.k_proj.register_forward_hook(note))
    dataclasses.replace(lab.calibration, pictures=lab.calibration.pictures[:1]).tally(unchanged)
    for handle in handles:
        handle.remove()
    folded, turned = edits.fold_signs(decoder, found)
    for word, graph in (("plain", decoder), (f"signs folded, {turned} bimodal", folded)):
        for bits in (8, 4):
            hooks = [
                attention.k_proj.register_forward_hook(edits.round_output(bits))
                for _, attention in edits.keys_to_image(graph.module)
            ]
            part = f"keys of {len(found)} attentions in {bits} bits, {word}"
            yield lab.measure(Row("edits", part), unchanged, (encoder, graph))
            for hook in hooks:
                hook.remove()


@dataclass(frozen=True)
class _Scenes:
    """Files of goldens of scenes."""

    folder: Path

    def record(self, graphs: Sequence[Graph], order: Any, first: int, many: int) -> list[Path]:
        made = []
        for seed in range(first, first + many):
            made.append(self.folder / f"{seed}.npz")
            arrays = record(graphs, order.prompts, order.mask, seed=seed)
            np.savez(made[-1], allow_pickle=False, **arrays)
        return made


def measure(scenes: int, report: Callable[[str], None]) -> list[Row]:
    """Measure every row on so many scenes."""
    variant = load_variant("demo")
    order = settle(Job(("onnx",), "int8", variant.name), variant)
    network, source = obtain(variant, Given(), silent)
    graphs = graphs_of(freeze(network), variant, order.prompts)
    manifest = draft(order, order.targets[0], source)
    rows = []
    with TemporaryDirectory() as folder:
        files = _Scenes(Path(folder))
        seen = Bench(
            graphs, manifest, files.record(graphs, order, CALIBRATION_SEED, CALIBRATION_SCENES)
        )
        judged = Bench(graphs, manifest, files.record(graphs, order, GATE_SEED, scenes))
        everything = Ranges(10**12)
        seen.tally(everything)
        lab = Lab(judged, seen, everything.found, variant.preprocess.size)
        for table in (parts, blocks, tried_edits):
            for row in table(lab):
                report(f"{row.part} {row.precision}: {row.mean:.4f}")
                rows.append(row)
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    """Print the page, or write it."""
    parser = argparse.ArgumentParser("python -m profiles.lab.sensitivity")
    parser.add_argument("--scenes", type=count, default=24, help="scenes to judge (default: 24)")
    parser.add_argument("--write", action="store_true", help=f"write results/{NAME}.md and .json")
    arguments = parser.parse_args(argv)
    facts = circumstances(f"python -m profiles.lab.sensitivity --scenes {arguments.scenes}")
    rows = [asdict(row) for row in measure(arguments.scenes, on_stderr())]
    text = page(facts, rows)
    if arguments.write:
        write_page(NAME, text, {"circumstances": facts, "rows": rows})
    else:
        print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
