"""A decoder of any number of mask tokens is read off its tensors, whoever published it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from exporter.bundle.masks import choose_tokens
from exporter.checkpoints.adapt import adapt
from exporter.checkpoints.fit import best_fit, guess_variants, load_strict
from exporter.checkpoints.lora_options import LoraOptions
from exporter.checkpoints.mask_tokens import MOST, count_mask_tokens, with_mask_tokens
from exporter.checkpoints.obtain import Given, obtain, read_own
from exporter.demo.network import build
from exporter.errors import CheckpointError
from exporter.progress import silent
from exporter.variants import load_variant, variants
from tests.unit.checkpoints.published_files import held, published, with_tokens

CASES = {
    "mobile_sam": "mobile_sam",
    "sam_vit_b": "sam_vit_b",
    "sam_hf_vit_b": "sam_vit_b",
    "efficient_sam_vitt": "efficient_sam_vitt",
    "sam2_1_hiera_tiny": "sam2_1_hiera_tiny",
    "hq_vit_b": "hq_vit_b",
}


@pytest.mark.parametrize("count", [1, 2, 3, 9])
@pytest.mark.parametrize("case", CASES)
def test_a_published_variant_with_another_count(case, count):
    checkpoint = held(with_tokens(published(case), count))
    assert count_mask_tokens(checkpoint.tensors) == count
    assert CASES[case] in guess_variants(checkpoint, variants().values())
    variant, _ = adapt(load_variant(CASES[case]), checkpoint, LoraOptions(), silent)
    assert variant.prompting.mask_tokens == count
    assert best_fit(variant, checkpoint.tensors).faults == 0
    assert max(variant.mask.multi, default=-1) == count - 1


@pytest.mark.parametrize("count", [1, 2, 4, MOST])
def test_the_network_computes_what_the_published_decoder_of_that_count_does(count):
    network = build()
    tensors = with_tokens({n: t.clone() for n, t in network.state_dict().items()}, count)
    variant, checkpoint = adapt(load_variant("demo"), held(tensors), LoraOptions(), silent)
    loaded, _ = load_strict(variant, checkpoint)
    image, position = (torch.randn(1, 576, 64, generator=_seed(i)) for i in (1, 2))
    prompts = torch.randn(1, 3, 64, generator=_seed(3))
    tokens = torch.cat([loaded.mask_decoder.output_tokens(1), prompts], dim=1)
    assert tokens.shape == (1, 1 + count + 3, 64)
    with torch.no_grad():
        masks, iou = loaded.mask_decoder(image, position, tokens, torch.zeros(1, 1, 1, 4 + count))
        attended, pixels = loaded.mask_decoder.transformer(
            tokens, image, position, torch.zeros(1, 1, 1, 4 + count)
        )
    assert masks.shape == (1, count, 96, 96)
    head = "mask_decoder.iou_prediction_head.layers"
    hidden = attended[:, 0]
    for layer in range(3):
        hidden = hidden @ tensors[f"{head}.{layer}.weight"].T + tensors[f"{head}.{layer}.bias"]
        hidden = hidden.relu() if layer < 2 else hidden
    assert torch.allclose(iou, hidden, atol=1e-5)
    last = attended[:, count]
    for layer in range(3):
        name = f"mask_decoder.output_hypernetworks_mlps.{count - 1}.layers.{layer}"
        last = last @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"]
        last = last.relu() if layer < 2 else last
    with torch.no_grad():
        upscaled = loaded.mask_decoder.output_upscaling(pixels)
    # The order of pixels is the decoder's; sums over all of them do not depend on it.
    assert torch.allclose(masks[0, count - 1].sum(), (upscaled @ last[0]).sum(), rtol=1e-3)


def _seed(number):
    return torch.Generator().manual_seed(number)


@pytest.mark.parametrize(
    ("count", "single", "multi"),
    [(1, 0, (0,)), (2, 0, (1,)), (4, 0, (1, 2, 3)), (6, 0, (1, 2, 3, 4, 5))],
)
def test_what_multimask_means(count, single, multi):
    rule = with_mask_tokens(load_variant("sam_vit_b"), count).mask
    logits, iou = np.zeros((count, 4, 4), np.float32), np.arange(count, dtype=np.float32)
    assert choose_tokens(rule, logits, iou, multimask=False) == (single,)
    assert choose_tokens(rule, logits, iou, multimask=True) == multi


def test_the_rules_of_the_families_follow():
    assert with_mask_tokens(load_variant("efficient_sam_vitt"), 1).mask.multi == (0,)
    assert with_mask_tokens(load_variant("efficient_sam_vitt"), 3).mask.single == -1
    assert with_mask_tokens(load_variant("edge_sam"), 2).stability.multi == (0, 1)
    assert with_mask_tokens(load_variant("sam2_1_hiera_tiny"), 2).mask.stability is not None
    assert with_mask_tokens(load_variant("sam2_1_hiera_tiny"), 1).mask.stability is None


@pytest.mark.parametrize("count", [0, MOST + 1, 200])
def test_no_more_than_some(count):
    tensors = with_tokens(dict(build().state_dict()), 1)
    tokens = torch.zeros(count, 64)
    assert count_mask_tokens(tensors | {"mask_decoder.mask_tokens.weight": tokens}) is None


def test_places_that_disagree_are_no_count():
    tensors = with_tokens(dict(build().state_dict()), 3)
    del tensors["mask_decoder.output_hypernetworks_mlps.1.layers.0.weight"]
    assert count_mask_tokens(tensors) == 3  # missing in part: an error of loading
    for name in [name for name in tensors if "output_hypernetworks_mlps.1." in name]:
        del tensors[name]
    assert count_mask_tokens(tensors) is None
    assert not guess_variants(held(tensors), [load_variant("demo")])


def test_other_decoders_keep_theirs():
    for name in ("squeeze_sam", "mobilesam_v2_tiny_vit"):
        with pytest.raises(CheckpointError, match="4 mask tokens, and the file has 2"):
            with_mask_tokens(load_variant(name), 2)


@pytest.mark.parametrize("count", [1, 9])
@pytest.mark.parametrize("base", [4, 2])
def test_a_decoder_of_its_own_brings_its_count(tmp_path, base, count):
    network = {name: tensor.clone() for name, tensor in build().state_dict().items()}
    torch.save(with_tokens(network, base), tmp_path / "base.pth")
    part = "mask_decoder."
    own = {
        name.removeprefix(part): tensor + 1
        for name, tensor in with_tokens(network, count).items()
        if name.startswith(part)
    }
    torch.save(own, tmp_path / "decoder.pth")
    given = Given(decoder=tmp_path / "decoder.pth")
    known = [load_variant("demo")]
    variant, read = read_own(tmp_path / "base.pth", known, LoraOptions(), given, silent)
    assert variant.prompting.mask_tokens == count
    (tmp_path / "decoder.pth").unlink()  # it is not read again
    loaded, source = obtain(variant, read, silent)
    held_now = loaded.state_dict()
    assert all(torch.equal(held_now[part + name], tensor) for name, tensor in own.items())
    assert source.changes == (f"mask tokens: {count}, published with 4",)
    torch.save(own, tmp_path / "decoder.pth")
    with pytest.raises(CheckpointError, match="only the mask decoder of demo"):
        read_own(tmp_path / "decoder.pth", variants().values(), LoraOptions(), Given(), silent)
