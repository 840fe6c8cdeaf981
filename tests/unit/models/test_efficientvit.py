"""EfficientViT's blocks against the published formulas, and its 512 pixel input in a 1024 frame."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from exporter.bundle.preprocess import fit, upscale
from exporter.bundle.reading import parse
from exporter.bundle.rules import Preprocess
from exporter.models.efficientvit import EfficientViT, EfficientViTSize
from exporter.models.efficientvit_blocks import Bicubic, LiteMLA
from exporter.models.layers import freeze
from exporter.models.prompt_encoder import PromptEncoder
from exporter.targets import Options, load_target
from exporter.targets import names as target_names
from exporter.variants import load_variant

SMALL = EfficientViTSize(
    image_size=256, widths=(8, 8, 16, 32, 64), depths=(1, 1, 1, 1, 1), neck_depth=1, out_width=16
)
L0 = load_variant("efficientvit_sam_l0").preprocess


def _filled(module: nn.Module, seed: int = 0) -> nn.Module:
    """Weights and batch norm statistics that no mistake leaves unseen."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in module.state_dict().items():
            if name.endswith("running_var"):
                value.copy_(0.5 + torch.rand(value.shape, generator=draw))
            elif value.is_floating_point():
                spread = max(value[0].numel(), 1) ** -0.5 if value.ndim > 1 else 0.3
                value.copy_(torch.randn(value.shape, generator=draw) * spread)
    return module.eval()


def _picture(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _published_attention(layer: LiteMLA, x: torch.Tensor) -> torch.Tensor:
    """Sums over all tokens and the epsilon, as published, in float64."""
    layer, x = layer.double(), x.double()
    qkv = layer.qkv(x)
    qkv = torch.cat([qkv, layer.aggreg[0](qkv)], dim=1).reshape(1, -1, 96, x[0, 0].numel())
    q, k, v = F.relu(qkv[:, :, :32]), F.relu(qkv[:, :, 32:64]), qkv[:, :, 64:]
    v = F.pad(v, (0, 0, 0, 1), value=1.0)
    out = (v @ k.transpose(-1, -2)) @ q
    out = out[:, :, :-1] / (out[:, :, -1:] + 1e-15)
    return layer.proj(out.reshape(1, -1, *x.shape[2:]))


def _close(ours: torch.Tensor, expected: torch.Tensor, relative: float = 1e-5) -> bool:
    return bool((ours - expected).abs().max() <= relative * expected.abs().max())


def test_freezing_changes_no_number_and_no_checkpoint_tensor():
    encoder = _filled(EfficientViT(SMALL))
    image = _picture(1, 3, 256, 256)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    held = dict(encoder.state_dict())
    with torch.no_grad():
        expected = encoder(image)
        ours = freeze(encoder)(image)
        again = freeze(encoder)(image)
    assert expected.shape == (1, 16, 32, 32)
    assert _close(ours, expected)
    assert torch.equal(again, ours)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in encoder.modules())
    for name, value in before.items():
        assert torch.equal(held[name], value), name


@pytest.mark.parametrize("frozen", [False, True])
def test_linear_attention_is_the_published_one(frozen):
    layer = _filled(LiteMLA(64, 32, 5, grid=8))
    x = _picture(1, 64, 8, 8)
    with torch.no_grad():
        expected = _published_attention(_filled(LiteMLA(64, 32, 5, grid=8)), x)
        ours = (freeze(layer) if frozen else layer)(x)
    assert _close(ours.double(), expected)


def test_a_place_that_asks_for_nothing_gets_nothing():
    layer = _filled(LiteMLA(64, 32, 3, grid=8))
    x = torch.zeros(1, 64, 8, 8)
    with torch.no_grad():
        expected = layer.proj(torch.zeros(1, 128, 8, 8))
        assert torch.equal(freeze(layer)(x), freeze(layer).proj(torch.zeros(1, 128, 8, 8)))
        assert _close(layer(x), expected)


