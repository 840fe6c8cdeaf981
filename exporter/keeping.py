"""What stays float in an export of few bits: asked for, given by a recipe, or measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

import exporter
from exporter.bundle.manifest import FewBits, Manifest
from exporter.bundle.recipe import RECIPE_VERSION, Block, Recipe, Trial
from exporter.bundle.rules import DrawnPrompts, PromptRule
from exporter.goldens import record
from exporter.graphs import Graph
from exporter.islands import DECODER_PARTS, WEIGHTED_SUMS
from exporter.job import Order
from exporter.products import Product, named, products, select
from exporter.progress import Progress
from exporter.samples import CALIBRATION_SEED
from exporter.sensitivity import Bench, measure_blocks

PICTURES = 4
"""That blocks are ranked on: 28 cases. 8 rank the demo's alike."""


@dataclass(frozen=True)
class Keeping:
    """What stays float, of all bundles of an export.

    Attributes:
        products: of the graphs in few bits; empty if nothing is asked.
        always: modules that stay float whatever is measured.
        blocks: the first to go to float first; empty if no bar is asked for.
    """

    order: Order
    products: tuple[Product, ...] = ()
    always: frozenset[str] = frozenset()
    blocks: tuple[Block, ...] = field(default=())

    @property
    def bar(self) -> float | None:
        """Read the least mean IoU that is asked for."""
        asked = self.order.few_bits
        return asked.min_iou if asked else None

    def modules(self, blocks: Sequence[str] = ()) -> frozenset[str]:
        """Find the modules that stay float, with those of some blocks, as a recipe names them."""
        return self.always | named(self.products, blocks)

    def recipe(self, storage: str, trials: Sequence[Trial] = ()) -> Recipe:
        """Write down what was settled; the last trial is the one that was taken."""
        if self.order.recipe is not None:
            return self.order.recipe
        asked = self.order.few_bits or FewBits()
        return Recipe(
            RECIPE_VERSION,
            exporter.__version__,
            self.order.variant.name,
            self.order.precision.name,
            asked.quantize_decoder,
            (*asked.keep_float, *(trials[-1].keep_float if trials else ())),
            storage,
            asked.min_iou,
            self.blocks,
            tuple(trials),
        )


def settle_keeping(
    order: Order,
    graphs: Sequence[Graph],
    manifest: Manifest,
    rule: PromptRule | DrawnPrompts | None,
    report: Progress,
) -> Keeping:
    """Find what stays float; measures the blocks if a bar is asked for.

    Args:
        order: the settled job.
        graphs: the variant's.
        manifest: a draft, for its rules.
        rule: how prompts reach the graphs.
        report: called once a block.

    Raises:
        RequestError: a pattern names nothing.
    """
    if order.few_bits is None and not order.precision.judged:
        return Keeping(order)
    few = [graph for graph in graphs if order.precision_of(graph.spec) == order.precision]
    found = tuple(each for graph in few for each in products(graph))
    every = tuple(each for graph in graphs for each in products(graph))
    sums = named(every, WEIGHTED_SUMS.patterns)
    if order.few_bits is None:
        return Keeping(order, always=sums)
    asked = order.recipe or order.few_bits
    giver = "--recipe keeps" if order.recipe else "--keep-float"
    always = sums | select(every, asked.keep_float, giver)
    if order.quantises_decoder:
        always |= named(every, (each for part in DECODER_PARTS for each in part.patterns))
    if order.few_bits.min_iou is None:
        return Keeping(order, found, always)
    with TemporaryDirectory(prefix="sam-export-") as folder:
        pictures = []
        for at in range(PICTURES):
            pictures.append(Path(folder) / f"{at}.npz")
            arrays = record(graphs, rule, order.mask, seed=CALIBRATION_SEED + at)
            np.savez(pictures[-1], allow_pickle=False, **arrays)
        loose = [each for each in found if each.module not in always]
        bench = Bench(graphs, manifest, pictures)
        blocks = measure_blocks(bench, loose, order.precision, report)
    return Keeping(order, found, always, blocks)
