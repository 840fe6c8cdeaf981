"""Few bits simulated in torch."""

from __future__ import annotations

import pytest
import torch

from exporter.calibration import Range
from exporter.precision import BLOCK, load_precision
from exporter.rounding import Ranges, Rounding, round_values, round_weight
from tests.unit.small_networks import noise


def test_8_bits_are_within_half_a_step_of_their_own_channel():
    for weight in (noise(6, 40), noise(6, 3, 3, 3)):
        weight[2] *= 100
        weight[3] = 0
        rounded = round_weight(weight, 8)
        half = weight.abs().flatten(1).amax(1) / 127 / 2
        assert ((rounded - weight).abs().flatten(1).amax(1) <= half * 1.001).all()
        assert len(rounded[2].unique()) > 20
        assert (rounded[3] == 0).all()


def test_4_bits_have_a_scale_for_each_block_of_a_linear_layer():
    weight = noise(3, 2 * BLOCK)
    weight[:, :BLOCK] *= 50
    rounded = round_weight(weight, 4)
    half = weight.reshape(6, BLOCK).abs().amax(1, keepdim=True) / 7 / 2
    assert ((rounded - weight).reshape(6, BLOCK).abs() <= half * 1.001).all()
    assert all(len(row.unique()) <= 15 for row in rounded.reshape(6, BLOCK))


@pytest.mark.parametrize("shape", [(4, 8, 3, 3), (4, BLOCK + 1)])
def test_what_has_no_blocks_has_8_bits(shape):
    weight = noise(*shape)
    assert torch.equal(round_weight(weight, 4), round_weight(weight, 8))


def test_values_keep_zero_and_are_cut_at_the_ends_of_their_range():
    x = torch.tensor([-9.0, -1.0, 0.0, 0.3, 3.0, 9.0])
    rounded = round_values(x, Range(-1.0, 3.0))
    step = 4 / 255
    assert rounded[2] == 0
    assert (rounded[1:5] - x[1:5]).abs().max() <= step
    assert rounded[0] == pytest.approx(-1, abs=step)
    assert rounded[-1] == pytest.approx(3, abs=step)
    assert round_values(x, Range(0.0, 0.0)).isfinite().all()


def test_modules_that_are_not_named_stay_as_they_are():
    rounding = Rounding(load_precision("int8"), frozenset({"a.fc"}), {"a.fc": Range(-1.0, 1.0)})
    x, weight = noise(2, 4), noise(4, 4)
    assert rounding("b.fc.weight", x, weight) == (x, weight)
    values, rounded = rounding("a.fc.weight", x, weight)
    assert not torch.equal(values, x)
    assert torch.equal(rounded, round_weight(weight, 8))


def test_ranges_are_of_all_calls_and_not_of_fine_layers():
    ranges = Ranges(fine=16)
    for x in (torch.full((1, 3, 5), -2.0), torch.full((1, 3, 5), 7.0)):
        ranges("a.fc.weight", x, noise(5, 5))
    ranges("a.conv.weight", torch.ones(1, 3, 4, 4), noise(2, 3, 1, 1))
    assert ranges.found == {"a.fc": Range(-2.0, 7.0)}
