"""Weights and inputs for small networks that are held against another form of themselves."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from exporter.graphs import Graph, graphs_of
from exporter.host_rules import prompt_rule
from exporter.variants import Slots, Variant
from tests.conformance import fill

TOLERANCE = 1e-5  # of the output's absolute maximum: float32 sums in another order


def filled(module: nn.Module, salt: str, gain: float = 1.0) -> nn.Module:
    """The module with the conformance cases' rule for its values, in evaluation mode."""
    values = {
        name: torch.from_numpy(fill.tensor(name, tuple(value.shape), salt, gain))
        for name, value in module.state_dict().items()
        if value.is_floating_point()
    }
    module.load_state_dict(module.state_dict() | values)  # batch norms' counters stay
    return module.eval().requires_grad_(False)


def noise(*shape: int) -> Tensor:
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.standard_normal(shape, np.float32))


def assert_equal(ours: Tensor, expected: Tensor) -> None:
    assert ours.shape == expected.shape
    assert (ours - expected).abs().max() <= TOLERANCE * expected.abs().max()


def split(
    network: nn.Module, variant: Variant, batch: int = 1, slots: int = 8
) -> tuple[Graph, ...]:
    """The network's graphs, with these slots if it has any."""
    slotted = isinstance(variant.prompting, Slots)
    return graphs_of(network, variant, prompt_rule(variant, batch, slots) if slotted else None)
