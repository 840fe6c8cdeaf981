"""SAM 2's parts at a small size: what is folded, reordered or told apart gives the same numbers."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from exporter.bundle.reading import parse
from exporter.checkpoints.fit import guess_variants, load_strict
from exporter.checkpoints.reading import Checkpoint
from exporter.errors import CheckpointMismatch
from exporter.models.efficient_tam import EfficientTamEncoder, PlainSize
from exporter.models.hiera import Hiera, HieraSize
from exporter.models.layers import freeze
from exporter.models.mask_decoder import unfold_children
from exporter.models.sam import Geometry
from exporter.models.sam2 import (
    Sam2,
    Sam2Encoder,
    fold_children,
    fold_grandchildren,
    nearest_2x,
)
from exporter.targets import Options, load_target
from exporter.variants import Layout, edgetam, load_variant, sam2
from tests.unit.small_networks import split

SMALL = HieraSize(
    width=8, depths=(1, 2, 3, 1), global_blocks=(4,), windows=(8, 4, 6, 3), image_size=128
)
PLAIN = PlainSize(width=16, heads=2, depth=3, global_blocks=(1,), window=3, image_size=128)


def filled(module: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return module.eval()


def build() -> Sam2:
    return Sam2(Sam2Encoder(Hiera(SMALL)), Geometry(128, 8)).eval()


@pytest.mark.parametrize(
    "encoder",
    [Sam2Encoder(Hiera(SMALL)), EfficientTamEncoder(PLAIN)],
    ids=["sam2", "efficienttam"],
)
def test_freezing_changes_neither_numbers_nor_the_checkpoints_memory(encoder):
    filled(encoder)
    memory = {name: (tensor, tensor.clone()) for name, tensor in encoder.state_dict().items()}
    image = torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = encoder(image)
        ours = freeze(freeze(encoder))(image)
    for a, b in zip(
        *((e,) if isinstance(e, torch.Tensor) else e for e in (expected, ours)), strict=True
    ):
        torch.testing.assert_close(b, a, atol=1e-5, rtol=1e-5)
    for name, (tensor, copied) in memory.items():
        assert torch.equal(tensor, copied), name


def test_the_maps_have_the_sizes_of_the_graphs():
    with torch.no_grad():
        shapes = [
            tuple(x.shape)
            for x in freeze(filled(build())).image_encoder(torch.zeros(1, 3, 128, 128))
        ]
    assert shapes == [(1, 256, 8, 8), (1, 32, 32, 32), (1, 64, 16, 16)]


def test_every_pixel_four_times():
    x = torch.randn(1, 5, 3, 4)
    assert torch.equal(nearest_2x(x), functional.interpolate(x, scale_factor=2, mode="nearest"))


@pytest.mark.parametrize("grid", [1, 3, 4])
def test_a_picture_folds_into_the_order_that_unfolds(grid):
    fine = torch.randn(1, 6, 4 * grid, 4 * grid)
    assert torch.equal(unfold_children(fold_grandchildren(fine, grid), grid), fine)
    middle = torch.randn(1, 6, 2 * grid, 2 * grid)
    children = fold_children(middle, grid).reshape(1, grid, grid, 2, 2, 6)
    y, x, dy, dx = grid - 1, 0, 1, 0
    assert torch.equal(children[0, y, x, dy, dx], middle[0, :, 2 * y + dy, 2 * x + dx])


def small_variant(name):
    """A variant with the small network; its names and marks are the published ones."""
    layout = next(v for v in sam2.VARIANTS if v.name == name).layouts[0]
    small = Layout(layout.name, layout.rename, build, marks=layout.marks)
    return replace(load_variant(name), layouts=(small,))


def published_tensors():
    """Our names -> the published ones, backwards through the renaming; with some of the video."""
    names = {}
    for ours, tensor in filled(build()).state_dict().items():
        name = ours.replace("mask_decoder.", "sam_mask_decoder.")
        name = name.replace("prompt_encoder.", "sam_prompt_encoder.")
        name = name.replace(".mlp.lin1.", ".mlp.layers.0.").replace(".mlp.lin2.", ".mlp.layers.1.")
        name = name.replace("image_encoder.conv_s", "sam_mask_decoder.conv_s")
        names[name.replace("image_encoder.no_mem", "no_mem")] = tensor
    return names | {"maskmem_tpos_enc": torch.zeros(7, 1, 1, 64), "no_obj_ptr": torch.zeros(1, 256)}


def test_the_two_releases_are_told_apart(tmp_path):
    old, new = small_variant("sam2_hiera_tiny"), small_variant("sam2_1_hiera_tiny")
    later = {"no_obj_embed_spatial": torch.zeros(1, 64), "obj_ptr_tpos_proj.weight": torch.zeros(4)}
    files = {
        old.name: Checkpoint(tmp_path / "a.pt", "0" * 64, published_tensors()),
        new.name: Checkpoint(tmp_path / "b.pt", "0" * 64, published_tensors() | later),
    }
    for mine, other in ((old, new), (new, old)):
        assert load_strict(mine, files[mine.name])[1].name == mine.layouts[0].name
        assert guess_variants(files[mine.name], (old, new)) == [mine.name]
        with pytest.raises(CheckpointMismatch):
            load_strict(other, files[mine.name])


def test_the_decoder_graph_takes_what_the_encoder_gives():
    variant = replace(
        load_variant("sam2_hiera_tiny"),
        preprocess=replace(sam2.PREPROCESS, size=128),
        mask=replace(sam2.MASK, low_res_size=32),
        prompting=replace(
            sam2.PROMPTING, embedding=(1, 256, 8, 8), high_res=((1, 32, 32, 32), (1, 64, 16, 16))
        ),
    )
    encoder, decoder = split(freeze(filled(build())), variant, batch=2, slots=3)
    names = ["image_embeddings", "high_res_feats_0", "high_res_feats_1"]
    assert [tensor.name for tensor in encoder.spec.outputs] == names
    assert [tensor.name for tensor in decoder.spec.inputs[:3]] == names
    with torch.no_grad():
        features = encoder.module(*encoder.example)
        outputs = decoder.module(*features, *decoder.example[3:])
    assert [tuple(o.shape) for o in outputs] == [t.shape for t in decoder.spec.outputs]
    assert 0 < outputs[1].min() <= outputs[1].max() < 1  # a sigmoid's


@pytest.mark.parametrize(
    ("published", "ours"),
    [
        ("stem.conv2.c.weight", "0.2.c.weight"),
        ("stages_0.blocks.1.token_mixer.conv1.bn.bias", "2.token_mixer.0.conv1.bn.bias"),
        ("stages_2.blocks.13.channel_mixer.conv2.c.weight", "22.channel_mixer.m.2.c.weight"),
        (
            "stages_2.downsample.pre_block.token_mixer.conv.c.weight",
            "7.token_mixer.0.conv.c.weight",
        ),
        ("stages_3.downsample.spatial_downsample.c.weight", "24.token_mixer.0.c.weight"),
        ("stages_3.downsample.ffn.conv1.c.weight", "24.channel_mixer.m.0.c.weight"),
        ("stages_3.blocks.0.se.fc1.bias", "25.token_mixer.1.fc1.bias"),
    ],
)
def test_edgetams_trunk_is_ours_under_timms_names(published, ours):
    renamed = edgetam.rename(f"image_encoder.trunk.body.{published}")
    assert renamed == f"image_encoder.trunk.features.{ours}"


def test_a_pixel_buffer_takes_rounded_pixels_and_keeps_the_rest():
    rule = replace(sam2.PREPROCESS, frame_size=2048)
    assert load_target("onnx").preprocess(rule, Options()) == rule
    assert load_target("coreml").preprocess(rule, Options()) == replace(
        rule, interpolation="pillow_bilinear"
    )


def test_the_rules_survive_the_manifest():
    for rule in (sam2.MASK, sam2.PREPROCESS):
        data = json.loads(json.dumps(asdict(rule)))
        assert parse(type(rule), data, "rule") == rule
