"""How far masks move when one block of a network is in few bits and the rest is not.

Simulated in torch (`exporter.rounding`), on calibration pictures and every kind of prompt; masks
are compared as the gate compares them.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from exporter.bundle.layouts import Array
from exporter.bundle.manifest import GraphFile, Manifest
from exporter.bundle.recipe import Block
from exporter.calibration import Range
from exporter.graphs import Graph, Named
from exporter.precision import Precision
from exporter.products import Change, Product, Watch, products, weight_paths
from exporter.progress import Progress
from exporter.rounding import Ranges, Rounding
from exporter.targets import FINE

GATE_MODULE = "runtimes.gate"
"""Reached by name: imports flow from there to here."""


@dataclass(frozen=True)
class TorchGraph:
    """A graph as `runtimes.engines.LoadedGraph` has it, run by torch."""

    graph: Graph

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run once, by names."""
        given = {name: torch.from_numpy(np.float32(array)) for name, array in inputs.items()}
        with torch.no_grad():
            return {name: value.numpy() for name, value in Named(self.graph)(**given).items()}


@dataclass(frozen=True)
class Bench:
    """A network in torch with pictures to try changes on.

    Attributes:
        graphs: the variant's, in canonical layouts.
        manifest: for its rules; its graphs do not count.
        pictures: files of goldens, see `exporter.samples`.
    """

    graphs: Sequence[Graph]
    manifest: Manifest
    pictures: Sequence[Path]

    def mean_mask_iou(self, change: Change) -> float:
        """Measure the masks of the changed network against those of the float32 network."""
        return float(np.mean(self.tally(change).ious))

    def tally(self, change: Change) -> Any:
        """Compare the masks: a `runtimes.gate.Tally`."""
        gate: Any = importlib.import_module(GATE_MODULE)
        by_name = {graph.spec.name: TorchGraph(graph) for graph in self.graphs}
        files = tuple(GraphFile(graph.spec, graph.spec.name, 0) for graph in self.graphs)
        manifest = dataclasses.replace(self.manifest, graphs=files)
        with ExitStack() as stack:
            for graph in self.graphs:
                stack.enter_context(Watch(weight_paths(graph), change))
            return gate.compare(manifest, self.pictures, by_name.__getitem__)

    def ranges(self) -> Mapping[str, Range]:
        """Find what the inputs of products lie between, those of the fine layers left out."""
        sides = (t.shape[-1] for g in self.graphs for t in g.spec.inputs if t.name == "image")
        found = Ranges((next(sides) // FINE) ** 2)
        self.mean_mask_iou(found)
        return found.found


def measure_blocks(
    bench: Bench, chosen: Sequence[Product], precision: Precision, report: Progress
) -> tuple[Block, ...]:
    """Bring one block after another to few bits.

    Args:
        bench: the network.
        chosen: products that are to be in few bits.
        precision: in which.
        report: called once a block.

    Returns:
        The blocks; the one that loses most for each weight first.
    """
    ranges = bench.ranges() if precision.has_ranges else {}
    names = list(dict.fromkeys(each.block for each in chosen))
    found = []
    for at, name in enumerate(names):
        own = [each for each in chosen if each.block == name]
        modules = frozenset(each.module for each in own)
        weights = sum({each.module: each.weights for each in own}.values())
        kept = bench.mean_mask_iou(Rounding(precision, modules, ranges))
        report(f"block {at + 1} of {len(names)}: {name} alone keeps {kept:.4f} of the masks")
        found.append(Block(name, weights, kept))
    return tuple(sorted(found, key=lambda each: (each.mean_mask_iou - 1) / each.weights))


def products_of(graphs: Sequence[Graph]) -> tuple[Product, ...]:
    """List the products of all graphs."""
    return tuple(each for graph in graphs for each in products(graph))
