"""A network at another input size than the published one: make it, and say what that saves."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from exporter.bundle.rules import PromptRule
from exporter.host_rules import as_everything, is_everything
from exporter.job import Order
from exporter.progress import Progress
from exporter.variants import Variant
from exporter.variants._sizes import resize

if TYPE_CHECKING:
    from torch import nn

Shapes = Mapping[str, tuple[int, ...]]


def resize_network(
    network: nn.Module, layout: str, loaded: Variant, order: Order, report: Progress
) -> nn.Module:
    """Move a network to the input size of the order, and report the work saved.

    Args:
        network: loaded, not frozen.
        layout: name of the one that it was built by.
        loaded: the variant at the network's own size.
        order: the settled job.
        report: called with what differs from the published network.
    """
    from exporter.checkpoints.resized import at_size

    wanted = order.variant
    network = at_size(network, layout, loaded, wanted)
    if wanted.published_size is not None:
        shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
        report(
            f"{wanted.name}: input {wanted.preprocess.size} instead of the published "
            f"{wanted.published_size}: {'; '.join(savings(wanted, layout, shapes, order.prompts))}"
        )
    return network


def as_ordered(variant: Variant, order: Order) -> Variant:
    """Return the variant at its file's size, with the preparation of pictures asked for."""
    if order.variant.preprocess.resize == "within":
        return order.variant  # no tensor of its file depends on the size
    rule = dataclasses.replace(order.variant.preprocess, size=variant.preprocess.size)
    return dataclasses.replace(variant, preprocess=rule)


def savings(
    variant: Variant, layout: str, shapes: Shapes, prompts: PromptRule | None
) -> Iterator[str]:
    """Compare every graph's multiply-accumulates with those of the published network.

    Args:
        variant: at a size that is not the published one.
        layout: name of a layout of it.
        shapes: of its tensors, by our names.
        prompts: of its decoder's slots; None if it has none.
    """
    published = resize(variant, variant.published_size or variant.preprocess.size)
    if is_everything(variant):
        published, _ = as_everything(published, None)
    before = count(published, layout, shapes, prompts)
    for name, now in count(variant, layout, shapes, prompts).items():
        then = before[name]
        change = f"{1 - now / then:.0%} saved" if now <= then else f"{now / then:.2g} times as many"
        counts = f"{now / 1e9:.3g} G multiply-accumulates a call, not {then / 1e9:.3g}"
        yield f"{name} {counts} ({change})"


def count(
    variant: Variant, layout: str, shapes: Shapes, prompts: PromptRule | None
) -> dict[str, int]:
    """Count each graph's multiply-accumulates; nothing is computed, and no weight is held.

    Args:
        variant: at any size.
        layout: name of a layout of it.
        shapes: of its tensors, by our names.
        prompts: of its decoder's slots; None if it has none.
    """
    import torch

    from exporter.arithmetic import multiply_accumulates
    from exporter.checkpoints.resized import build_untrained
    from exporter.graphs import graphs_of
    from exporter.models.layers import freeze

    (chosen,) = (each for each in variant.layouts if each.name == layout)
    with torch.device("meta"):
        graphs = graphs_of(freeze(build_untrained(chosen, dict(shapes))), variant, prompts)
        return {graph.spec.name: multiply_accumulates(graph) for graph in graphs}
