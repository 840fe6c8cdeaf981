"""The published code and our graph with the same weights and the same inputs."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor, nn

from exporter.bundle.rules import LABELS
from exporter.graphs import Graph, graphs_of
from exporter.graphs.image_encoder import slots_of
from exporter.host_rules import prompt_rule
from exporter.models.layers import Normalise, freeze
from exporter.variants import Variant, load_variant
from exporter.variants._video import with_memory
from profiles.lab.bench.memory_subject import SIDES
from profiles.lab.bench.published import PublishedDecoder, PublishedEncoder
from profiles.lab.bench.rows import SLOTS, BenchRow
from profiles.lab.bench.weights import values

if TYPE_CHECKING:
    from exporter.models.sam import Sam

SEED = 0
POINTS = ((200.0, 300.0), (512.0, 640.0), (900.0, 100.0), (0.0, 0.0))
POINT_LABELS = (1, 1, 0, LABELS["not_a_point"])


@dataclass(frozen=True)
class Subject:
    """One row's two modules; `published` and `ours` share no memory.

    Attributes:
        given: positional inputs of `published`, by name.
        inputs: positional inputs of `ours`, in the order of its spec.
        following: the graph of a frame's second object, if it costs less than the first one's.
        shared: what that takes of the first object's graphs, by name.
    """

    published: nn.Module
    given: dict[str, Tensor]
    ours: Graph
    inputs: tuple[Tensor, ...]
    following: Graph | None = None
    shared: dict[str, Tensor] = field(default_factory=dict)


class PublishedImage(nn.Module):
    """RGB in 0..255 -> image embedding: normalisation, as in our graph, then the published code."""

    def __init__(self, sam: Sam, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.normalise, self.encoder = Normalise(mean, std), PublishedEncoder(sam)

    def forward(self, image: Tensor) -> Tensor:
        """See the class."""
        embedding: Tensor = self.encoder(self.normalise(image))
        return embedding


def build(row: BenchRow) -> Subject:
    """Build both sides of a row."""
    variant = load_variant(row.variant)
    rng = np.random.default_rng(SEED)
    if row.graph in SIDES:
        variant = with_memory(variant)
        return Subject(*SIDES[row.graph](fill(variant, rng), variant, rng))
    ours = fill(variant, rng)
    theirs = copy.deepcopy(ours).requires_grad_(False)
    freeze(ours)
    graphs = {g.spec.name: g for g in graphs_of(ours, variant, prompt_rule(variant, 1, SLOTS))}
    if row.graph == "image_encoder":
        size, rule = variant.preprocess.size, variant.preprocess
        image = torch.from_numpy(rng.integers(0, 256, (1, 3, size, size)).astype(np.float32))
        published: nn.Module = PublishedImage(theirs, rule.mean, rule.std)
        return Subject(published.eval(), {"image": image}, graphs[row.graph], (image,))
    published = PublishedDecoder(theirs)
    given, inputs = _prompts(variant, rng)
    return Subject(published.eval(), given, graphs[row.graph], inputs)


def _prompts(
    variant: Variant, rng: np.random.Generator
) -> tuple[dict[str, Tensor], tuple[Tensor, ...]]:
    """Make the real prompts alone, and the same in static slots."""
    drawn = rng.standard_normal(slots_of(variant).embedding).astype(np.float32)
    given = {
        "image_embeddings": torch.from_numpy(drawn),
        "point_coords": torch.tensor([POINTS]),
        "point_labels": torch.tensor([POINT_LABELS], dtype=torch.float32),
    }
    coords = torch.zeros(1, SLOTS, 2)
    labels = torch.full((1, SLOTS), float(LABELS["empty"]))
    coords[:, : len(POINTS)], labels[:, : len(POINTS)] = (
        given["point_coords"],
        torch.tensor(POINT_LABELS, dtype=torch.float32),
    )
    low = variant.mask.low_res_size
    no_mask = (torch.zeros(1, 1, low, low), torch.zeros(1))
    return given, (given["image_embeddings"], coords, labels, *no_mask)


def write_checkpoint(row: BenchRow, path: Path) -> None:
    """Write a torch file of the row's variant in its authors' layout, with random weights."""
    torch.save(fill(load_variant(row.variant), np.random.default_rng(SEED)).state_dict(), path)


def fill(variant: Variant, rng: np.random.Generator) -> Sam:
    """Build the variant's network with random weights: values neither grow nor vanish."""
    sam = cast("Sam", variant.layouts[0].build())
    state = sam.state_dict()
    with torch.no_grad():
        for name, tensor in state.items():
            if tensor.is_floating_point():
                tensor.copy_(torch.from_numpy(values(name, tuple(tensor.shape), rng)))
    return sam.eval()
