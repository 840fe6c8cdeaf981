"""Both sides of the rows of a video: a full bank, or a mask, or a whole frame."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from exporter.bundle.rules import LABELS
from exporter.bundle.tensors import GraphSpec, TensorSpec
from exporter.bundle.video import MEMORY_ATTENTION
from exporter.graphs import Graph, graph_of, graphs_of
from exporter.graphs.memory_attention import attention
from exporter.graphs.memory_query import embeddings
from exporter.host_rules import prompt_rule
from exporter.models.layers import Normalise, freeze
from exporter.models.sam2_video import Sam2Video
from exporter.variants import Variant
from profiles.lab.bench.published import PublishedDecoder
from profiles.lab.bench.published_memory import PublishedMemoryAttention
from profiles.lab.bench.published_memory_encoder import PublishedMemoryEncoder
from profiles.lab.bench.rows import FRAME, SLOTS

Sides = tuple[Any, ...]
"""The fields of a `profiles.lab.bench.subjects.Subject`."""

ANSWERS = ("low_res_masks", "iou_predictions", "memory")
"""Outputs of a whole frame that are held against the published ones."""


class WholeAttention(nn.Module):
    """`memory_query` and `memory_attention` in one: what the first object of a frame costs."""

    def __init__(self, network: Sam2Video) -> None:
        super().__init__()
        self.network = network

    def forward(self, image_embeddings: Tensor, *bank: Tensor) -> Tensor:
        """See `exporter.graphs.memory_attention`."""
        return self.network.condition(self.network.query(image_embeddings), *bank)


class WholeFrame(nn.Module):
    """Every graph of a tracked frame, each fed by those before it; the host's choice is an input.

    Args:
        graphs: of the bundle, in the order they run.
        inputs: names of this module's inputs.
    """

    def __init__(self, graphs: tuple[Graph, ...], inputs: tuple[str, ...]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(graph.module for graph in graphs)
        self.specs, self.inputs = [graph.spec for graph in graphs], inputs

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        """See `ANSWERS`."""
        known = dict(zip(self.inputs, given, strict=True))
        for spec, part in zip(self.specs, self.parts, strict=True):
            fed = dict(known)
            if spec.name == "mask_decoder":  # it takes the conditioned features for the image's
                fed["image_embeddings"] = known["conditioned_embeddings"]
            found = part(*(fed[tensor.name] for tensor in spec.inputs))
            outputs = (found,) if isinstance(found, Tensor) else found
            known |= dict(zip((t.name for t in spec.outputs), outputs, strict=True))
        return tuple(known[name] for name in ANSWERS)


class PublishedFrame(nn.Module):
    """The published frame; its image encoder is our modules before anything is folded or frozen."""

    def __init__(self, sam: Sam2Video, variant: Variant, ages: list[int]) -> None:
        super().__init__()
        rule = variant.preprocess
        self.normalise, self.encoder = Normalise(rule.mean, rule.std), sam.image_encoder
        self.attention = PublishedMemoryAttention(sam, ages)
        self.decoder = PublishedDecoder(sam)
        self.memory = PublishedMemoryEncoder(sam)
        self.marks_absence = sam.size.marks_absence

    def forward(
        self, image: Tensor, memories: Tensor, object_pointers: Tensor, mask_logits: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """A tracked frame's prompt is two points of padding."""
        features = self.encoder(self.normalise(image))
        embedding, *maps = features if isinstance(features, tuple) else (features,)
        seen = self.attention(embedding, memories, object_pointers)
        places, labels = torch.zeros(1, 2, 2), torch.full((1, 2), float(LABELS["not_a_point"]))
        masks, iou = self.decoder(seen, places, labels, high_res=tuple(maps))
        present = torch.ones(1) if self.marks_absence else None
        return masks, iou, self.memory(embedding, mask_logits, present)


def attention_sides(network: nn.Module, variant: Variant, rng: np.random.Generator) -> Sides:
    """Memory attention with the part that all objects of a frame share; and alone, for the next.

    Args:
        network: filled, not frozen.
        variant: with its memory.
        rng: for the bank's numbers.
    """
    theirs, ours = cast("Sam2Video", copy.deepcopy(network)), cast("Sam2Video", network)
    freeze(ours)
    alone = attention(ours, variant, MEMORY_ATTENTION)
    inputs = (embeddings(variant), *alone.spec.inputs[1:])
    spec = GraphSpec(alone.spec.name, inputs, alone.spec.outputs, "frame")
    drawn = _draw(inputs, rng)
    slots = _full_bank(drawn)
    published = PublishedMemoryAttention(theirs, list(range(slots))).eval().requires_grad_(False)
    given = {n: drawn[n] for n in ("image_embeddings", "memories", "object_pointers")}
    shared = {"query": ours.query(drawn["image_embeddings"])}
    whole = graph_of(spec, WholeAttention(ours))
    return published, given, whole, tuple(drawn.values()), alone, shared


