"""RWKV-SAM's blocks, against the same steps written plainly."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

from exporter.checkpoints.obtain import Given, obtain
from exporter.errors import RequestError
from exporter.models.layers import freeze
from exporter.models.rwkv import Backbone, RwkvBlock, RwkvSize, Shortcut, q_shift
from exporter.models.rwkv_sam import RwkvSam
from exporter.variants import load_variant
from exporter.variants.rwkv_sam import MOST_WIDTHS, build_for, rename, split

SMALL = RwkvSize(64, (8, 12, 16), (1, 2, 2))


@pytest.fixture(scope="module")
def small():
    """A narrow RWKV-SAM with random weights."""
    torch.manual_seed(0)
    sam = RwkvSam(SMALL)
    with torch.no_grad():
        for parameter in sam.parameters():
            parameter.normal_(0.0, 0.3)
    return sam.eval()


def test_quarters_move_right_left_down_up():
    x = torch.arange(1.0, 10.0).reshape(1, 9, 1).repeat(1, 1, 4)
    right, left, down, up = (q_shift(x, 3)[0, :, at].reshape(3, 3).tolist() for at in range(4))
    assert right == [[0, 1, 2], [0, 4, 5], [0, 7, 8]]
    assert left == [[2, 3, 0], [5, 6, 0], [8, 9, 0]]
    assert down == [[0, 0, 0], [1, 2, 3], [4, 5, 6]]
    assert up == [[4, 5, 6], [7, 8, 9], [0, 0, 0]]


def test_the_shortcut_averages_what_lies_in_the_map():
    x = torch.randn(1, 4, 16, 16)
    expected = F.avg_pool2d(x, 3, 2, 1, count_include_pad=False)
    torch.testing.assert_close(Shortcut(4, 4, 16)(x), expected)


def test_folded_scales_give_the_same(small):
    block = small.image_encoder.backbone.layers[0]
    x = torch.randn(1, 16, 16)
    frozen = freeze(copy.deepcopy(block))
    assert frozen.layer_scale_1 is frozen.layer_scale_2 is None
    with torch.no_grad():
        torch.testing.assert_close(frozen(x), block(x), atol=1e-5, rtol=1e-5)


def test_freezing_leaves_the_checkpoints_tensors_alone():
    block = RwkvBlock(16, 4, 2)
    block.layer_scale_1.data.fill_(3.0)
    held = block.attn.output.weight.data.clone()
    shared = block.attn.output.weight
    freeze(block)
    assert torch.equal(shared, held)


def test_the_maps_share_of_the_mix_is_computed_by_the_encoder(small):
    """The published order: one convolution of feature, eighth and fourth joined."""
    image, prompt = torch.randn(1, 3, 64, 64), torch.randn(1, 3, 256)
    encoder, decoder = small.image_encoder, small.mask_decoder
    with torch.no_grad():
        fourth, eighth, _ = encoder.backbone(image)
        feature = torch.randn(1, 32, 16, 16)
        maps = torch.cat([encoder._enlarged(eighth), encoder.hr_feat_proj(fourth)], dim=1)
        conv = decoder.mix_feat_proj[0]
        weight = torch.cat([conv.weight, encoder.mix_image.weight], dim=1)
        joined = torch.cat([feature, maps], dim=1)
        expected = F.conv2d(joined, weight, encoder.mix_image.bias, padding=1)
        _, given = encoder(image)
        torch.testing.assert_close(conv(feature) + given, expected, atol=1e-4, rtol=1e-4)
    assert prompt.shape[-1] == small.prompt_encoder.no_mask_embed.weight.shape[-1]


def test_a_frozen_decoder_keeps_the_one_token(small):
    decoder = small.mask_decoder
    frozen = freeze(copy.deepcopy(decoder))
    tokens, image = torch.randn(1, 5, 256), torch.randn(1, 16, 256)
    given = (image, torch.randn(1, 16, 256), tokens, torch.zeros(1, 1, 1, 5))
    with torch.no_grad():
        for one, other in zip(
            frozen(*given, torch.ones(1, 64, 16, 16)),
            decoder(*given, torch.ones(1, 64, 16, 16)),
            strict=True,
        ):
            torch.testing.assert_close(one, other)
    assert frozen.mask_tokens.weight.shape == (1, 256)
    assert frozen.iou_prediction_head.layers[-1].weight.shape == (1, 256)


def as_published(sam):
    """Name and shape a network's tensors as a file has them."""
    ours = dict(sam.state_dict())
    names = {
        "image_encoder.backbone.": "backbone.",
        "image_encoder.neck.": "neck.out_proj.",
        "image_encoder.hr_feat_proj.": "mask_decoder.hr_feat_proj.",
        "image_encoder.mr_feat_proj.": "mask_decoder.mr_feat_proj.",
        "prompt_encoder.": "pe.",
        "mask_decoder.mix_feat_proj.": "mask_decoder.mix_feat_proj.",
        "mask_decoder.": "mask_decoder.mask_decoder.",
    }
    image = {part: ours.pop(f"image_encoder.mix_image.{part}") for part in ("weight", "bias")}
    first = "mask_decoder.mix_feat_proj.0.weight"
    ours[first] = torch.cat([ours[first], image["weight"]], dim=1)
    ours["mask_decoder.mix_feat_proj.0.bias"] = image["bias"]
    return {
        next(n + name.removeprefix(o) for o, n in names.items() if name.startswith(o)): tensor
        for name, tensor in ours.items()
    }


def test_widths_and_depths_are_read_off_the_file(small):
    shapes = {rename(n): tuple(t.shape) for n, t in split(as_published(small)).items()}
    built = build_for(shapes, image_size=64)
    assert built.image_encoder.backbone.size == SMALL
    assert {n: tuple(t.shape) for n, t in built.state_dict().items()} == shapes


@pytest.mark.parametrize(
    ("tensor", "shape"),
    [
        ("image_encoder.backbone.final_norm.weight", (MOST_WIDTHS[2] + 4,)),
        ("image_encoder.backbone.stem.conv2.weight", (10**6, 1, 3, 3)),
        ("image_encoder.backbone.layers.9999.norm1.weight", (16,)),
    ],
)
def test_a_file_asks_for_no_more_than_the_largest(small, tensor, shape):
    shapes = {rename(n): tuple(t.shape) for n, t in split(as_published(small)).items()}
    more = {f"image_encoder.backbone.layers.{at}.norm1.weight": (16,) for at in range(70)}
    asked = shapes | {tensor: shape} | (more if "9999" in tensor else {})
    assert build_for(asked, image_size=64) is None


def test_the_backbone_gives_maps_at_three_sides():
    shapes = [tuple(x.shape) for x in Backbone(SMALL).eval()(torch.randn(1, 3, 64, 64))]
    assert shapes == [(1, 8, 16, 16), (1, 12, 8, 8), (1, 16, 4, 4)]


def test_its_licence_is_said_before_a_file_is_asked_for():
    said = []
    with pytest.raises(RequestError, match=r"no weights are published .*: pass --checkpoint FILE"):
        obtain(load_variant("rwkv_sam_small"), Given(), said.append)
    assert [line.split(" (")[0] for line in said] == [
        "licence: NTU S-Lab License 1.0, no commercial use"
    ]
