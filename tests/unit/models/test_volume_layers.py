"""Each form of rank 4 against torch's own three-dimensional layer, and the published attention."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from exporter.models.layers import freeze
from exporter.models.volume_encoder import VolumeAttention, VolumeViTSize
from exporter.models.volume_layers import (
    Conv3x3x3,
    PatchConv3d,
    Shrink2x3d,
    Upscale2x3d,
    fold_children,
    unfold_children,
)
from tests.unit.small_networks import assert_equal, filled, noise

GRID = 3


def made(layer):
    return freeze(filled(layer, "volume"))


def test_patches_of_a_volume():
    layer, volume = made(PatchConv3d(5, 4)), noise(1, 8, 8, 8)
    expected = F.conv3d(volume[:, None], layer.weight, layer.bias, stride=4)
    assert_equal(layer(volume), expected[0].transpose(0, 1))


def test_a_convolution_over_27_cells():
    layer, cells = made(Conv3x3x3(4, GRID)), noise(1, 4, GRID, GRID, GRID)
    expected = F.conv3d(cells, layer.weight, padding=1)
    assert_equal(layer(cells[0].transpose(0, 1)), expected[0].transpose(0, 1))


@pytest.mark.parametrize("batch", [1, 2])
def test_two_transposed_convolutions_and_the_way_to_a_volume(batch):
    first, second = made(Upscale2x3d(6, 4)), made(Upscale2x3d(4, 3))
    cells = noise(batch, 6, GRID, GRID, GRID)
    expected = F.conv_transpose3d(cells, first.weight, first.bias, stride=2)
    expected = F.conv_transpose3d(expected, second.weight, second.bias, stride=2)
    tokens = second(first(cells.flatten(2).transpose(1, 2)))
    side = 4 * GRID
    assert_equal(unfold_children(tokens, GRID), expected.reshape(batch, 3, side * side, side))


def test_two_convolutions_of_a_mask():
    first, second = made(Shrink2x3d(1, 4)), made(Shrink2x3d(4, 6))
    side = 4 * GRID
    mask = noise(1, 1, side, side, side)
    expected = F.conv3d(mask, first.weight, first.bias, stride=2)
    expected = F.conv3d(expected, second.weight, second.bias, stride=2)
    tokens = second(first(fold_children(mask.reshape(1, 1, side * side, side), GRID)))
    assert_equal(tokens, expected.flatten(2).transpose(1, 2))


def test_folding_undoes_unfolding():
    tokens = noise(2, 64 * GRID**3, 1)
    assert torch.equal(fold_children(unfold_children(tokens, GRID), GRID), tokens)


def test_attention_with_the_published_positions():
    """Their three terms broadcast over the last axes, whatever axis they are of."""
    size = VolumeViTSize(width=12, heads=2, volume_size=16 * GRID)
    plain = filled(VolumeAttention(size), "volume")
    x, tokens, head = noise(1, GRID**3, 12), GRID**3, 6
    q, k, v = plain.qkv(x).reshape(tokens, 3, 2, head).permute(1, 2, 0, 3)
    logits = (q * head**-0.5) @ k.transpose(1, 2)
    near = torch.arange(GRID)[:, None] - torch.arange(GRID) + GRID - 1
    cells = q.reshape(2, GRID, GRID, GRID, head)
    d = torch.einsum("bxyzc,xkc->bxyzk", cells, plain.rel_pos_d[near])
    h = torch.einsum("bxyzc,ykc->bxyzk", cells, plain.rel_pos_h[near])
    w = torch.einsum("bxyzc,zkc->bxyzk", cells, plain.rel_pos_w[near])
    logits = logits.reshape(2, *(GRID,) * 6) + d[:, :, :, :, None, None]
    logits = logits + h[:, :, :, None, :, None] + w[:, :, :, None, None, :]
    weights = logits.reshape(2, tokens, tokens).softmax(-1)
    expected = plain.proj((weights @ v).transpose(0, 1).reshape(1, tokens, 12))
    assert_equal(freeze(plain)(x), expected)