def encoder_sides(network: nn.Module, variant: Variant, rng: np.random.Generator) -> Sides:
    """The memory encoder of a frame without a prompt."""
    theirs, ours = cast("Sam2Video", copy.deepcopy(network)), cast("Sam2Video", network)
    freeze(ours)
    graph = _by_name(ours, variant)["memory_encoder"]
    drawn = _draw(graph.spec.inputs, rng)
    drawn["from_prompt"] = torch.zeros(1)
    if ours.size.marks_absence:
        drawn["object_present"] = torch.ones(1)
    published = PublishedMemoryEncoder(theirs).eval().requires_grad_(False)
    given = {name: value for name, value in drawn.items() if name != "from_prompt"}
    return published, given, graph, tuple(drawn.values())


def frame_sides(network: nn.Module, variant: Variant, rng: np.random.Generator) -> Sides:
    """A whole tracked frame with one object."""
    theirs, ours = cast("Sam2Video", copy.deepcopy(network)), cast("Sam2Video", network)
    freeze(ours)
    named = _by_name(ours, variant)
    order = ("image_encoder", "memory_query", MEMORY_ATTENTION, "mask_decoder", "memory_encoder")
    graphs = tuple(named[name] for name in order)
    inputs, outputs = _ends(graphs)
    spec = GraphSpec(FRAME, inputs, tuple(outputs[name] for name in ANSWERS), "frame")
    drawn = _draw(inputs, rng)
    slots = _full_bank(drawn)
    size = variant.preprocess.size
    drawn["image"] = torch.from_numpy(rng.integers(0, 256, (1, 3, size, size)).astype(np.float32))
    drawn["point_coords"] = torch.zeros_like(drawn["point_coords"])
    drawn["point_labels"] = torch.full_like(drawn["point_labels"], float(LABELS["empty"]))
    drawn["point_labels"][:, :2] = float(LABELS["not_a_point"])
    for name, value in (("mask_input", 0.0), ("has_mask_input", 0.0), ("from_prompt", 0.0)):
        drawn[name] = torch.full_like(drawn[name], value)
    if ours.size.marks_absence:
        drawn["object_present"] = torch.ones(1)
    frame = WholeFrame(graphs, tuple(drawn))
    published = PublishedFrame(theirs, variant, list(range(slots))).eval().requires_grad_(False)
    given = {n: drawn[n] for n in ("image", "memories", "object_pointers", "mask_logits")}
    return published, given, graph_of(spec, frame), tuple(drawn.values())


SIDES: dict[str, Callable[[nn.Module, Variant, np.random.Generator], Sides]] = {
    MEMORY_ATTENTION: attention_sides,
    "memory_encoder": encoder_sides,
    FRAME: frame_sides,
}


def _by_name(network: Sam2Video, variant: Variant) -> dict[str, Graph]:
    graphs = graphs_of(network, variant, prompt_rule(variant, 1, SLOTS))
    return {graph.spec.name: graph for graph in graphs}


def _ends(graphs: tuple[Graph, ...]) -> tuple[tuple[TensorSpec, ...], dict[str, TensorSpec]]:
    """Return what no earlier graph gives, and what they give; pointers are both, of two frames."""
    inputs, outputs = dict[str, TensorSpec](), dict[str, TensorSpec]()
    for graph in graphs:
        inputs |= {each.name: each for each in graph.spec.inputs if each.name not in outputs}
        outputs |= {each.name: each for each in graph.spec.outputs}
    return tuple(inputs.values()), outputs


def _draw(inputs: tuple[TensorSpec, ...], rng: np.random.Generator) -> dict[str, Tensor]:
    return {
        tensor.name: torch.from_numpy(rng.standard_normal(tensor.shape).astype(np.float32))
        for tensor in inputs
    }


def _full_bank(drawn: dict[str, Tensor]) -> int:
    """Give every slot an age; returns the number of memories."""
    slots, pointers = drawn["memory_age"].shape[1], drawn["pointer_age"].shape[1]
    drawn["memory_age"] = torch.arange(slots, dtype=torch.float32)[None]
    drawn["pointer_age"] = torch.arange(pointers, dtype=torch.float32)[None] / (pointers - 1)
    return slots
