"""Files that hold a part of a network, or one that SAM's own code changes when it runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from exporter.checkpoints.adapt import adapt
from exporter.checkpoints.choose import choose
from exporter.checkpoints.fit import load_strict
from exporter.checkpoints.lora_options import LoraOptions
from exporter.checkpoints.parts import part_state
from exporter.checkpoints.reading import Checkpoint, read_checkpoint
from exporter.checkpoints.recognise import recognise
from exporter.checkpoints.resized import as_in_file
from exporter.demo.network import build
from exporter.errors import CheckpointError
from exporter.progress import silent
from exporter.variants import load_variant, variants
from tests.conformance import published_case
from tests.contract.test_own_files import under


def named(case):
    """The tensors of a published file; the values are one number, so they take no room."""
    facts = published_case.load(case).facts["checkpoint"]["tensors"]
    return {
        name: torch.zeros((), dtype=getattr(torch, dtype)).expand(shape)
        for name, (shape, dtype) in facts.items()
    }


def file(tensors, name="mine.pth"):
    return Checkpoint(Path(name), "0" * 64, dict(tensors))


def part(tensors, lead):
    return {name: tensor for name, tensor in tensors.items() if name.startswith(lead)}


def test_a_decoder_of_sam_hq_goes_onto_sams_own_network():
    variant, hq = load_variant("hq_vit_b"), named("hq_vit_b")
    decoder = {
        name.removeprefix("mask_decoder."): tensor + 1.0
        for name, tensor in part(hq, "mask_decoder.").items()
    }
    state = part_state(variant, "mask decoder", file(decoder))
    base = file(named("sam_vit_b"), "sam_vit_b.pth")
    network, _layout = load_strict(variant, base, replaced=state)
    held = network.state_dict()
    assert all(bool((held[name] == 1).all()) for name in state)
    with pytest.raises(CheckpointError, match="25 missing"):
        load_strict(variant, base)


def test_a_part_of_another_variant_or_kind_is_told_whose_it_is():
    sam, hq = load_variant("sam_vit_b"), named("hq_vit_b")
    decoder, encoder = part(hq, "mask_decoder."), part(named("sam_vit_b"), "image_encoder.")
    with pytest.raises(CheckpointError, match=r"it is the mask decoder of hq_vit_b: .*--variant"):
        part_state(sam, "mask decoder", file(decoder))
    with pytest.raises(CheckpointError, match=r"it is the image encoder: .*--encoder-checkpoint$"):
        part_state(sam, "mask decoder", file(encoder))


def test_a_decoder_with_a_tensor_more_names_the_option_that_settles_it():
    more = {**part(build().state_dict(), "mask_decoder."), "mask_decoder.aux.weight": torch.ones(2)}
    wanted = re.escape("--ignore 'mask_decoder.aux.*'")
    with pytest.raises(CheckpointError, match=wanted):
        part_state(load_variant("demo"), "mask decoder", file(more))
    with pytest.raises(CheckpointError, match=f"decoder of demo; give .*checkpoint; .*{wanted}"):
        recognise(file(more))


def test_a_decoder_with_its_prompt_encoder_is_also_that_of_networks_published_whole():
    held = {**part(named("mobile_sam"), "mask_decoder."), **part(named("mobile_sam"), "prompt_")}
    with pytest.raises(CheckpointError, match=r"only the mask decoder of .* and \d\d more"):
        recognise(file(held))


def test_tables_of_relative_positions_are_resized_as_when_sam_runs():
    tensors = named("sam_vit_b")
    tensors["image_encoder.pos_embed"] = torch.zeros(1, 32, 32, 768)
    late = "image_encoder.blocks.2.attn.rel_pos_h"
    tensors[late] = torch.randn(127, 64, generator=torch.Generator().manual_seed(1))
    held = file(tensors)
    sized = {variant.name: variant for variant in as_in_file(held, variants().values())}
    assert recognise(held, sized.values()) == "sam_vit_b"
    variant, held = adapt(sized["sam_vit_b"], held, LoraOptions(), silent)
    assert variant.preprocess.size == 512
    assert [change[:32] for change in held.changes] == ["8 tables of relative positions f"]
    network, _layout = load_strict(variant, held)
    loaded = network.state_dict()["image_encoder.blocks.2.attn.rel_pos_h"]
    wanted = F.interpolate(tensors[late].reshape(1, 127, -1).permute(0, 2, 1), 63, mode="linear")
    assert torch.equal(loaded, wanted.reshape(-1, 63).permute(1, 0))


@pytest.mark.parametrize("prefix", ["a.b.c.d.e.f.", "module.trainer.model.net.sam.inner."])
def test_a_deep_prefix_is_said_and_nothing_is_left_out_in_silence(tmp_path, prefix):
    held = {**under(prefix, build().state_dict()), "loss.weight": torch.ones(2)}
    torch.save(held, tmp_path / "mine.pth")
    found = choose(read_checkpoint(tmp_path / "mine.pth"), variants().values())
    assert recognise(found) == "demo"
    assert found.taken.prefix == prefix
    assert found.taken.left_out == ("loss.weight",)
    assert any("left out what is training's" in remark for remark in found.remarks)
