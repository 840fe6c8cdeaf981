"""Pruned SAM ViTs: widths that differ from block to block, and where they are read from."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import nn

from exporter.checkpoints.fit import guess_variants, load_strict
from exporter.checkpoints.reading import Checkpoint, read_checkpoint
from exporter.errors import CheckpointMismatch
from exporter.models.layers import freeze
from exporter.models.mask_decoder import DecoderSize
from exporter.models.sam import Geometry, Sam
from exporter.models.vit import BlockSize, ViT, ViTSize, size_of
from exporter.variants import Variant, load_variant

UNEVEN = (BlockSize(12, 6, 40, 14), BlockSize(10, 9, 72, 0), BlockSize(3, 5, 8, 7))


def _shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}


def _sam(width: int, *, split: bool, blocks: tuple[BlockSize, ...] = UNEVEN) -> Sam:
    torch.manual_seed(0)
    size = ViTSize(width, blocks=blocks, split_qkv=split)
    return Sam(ViT(size), Geometry(1024, 64), DecoderSize()).eval()


def _checkpoint(sam: Sam) -> Checkpoint:
    return Checkpoint(Path("made.pth"), "0" * 64, dict(sam.state_dict()))


def _only(variant: Variant, layout: str) -> Variant:
    layouts = tuple(known for known in variant.layouts if known.name == layout)
    return dataclasses.replace(variant, layouts=layouts)


@pytest.mark.parametrize("split", [False, True])
def test_widths_are_read_off_the_tensors(split):
    size = ViTSize(72, blocks=UNEVEN, split_qkv=split)
    assert size_of(_shapes(ViT(size))) == size


def test_the_published_sizes_are_read_back():
    for name in ("slimsam_50", "slimsam_77", "sam_vit_b"):
        vit = load_variant(name).layouts[0].build().image_encoder
        read = size_of(_shapes(vit))
        assert read is not None
        assert (read.width, read.block_sizes()) == (vit.size.width, vit.size.block_sizes())


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("patch_embed.proj.weight", (1_000_000, 3, 16, 16)),
        ("patch_embed.proj.weight", ()),
        ("blocks.1.attn.qkv.weight", (3_000_000, 72)),
        ("blocks.1.attn.rel_pos_h", (1_000_001, 9)),
        ("blocks.1.attn.rel_pos_h", (127, 0)),
        ("blocks.1.mlp.lin1.weight", (1_000_000, 72)),
        ("blocks.1.mlp.lin1.weight", (72,)),
    ],
)
def test_impossible_widths_are_not_built(name, shape):
    shapes = _shapes(ViT(ViTSize(72, blocks=UNEVEN)))
    assert size_of(shapes | {name: shape}) is None


def test_endless_blocks_are_not_built():
    shapes = _shapes(ViT(ViTSize(72, blocks=UNEVEN)))
    first = {name: shape for name, shape in shapes.items() if name.startswith("blocks.0.")}
    for index in range(200):
        shapes |= {name.replace(".0.", f".{index}.", 1): shape for name, shape in first.items()}
    assert size_of(shapes) is None


def test_other_networks_have_no_such_size():
    assert size_of({}) is None
    assert size_of(_shapes(load_variant("mobile_sam").layouts[0].build().image_encoder)) is None


def test_split_queries_compute_what_packed_ones_do():
    blocks = (BlockSize(4, 6, 40, 3), BlockSize(2, 5, 8, 0))
    size = ViTSize(24, image_size=64, out_width=16, blocks=blocks)
    torch.manual_seed(1)
    packed, split = ViT(size).eval(), ViT(dataclasses.replace(size, split_qkv=True)).eval()
    state = dict(packed.state_dict())
    for index in range(len(blocks)):
        for kind in ("weight", "bias"):
            parts = state.pop(f"blocks.{index}.attn.qkv.{kind}").chunk(3)
            state |= {
                f"blocks.{index}.attn.{n}.{kind}": p for n, p in zip("qkv", parts, strict=True)
            }
    for name, value in state.items():
        if "rel_pos" in name or name == "pos_embed":
            value.normal_()
    split.load_state_dict(state)
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected, ours = freeze(packed)(image), freeze(split)(image)
    torch.testing.assert_close(ours, expected, atol=1e-6, rtol=1e-5)


def test_a_pickled_whole_module_loads(tmp_path):
    """As SlimSAM's training code saves it: the module itself, its encoder in DataParallel."""
    sam = _sam(168, split=True)
    expected = {name: value.clone() for name, value in sam.state_dict().items()}
    sam.image_encoder = nn.DataParallel(sam.image_encoder)
    torch.save(sam, tmp_path / "SlimSAM-77.pth")
    loaded, layout = load_strict(
        load_variant("slimsam_77"), read_checkpoint(tmp_path / "SlimSAM-77.pth")
    )
    assert layout.name == "slimsam-global"
    assert loaded.image_encoder.size.blocks == UNEVEN
    assert loaded.state_dict().keys() == expected.keys()
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, expected[name]), name


def test_a_file_of_the_other_pruning_is_refused():
    checkpoint = _checkpoint(_sam(168, split=True))
    known = [load_variant(name) for name in ("slimsam_50", "slimsam_77", "sam_vit_b")]
    assert guess_variants(checkpoint, known) == ["slimsam_77"]
    with pytest.raises(CheckpointMismatch):
        load_strict(load_variant("slimsam_50"), checkpoint)


def test_any_pruned_sam_loads_and_is_guessed_last():
    pruned = load_variant("pruned_sam")
    checkpoint = _checkpoint(_sam(72, split=False))
    loaded, layout = load_strict(pruned, checkpoint)
    assert layout.name == "segment-anything"
    assert loaded.image_encoder.size.blocks == UNEVEN
    known = [pruned, load_variant("slimsam_77"), load_variant("sam_vit_b")]
    assert guess_variants(checkpoint, known) == ["pruned_sam"]
    uniform = _checkpoint(load_variant("slimsam_77").layouts[0].build())
    assert guess_variants(uniform, known) == ["slimsam_77"]
    load_strict(pruned, uniform)


def test_a_tensor_that_fits_no_width_is_named():
    checkpoint = _checkpoint(_sam(72, split=False))
    checkpoint.tensors["image_encoder.blocks.1.norm2.weight"] = torch.ones(71)
    variant = _only(load_variant("pruned_sam"), "segment-anything")
    with pytest.raises(CheckpointMismatch, match=r"blocks\.1\.norm2\.weight"):
        load_strict(variant, checkpoint)
