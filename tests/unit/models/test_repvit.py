"""RepViT: freezing folds branches and norms without moving a number; names are the published."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from exporter.bundle.preprocess import image_input
from exporter.checkpoints.fit import load_strict
from exporter.models.layers import Normalise, freeze
from exporter.models.repvit import EdgeRepViT, RepDepthwise, RepViT, RepViTSize, Upsample2x
from exporter.variants import load_variant
from tests.conformance import published_case
from tests.unit.small_networks import assert_equal, noise
from tests.unit.small_networks import filled as filled_with

WIDTHS, DEPTHS, OUT = (8, 16, 24, 32), (3, 4, 5, 3), 16
IMAGE = 128

SMALL = {
    "repvit": lambda: RepViT(RepViTSize(WIDTHS, DEPTHS, out_width=OUT)),
    "edge": lambda: EdgeRepViT(
        RepViTSize(WIDTHS, DEPTHS, (2, 2, 2), norm_after_sum=False, out_width=OUT), IMAGE // 16
    ),
    "edge bilinear": lambda: EdgeRepViT(
        RepViTSize(WIDTHS, DEPTHS, (2, 2, 2), norm_after_sum=False, out_width=OUT),
        IMAGE // 16,
        "bilinear",
    ),
}

filled = functools.partial(filled_with, salt="repvit")


@pytest.mark.parametrize("name", SMALL)
def test_freezing_leaves_the_embedding_equal(name: str) -> None:
    encoder, image = filled(SMALL[name]()), noise(1, 3, IMAGE, IMAGE)
    expected = encoder(image)
    assert expected.shape == (1, OUT, IMAGE // 16, IMAGE // 16)
    assert_equal(freeze(encoder)(image), expected)
    assert_equal(freeze(encoder)(image), expected)  # a second time changes nothing


@pytest.mark.parametrize("name", SMALL)
def test_a_frozen_encoder_has_no_norms_or_branches_left(name: str) -> None:
    encoder = freeze(filled(SMALL[name]()))
    modules = list(encoder.modules())
    assert not [m for m in modules if isinstance(m, nn.BatchNorm2d)]
    convs = [m for m in modules if isinstance(m, nn.Conv2d)]
    assert all(m.kernel_size == (3, 3) for m in convs if m.groups > 1)
    blocks = 3 * sum(DEPTHS) + len(WIDTHS) - 1  # a widening block has one more
    gates = 1 + 1 + 2 + 1
    stem, neck = 2, 3 if "edge" in name else 2
    assert len(convs) == stem + blocks + 2 * gates + neck


@pytest.mark.parametrize("norm_after_sum", [False, True])
def test_parallel_branches_become_one_convolution(norm_after_sum: bool) -> None:
    layer, x = filled(RepDepthwise(6, norm_after_sum=norm_after_sum)), noise(1, 6, 9, 9)
    expected = layer(x)
    frozen = freeze(layer)
    assert_equal(frozen(x), expected)
    assert [type(m) for m in frozen.children()] == [nn.Conv2d]


def test_freezing_does_not_write_into_the_checkpoint() -> None:
    for make in SMALL.values():
        encoder = filled(make())
        checkpoint = encoder.state_dict()
        before = {name: value.clone() for name, value in checkpoint.items()}
        freeze(encoder)
        assert all(torch.equal(checkpoint[name], before[name]) for name in before)


@pytest.mark.parametrize("mode", ["bicubic", "bilinear"])
def test_upsampling_is_torchs(mode: str) -> None:
    x = noise(1, 5, 12, 12)
    expected = F.interpolate(x, scale_factor=2, mode=mode, align_corners=False)
    assert_equal(freeze(Upsample2x(12, mode))(x), expected)


@pytest.mark.parametrize("name", ["repvit_sam", "edge_sam", "edge_sam_3x"])
def test_state_names_are_the_published_ones(name: str) -> None:
    case = published_case.load(name.removesuffix("_3x"))
    layout = load_variant(name).layouts[0]
    listed = {
        renamed: tuple(shape)
        for published, (shape, _) in case.facts["checkpoint"]["tensors"].items()
        if (renamed := layout.rename(published)) is not None
    }
    built = {key: tuple(value.shape) for key, value in layout.build().state_dict().items()}
    assert built == listed


def test_edge_sams_optional_detector_is_left_out() -> None:
    rename = load_variant("edge_sam").layouts[0].rename
    assert rename("fpn.lateral_convs.0.conv.weight") is None
    assert rename("rpn_head.rpn_conv.weight") is None
    assert rename("image_encoder.neck.0.weight") == "image_encoder.neck.0.weight"


@pytest.mark.conformance
def test_the_bilinear_neck_is_that_of_the_published_exports() -> None:
    case, variant = published_case.load("edge_sam"), load_variant("edge_sam")
    rule = variant.preprocess
    sam, _ = load_strict(variant, case.checkpoint())
    encoder = EdgeRepViT(upsample="bilinear").eval()
    encoder.load_state_dict(sam.image_encoder.state_dict())
    image, _ = image_input(case.picture(), rule)
    with torch.no_grad():
        embedding = freeze(encoder)(Normalise(rule.mean, rule.std)(torch.from_numpy(image)))
    expected, ours, most = case.stored("export.image_embeddings", embedding.numpy())
    assert np.abs(ours - expected).max() <= 1e-4 * most
