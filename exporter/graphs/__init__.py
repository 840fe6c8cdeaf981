"""A network's static graphs, one file each.

To add a graph: a file here with

    def build(network: nn.Module, variant: Variant, prompts: PromptRule | None) -> Graph

and its name in `graphs` of the variant's `prompting`. Its spec lists its inputs and outputs and how
often it runs; an output feeds every later input of the same name (`exporter.bundle.flow`). Goldens,
targets, manifest, parity and the harness read everything from the spec. An input that neither the
picture, the prompts nor an earlier graph gives has its golden values in the graph's `examples`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
import torch
from numpy.random import Generator
from torch import Tensor, nn

from exporter import catalog
from exporter.bundle.flow import order_graphs
from exporter.bundle.rules import PromptRule
from exporter.bundle.tensors import GraphSpec
from exporter.models.attention import Attention
from exporter.variants import Variant

Examples = Callable[[Generator], Mapping[str, Mapping[str, npt.NDArray[Any]]]]
"""Seeded numbers -> golden case -> input -> its values, canonical and of the spec's shape."""


def no_examples(numbers: Generator) -> Mapping[str, Mapping[str, npt.NDArray[Any]]]:
    """Give no golden inputs: picture, prompts and earlier graphs give them all."""
    return {}


@dataclass(frozen=True)
class Graph:
    """A traceable module and its contract.

    Attributes:
        spec: its inputs and outputs in their canonical layouts.
        module: positional inputs are `spec.inputs`, outputs are `spec.outputs`, both in order.
        example: one tensor for each input.
        examples: golden values of inputs that nothing else gives. A graph that takes prompts has
            the first case's in all of its cases; any other graph has these cases and no others.
    """

    spec: GraphSpec
    module: nn.Module
    example: tuple[Tensor, ...]
    examples: Examples = no_examples


class Named(nn.Module):
    """A graph's module with inputs and outputs by name."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.module = graph.module
        self.inputs = tuple(tensor.name for tensor in graph.spec.inputs)
        self.outputs = tuple(tensor.name for tensor in graph.spec.outputs)

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        """Map every input of the spec to every output."""
        found = self.module(*(inputs[name] for name in self.inputs))
        outputs = (found,) if isinstance(found, Tensor) else found
        return dict(zip(self.outputs, outputs, strict=True))


def graphs_of(
    network: nn.Module, variant: Variant, prompts: PromptRule | None
) -> tuple[Graph, ...]:
    """Build the variant's graphs with static shapes, in the order they run.

    Args:
        network: loaded and frozen (`exporter.models.layers.freeze`).
        variant: for its shapes and normalisation.
        prompts: for a decoder's static slots; None if the network has none.
    """
    builders = (catalog.load(__name__, name, "build") for name in variant.prompting.graphs)
    return order_graphs([build(network, variant, prompts) for build in builders])


def graph_of(spec: GraphSpec, module: nn.Module, examples: Examples = no_examples) -> Graph:
    """Make a graph with zeros as its example; see `Graph` for `examples`."""
    example = tuple(torch.zeros(tensor.shape) for tensor in spec.inputs)
    return Graph(spec, module.eval(), example, examples)


@contextmanager
def absorbed(module: nn.Module) -> Iterator[None]:
    """Within the block, cross-attention takes the form of `exporter.models.absorbed_attention`."""
    attentions = [m for m in module.modules() if isinstance(m, Attention)]
    try:
        for attention in attentions:
            attention.absorbed = True
        yield
    finally:
        for attention in attentions:
            attention.absorbed = False


@contextmanager
def channels_last(module: nn.Module) -> Iterator[None]:
    """Within the block, layers with a form for channels last (TFLite's layout) take that form.

    Such a layer has an attribute `channels_last`, false outside the block.
    """
    with _switched(module, "channels_last"):
        yield


@contextmanager
def centred(module: nn.Module) -> Iterator[None]:
    """Within the block, norms of what is centred already (`centred`) leave the mean out."""
    with _switched(module, "centred"):
        yield


@contextmanager
def _switched(module: nn.Module, form: str) -> Iterator[None]:
    layers = [m for m in module.modules() if isinstance(getattr(m, form, None), bool)]
    try:
        for layer in layers:
            setattr(layer, form, True)
        yield
    finally:
        for layer in layers:
            setattr(layer, form, False)
