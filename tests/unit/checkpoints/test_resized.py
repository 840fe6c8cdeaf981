"""Weights of one input size in a network of another; a file that says its own size."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from exporter.checkpoints.fit import load_strict
from exporter.checkpoints.reading import Checkpoint
from exporter.checkpoints.resized import as_in_file, at_size
from exporter.errors import CheckpointError
from exporter.models.sam import Sam, geometry
from exporter.models.vit import ViT, ViTSize
from exporter.variants import Layout, load_variant
from exporter.variants._sizes import resize
from exporter.variants.sam import published_names
from tests.unit.checkpoints.small_checkpoints import seeded

GLOBAL = "image_encoder.blocks.1.attn.rel_pos_h"


def small(image_size=1024):
    """A ViT of one block with windows and one without."""
    size = ViTSize(8, 2, 2, (1,), image_size, out_width=256)
    return Sam(ViT(size), geometry(image_size)).eval()


VARIANT = dataclasses.replace(
    load_variant("sam_vit_b"), layouts=(Layout("segment-anything", published_names, small),)
)


def loaded(variant, image_size):
    shapes = small(image_size).state_dict()
    tensors = {name: seeded(tuple(t.shape), at) for at, (name, t) in enumerate(shapes.items())}
    network, layout = load_strict(variant, Checkpoint(Path("x.pt"), "", tensors))
    return network, layout.name, tensors


def test_tables_of_positions_are_resized_as_fine_tuning_code_does_it():
    network, layout, tensors = loaded(VARIANT, 1024)
    state = at_size(network, layout, VARIANT, resize(VARIANT, 512)).state_dict()

    square = tensors["image_encoder.pos_embed"].permute(0, 3, 1, 2)
    square = F.interpolate(square, (32, 32), mode="bilinear", align_corners=False)
    assert torch.equal(state["image_encoder.pos_embed"], square.permute(0, 2, 3, 1))
    # SAMed's `load_from`: bilinear on (1, 1, rows, width), the width kept.
    table = tensors[GLOBAL][None, None]
    table = F.interpolate(table, (63, table.shape[-1]), mode="bilinear", align_corners=False)
    torch.testing.assert_close(state[GLOBAL], table[0, 0], rtol=0, atol=1e-6)

    changed = {name for name in state if state[name].shape != tensors[name].shape}
    assert changed == {"image_encoder.pos_embed", GLOBAL, GLOBAL.replace("_h", "_w")}
    assert all(torch.equal(state[n], tensors[n]) for n in state if n not in changed)


def test_relative_positions_are_those_that_sams_own_code_makes_at_run_time():
    """`get_rel_pos` interpolates a table of another length linearly, along its rows."""
    network, layout, tensors = loaded(VARIANT, 1024)
    state = at_size(network, layout, VARIANT, resize(VARIANT, 256)).state_dict()
    line = F.interpolate(tensors[GLOBAL].T[None], 31, mode="linear")[0].T
    torch.testing.assert_close(state[GLOBAL], line)


def test_at_its_own_size_a_network_is_left_alone():
    network, layout, _ = loaded(VARIANT, 1024)
    assert at_size(network, layout, VARIANT, VARIANT) is network


def test_a_larger_network_than_the_files():
    half = resize(VARIANT, 512)
    network, layout, _ = loaded(half, 512)
    state = at_size(network, layout, half, dataclasses.replace(VARIANT)).state_dict()
    assert state["image_encoder.pos_embed"].shape == (1, 64, 64, 8)
    assert state[GLOBAL].shape == (127, 4)


def test_no_other_tensor_is_resized():
    other = dataclasses.replace(
        resize(VARIANT, 512),
        layouts=(Layout("segment-anything", published_names, lambda: small_and_wide(512)),),
    )
    network, layout, _ = loaded(VARIANT, 1024)
    with pytest.raises(CheckpointError, match=r"weight \(8, 3, 16, 16\) would have to be \(16, 3"):
        at_size(network, layout, VARIANT, other)


def small_and_wide(image_size):
    size = ViTSize(16, 2, 2, (1,), image_size, out_width=256)
    return Sam(ViT(size), geometry(image_size)).eval()


@pytest.mark.parametrize("prefix", ["", "module.", "net.sam."])
def test_a_file_says_its_size_under_any_prefix(prefix):
    tensors = {prefix + name: t for name, t in small(256).state_dict().items()}
    (variant,) = as_in_file(Checkpoint(Path("x.pt"), "", tensors), [VARIANT])
    assert (variant.preprocess.size, variant.published_size) == (256, 1024)


def test_a_file_of_the_published_size_gives_the_published_variants():
    checkpoint = Checkpoint(Path("x.pt"), "", small().state_dict())
    known = [VARIANT, load_variant("mobile_sam"), load_variant("nanosam_resnet18")]
    assert list(as_in_file(checkpoint, known)) == known
