"""RAP-SAM's parts in the exported form against plain ones of the same arithmetic."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F

from exporter.models.deformable import TAPS, DeformableConv
from exporter.models.layers import freeze
from exporter.models.rap_sam_head import KernelUpdate, PanopticHead, PixelAttention, SelfAttention
from tests.unit.small_networks import assert_equal, filled, noise

HIGH, WIDE = 5, 7


def plain_deformable(conv: DeformableConv, x: torch.Tensor) -> torch.Tensor:
    """The definition: a loop over pixels and taps, before the batch norm is folded."""
    told, weight = conv.dcn_offset(x)[0], conv.dcn.weight
    out = torch.zeros(weight.shape[0], HIGH, WIDE)
    for row in range(HIGH):
        for column in range(WIDE):
            for tap in range(TAPS):
                y = row + tap // 3 - 1 + float(told[2 * tap, row, column])
                z = column + tap % 3 - 1 + float(told[2 * tap + 1, row, column])
                mask = torch.sigmoid(told[2 * TAPS + tap, row, column])
                seen = sampled(x[0], y, z) * mask
                out[:, row, column] += weight[:, :, tap // 3, tap % 3] @ seen
    return F.relu(conv.dcn_bn(out[None]))


def sampled(x: torch.Tensor, y: float, z: float) -> torch.Tensor:
    """Bilinear, zero outside."""
    total = torch.zeros(len(x))
    for row in (int(y // 1), int(y // 1) + 1):
        for column in (int(z // 1), int(z // 1) + 1):
            if 0 <= row < HIGH and 0 <= column < WIDE:
                total += x[:, row, column] * (1 - abs(y - row)) * (1 - abs(z - column))
    return total


@pytest.mark.parametrize("reach", [0.5, 4.0])
def test_a_deformable_convolution_is_its_definition(reach):
    """Offsets of a pixel, and of most of the map: many samples then lie outside."""
    conv = filled(DeformableConv(6, 4, (HIGH, WIDE)), "deformable")
    with torch.no_grad():
        conv.dcn_offset.weight.mul_(reach)
        conv.dcn_offset.bias.mul_(20 * reach)
    x = noise(1, 6, HIGH, WIDE)
    expected = plain_deformable(conv, x)
    assert_equal(conv(x), expected)
    freeze(conv)
    assert_equal(conv(x), expected)


def test_offsets_are_dy_then_dx_of_each_tap():
    """One tap that moves down by one row takes the row below, and nothing else."""
    conv = filled(DeformableConv(1, 1, (HIGH, WIDE)), "order")
    with torch.no_grad():
        conv.dcn_offset.weight.zero_()
        conv.dcn_offset.bias.zero_()
        conv.dcn.weight.zero_()
        conv.dcn.weight[0, 0, 1, 1] = 2.0  # a mask of a half
        conv.dcn_offset.bias[2 * 4] = 1.0
        conv.dcn_bn = torch.nn.Identity()
    x = noise(1, 1, HIGH, WIDE).abs()
    below = torch.cat([x[:, :, 1:], torch.zeros(1, 1, 1, WIDE)], dim=2)
    assert_equal(conv(x), below)


def test_a_prompt_alone_is_attention_over_itself():
    attention = filled(SelfAttention(64), "alone")
    x = noise(3, 64)
    together = torch.cat([attention(row[None]) for row in x])
    assert_equal(attention.alone(x), together)


def test_attention_of_queries_is_torchs():
    ours = filled(SelfAttention(64), "queries")
    torchs = torch.nn.MultiheadAttention(64, 8).eval()
    torchs.load_state_dict(ours.state_dict())
    x = noise(5, 64)
    assert_equal(ours(x), torchs(x, x, x)[0])


def test_attention_to_pixels_is_torchs():
    ours = filled(PixelAttention(64), "pixels")
    torchs = torch.nn.MultiheadAttention(64, 8).eval()
    torchs.load_state_dict(ours.attn.state_dict())
    kernels, pixels = noise(3, 64), noise(64, 35)
    assert_equal(ours(kernels, pixels), torchs(kernels, pixels.T, pixels.T)[0])


def test_a_share_of_the_sums_changes_no_digit():
    update = filled(KernelUpdate(32), "share")
    weight, sums, kernels = update.dynamic_layer.weight, noise(2, 32) * 1000, noise(2, 32)
    expected = update(sums, kernels)
    freeze(update)
    freeze(update)  # once is enough
    assert torch.equal(update(sums * update.share, kernels), expected)
    assert weight is not update.dynamic_layer.weight, "the checkpoint's tensor was changed"


def test_the_likeliest_template_speaks_for_a_class_and_the_last_is_none():
    head = filled(PanopticHead(32, 6, 16), "classes")
    texts = F.normalize(noise(3, 2, 16), dim=-1)
    head.classify_by(texts)
    assert head.classes == 4
    features = noise(1, 32, 4, 5)
    masks, scores = head(features, torch.nn.ModuleList())
    assert masks.shape == (1, 6, 4, 5)
    told = F.normalize(head.project(head.update(*_last(head, features))), dim=-1)
    cosines = torch.einsum("qd,ktd->qkt", told, texts).amax(dim=-1)
    assert_equal(scores[0, :, :3], cosines * math.exp(4.6052))
    assert not scores[0, :, 3].any()


def _last(head: PanopticHead, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    pixels = features.flatten(2)[0]
    kernels = head.kernels.weight
    hard = (kernels @ pixels > 0).float()
    return hard @ pixels.T, kernels


def test_the_published_size_is_the_default():
    from exporter.models.rap_sam import RapSamSize

    size = RapSamSize()
    assert size.grid == (200, 336)
    assert dataclasses.replace(size, input_size=(64, 96)).grid == (16, 24)
