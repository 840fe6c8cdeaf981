"""Bottleneck adapters of the known forks compute what a plain version of their blocks does."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from exporter.checkpoints.adapt import adapt
from exporter.checkpoints.adapters import find_adapters, with_adapters
from exporter.checkpoints.choose import choose
from exporter.checkpoints.fit import best_fit
from exporter.checkpoints.lora_options import LoraOptions
from exporter.checkpoints.recognise import recognise
from exporter.checkpoints.resized import as_in_file
from exporter.errors import CheckpointError
from exporter.models import vit_adapters
from exporter.models.layers import freeze
from exporter.progress import silent
from exporter.variants import load_variant, variants
from tests.unit.checkpoints import plain_vit
from tests.unit.checkpoints.plain_vit import PlainViT, seed_all
from tests.unit.checkpoints.published_files import held, published
from tests.unit.checkpoints.test_lora import OURS, tokens

FORMS = {
    "medical": ("Medical SAM Adapter", vit_adapters.MedicalBlock),
    "med2d": ("SAM-Med2D", vit_adapters.Med2dBlock),
}


@pytest.mark.parametrize("form", FORMS)
def test_blocks_compute_what_the_plain_ones_do(form):
    vit = seed_all(PlainViT(form))
    state = vit.state_dict()
    found = find_adapters(state)
    assert (found.form.name, found.hidden, found.blocks) == (FORMS[form][0], 6, 3)
    ours = nn.Module()
    ours.blocks = nn.ModuleList(
        FORMS[form][1](OURS, size, found.hidden) for size in OURS.block_sizes()
    )
    wanted = {n for n in state if n.startswith("blocks.") and "Depth_Adapter" not in n}
    ours.load_state_dict({name: state[name] for name in wanted})
    freeze(ours)
    x = y = tokens()
    with torch.no_grad():
        for own, plain in zip(ours.blocks, vit.blocks, strict=True):
            x, y = own(x), plain(y)
            assert (x - y).abs().max() <= 1e-5 * y.abs().max()


def test_what_pads_a_window_matters_to_the_first_form():
    """Else a test of a grid that windows divide would have been enough."""
    vit = seed_all(PlainViT("medical"))
    block, x = vit.blocks[0], tokens()
    with torch.no_grad():
        other = x + block.windows(
            block.norm1(x), lambda part: block.Space_Adapter(block.attn(part))
        )
        assert (block.windows(x, block.norm1) - block.norm1(x)).abs().max() < 1e-6
        normed = block.norm2(other)
        other = other + block.mlp(normed) + 0.5 * block.MLP_Adapter(normed)
        assert (block(x) - other).abs().max() > 1e-3


def adapted_vit_b(form, grid=64):
    """ViT-B's published tensors with a fork's adapters in every block."""
    tensors = published("sam_vit_b")
    made = plain_vit.Bottleneck(skip=True) if form == "medical" else plain_vit.Gated()
    kinds = ("Space_Adapter", "MLP_Adapter", "Depth_Adapter") if form == "medical" else ("Adapter",)
    sides = {plain_vit.WIDTH: 768, plain_vit.WIDTH // 4: 192}
    for block in range(12):
        for kind in kinds:
            for name, tensor in made.state_dict().items():
                shape = [sides.get(side, side) for side in tensor.shape]
                full = f"image_encoder.blocks.{block}.{kind}.{name}"
                tensors[full] = torch.empty(shape, device="meta")
        if block in (2, 5, 8, 11):
            for axis in "hw":
                rows = torch.empty(2 * grid - 1, 64, device="meta")
                tensors[f"image_encoder.blocks.{block}.attn.rel_pos_{axis}"] = rows
    tensors["image_encoder.pos_embed"] = torch.empty(1, grid, grid, 768, device="meta")
    return tensors


@pytest.mark.parametrize(("form", "grid"), [("medical", 64), ("med2d", 16), ("med2d", 64)])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_vit_b_with_adapters_is_recognised_and_built(form, grid, prefix):
    file = held({f"{prefix}{n}": t for n, t in adapted_vit_b(form, grid).items()})
    known = {each.name: each for each in as_in_file(file, variants().values())}
    checkpoint = choose(file, known.values())
    name = recognise(checkpoint, known.values())
    assert name == "sam_vit_b"
    variant, checkpoint = adapt(known[name], checkpoint, LoraOptions(), silent)
    assert variant.preprocess.size == 16 * grid
    assert best_fit(variant, checkpoint.tensors).faults == 0
    assert checkpoint.changes == (f"adapters of {FORMS[form][0]} in 12 blocks, 192 wide",)
    assert variant.sizes.positions == ("bicubic" if form == "medical" else "bilinear")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.pop("image_encoder.blocks.3.Depth_Adapter.D_fc1.weight"), "not known here"),
        (lambda t: t.update({"image_encoder.Adapter.weight": torch.ones(2)}), "not known here"),
        (
            lambda t: t.update(
                {"image_encoder.blocks.0.Prompt_Adapter.D_fc1.weight": torch.ones(2, 2)}
            ),
            "Prompt_Adapter",
        ),
        (
            lambda t: t.update(
                {"image_encoder.blocks.4.MLP_Adapter.D_fc1.weight": torch.ones(100, 768)}
            ),
            "not known here",
        ),
    ],
)
def test_other_adapters_are_refused_with_their_names(change, said):
    tensors = adapted_vit_b("medical")
    change(tensors)
    checkpoint = choose(held(tensors), variants().values())
    with pytest.raises(CheckpointError, match=said):
        recognise(checkpoint)
    with pytest.raises(CheckpointError, match=said):
        adapt(load_variant("sam_vit_b"), checkpoint, LoraOptions(), silent)


def test_a_network_of_other_blocks_has_no_such_adapters():
    found = find_adapters(adapted_vit_b("medical"))
    with pytest.raises(CheckpointError, match="no plain ViT of SAM"):
        with_adapters(load_variant("mobile_sam"), found).layouts[0].build()