def test_the_frozen_sums_fit_float16():
    """4096 tokens of strong keys: the published sums are above 65504, the means are not."""
    layer = _filled(LiteMLA(64, 32, 3, grid=64))
    x = 20.0 * _picture(1, 64, 64, 64)
    seen: list[float] = []
    layer.proj.register_forward_pre_hook(lambda _, given: seen.append(given[0].abs().max().item()))
    with torch.no_grad():
        qkv = layer.qkv(x).reshape(1, 2, 96, 4096)
        q, k = F.relu(qkv[:, :, :32]), F.relu(qkv[:, :, 32:64])
        total = (k.sum(-1, keepdim=True).transpose(2, 3) @ q).max().item()
        freeze(layer)(x)
    assert total > 65504 > total / 4096
    assert seen[0] < 65504


@pytest.mark.parametrize(("side", "new"), [(16, 64), (32, 64)])
def test_bicubic_is_torchs(side, new):
    x = _picture(1, 4, side, side)
    expected = F.interpolate(x, (new, new), mode="bicubic", align_corners=False)
    assert _close(Bicubic(side, new)(x), expected)


def test_positions_are_encoded_in_the_frame():
    """Half a pixel is half a pixel of the frame, not of the input."""
    frame = _filled(PromptEncoder(32, 4, 1024))
    ours = PromptEncoder(32, 4, 1024, scale=2.0)
    ours.load_state_dict(frame.state_dict())
    coords, labels = 512 * torch.rand(1, 6, 2), torch.tensor([[1.0, 0.0, 2.0, 3.0, -1.0, -2.0]])
    with torch.no_grad():
        expected, bias = frame(2 * coords, labels)
        tokens, our_bias = ours(coords, labels)
    torch.testing.assert_close(tokens, expected, atol=1e-5, rtol=0)
    assert torch.equal(bias, our_bias)
    assert torch.equal(ours.dense_position(), frame.dense_position())


@pytest.mark.parametrize("name", ["efficientvit_sam_l0", "efficientvit_sam_xl0"])
def test_the_network_and_the_manifest_mean_one_frame(name):
    variant = load_variant(name)
    sam, rule = variant.layouts[0].build(), variant.preprocess
    side = rule.frame_size or rule.size
    assert (sam.prompt_encoder.size, sam.prompt_encoder.scale) == (1024, 1024 / rule.size)
    assert side == 1024


def test_prompts_and_masks_follow_the_frames_own_rounding():
    frame = fit(1000, 333, L0)
    assert frame.resized == (512, 170)
    assert frame.published is not None
    assert frame.published.resized == (1024, 341)
    np.testing.assert_array_equal(frame.to_input(np.array([1000.0, 333.0])), [512, 170.5])
    low = np.random.default_rng(3).normal(size=(2, 256, 256)).astype(np.float32)
    square = F.interpolate(torch.from_numpy(low)[None], (1024, 1024), mode="bilinear")
    expected = F.interpolate(square[..., :341, :1024], (333, 1000), mode="bilinear")[0]
    np.testing.assert_allclose(upscale(low, frame), expected.numpy(), atol=1e-4)


def test_a_rule_without_a_frame_is_as_before():
    plain = dataclasses.replace(L0, frame_size=None)
    frame = fit(1000, 333, plain)
    assert frame.published is None
    np.testing.assert_array_equal(frame.to_input(np.array([1000.0, 333.0])), [512, 170])


def test_a_manifest_may_leave_the_frame_out():
    data = dataclasses.asdict(L0)
    data = {key: list(v) if isinstance(v, tuple) else v for key, v in data.items()}
    assert parse(Preprocess, data, "preprocess") == L0
    del data["frame_size"]
    assert parse(Preprocess, data, "preprocess").frame_size is None


@pytest.mark.parametrize("target", target_names())
def test_every_target_keeps_the_frame(target):
    assert load_target(target).preprocess(L0, Options()).frame_size == 1024
