"""Weights in 4 bits that make up for each other's rounding; converters find their steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from exporter.bundle.goldens import key
from exporter.bundle.tensors import GraphSpec, TensorSpec
from exporter.compensation import WIDTH, Compensation, round_compensated, second_moments
from exporter.errors import LoweringError
from exporter.graphs import graph_of
from exporter.rounding import round_weight
from tests.unit.small_networks import filled, noise


def correlated(inputs, tokens=400):
    """Tokens whose inputs move together, as those of networks do."""
    rng = np.random.default_rng(1)
    mixed = rng.standard_normal((tokens, 8)) @ rng.standard_normal((8, inputs))
    return torch.from_numpy(mixed + 0.3 * rng.standard_normal(mixed.shape)).float()


def moments(x):
    return [group.T @ group for group in torch.split(x, WIDTH, dim=1)]


def lost(weight, rounded, x):
    return float((x @ (rounded - weight).T).square().mean())


@pytest.mark.parametrize("inputs", [64, WIDTH + 96])
def test_a_layer_gives_more_nearly_what_it_gave(inputs):
    weight, x = noise(24, inputs), correlated(inputs)
    ours = round_compensated(weight, moments(x), 32)
    assert lost(weight, ours, x) < 0.4 * lost(weight, round_weight(weight, 4), x)


@pytest.mark.parametrize("block", [16, 32, 64])
def test_a_largest_magnitude_over_7_finds_the_steps(block):
    weight = noise(24, 128) * 0.037
    weight[3, :block] = 0
    rounded = round_compensated(weight, moments(correlated(128)), block)
    blocks = rounded.reshape(-1, block)
    scales = blocks.abs().amax(dim=1, keepdim=True) / 7
    steps = blocks[scales[:, 0] > 0] / scales[scales > 0][:, None]
    assert torch.equal(steps, steps.round())
    assert steps.abs().max() == 7
    assert len(steps.unique()) == 15
    assert torch.equal(scales, scales.bfloat16().float())
    assert torch.equal(rounded, rounded.half().float())
    assert (rounded[3, :block] == 0).all()


def test_inputs_that_are_always_zero_do_no_harm():
    weight = noise(24, 64)
    none = [torch.zeros(64, 64)]
    assert (round_compensated(weight, none, 32) - weight).abs().max() < weight.abs().max() / 7


@pytest.fixture
def compensation(tmp_path):
    """Of 64 inputs to 48, which no block divides, to 3."""
    x = TensorSpec("x", (400, 64), "float32", "B2")
    y = TensorSpec("y", (400, 3), "float32", "B2")
    layers = filled(nn.Sequential(nn.Linear(64, 48), nn.GELU(), nn.Linear(48, 3)), "layers")
    path = tmp_path / "x.npz"
    np.savez(path, **{key("tiny", "scene", "x"): correlated(64).numpy()})
    return Compensation(graph_of(GraphSpec("tiny", (x,), (y,), "image"), layers), [path])


def test_weights_are_rounded_within_the_block_alone(compensation):
    first, _, second = compensation.graph.module
    before = [layer.weight.clone() for layer in (first, second)]
    with compensation.within(frozenset(), 32):
        assert torch.equal(round_weight(first.weight, 4), first.weight)
        assert torch.equal(second.weight, before[1])
    with compensation.within(frozenset(), 16):
        assert not torch.equal(second.weight, before[1])
    assert torch.equal(first.weight, before[0])
    assert torch.equal(second.weight, before[1])


def test_a_module_that_is_kept_stays_exact(compensation):
    first = compensation.graph.module[0]
    before = first.weight.clone()
    with compensation.within(frozenset({"0"}), 32):
        assert torch.equal(first.weight, before)


def test_values_that_are_not_finite_are_an_error(compensation):
    with torch.no_grad():
        compensation.graph.module[0].weight[0, 0] = torch.inf
    with pytest.raises(LoweringError, match=r"calibration of tiny: what 2\.weight takes"):
        second_moments(compensation.graph, compensation.pictures)
