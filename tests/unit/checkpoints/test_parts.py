"""A file that holds one part of a network: what it replaces, and what a wrong one causes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from exporter.checkpoints.obtain import Given, obtain
from exporter.checkpoints.reading import Checkpoint
from exporter.checkpoints.recognise import recognise
from exporter.checkpoints.wanted import Wanted
from exporter.errors import CheckpointError, CheckpointMismatch
from exporter.progress import silent
from exporter.variants import Slots, load_variant, variants
from tests.conformance import published_case

FEW = ("mobile_sam", "sam2_1_hiera_tiny", "hq_vit_b", "efficient_sam_vitt")
DECODERS = ("mask_decoder.", "sam_mask_decoder.")
PROMPTS = ("prompt_encoder.", "sam_prompt_encoder.")


def whole(variant, value):
    """The published file, all of one value; integers are counters."""
    tensors = published_case.load(variant).facts["checkpoint"]["tensors"]
    return {
        name: torch.full((), value).expand(shape)
        if dtype.startswith("float")
        else torch.zeros(shape, dtype=torch.int64)
        for name, (shape, dtype) in tensors.items()
    }


def apart(tensors, prefixes):
    """A part's state dict, as its own module names it."""
    return {
        name.removeprefix(prefix): tensor
        for prefix in prefixes
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def named(tensors, prefixes):
    return {name: tensor for name, tensor in tensors.items() if name.startswith(prefixes)}


@pytest.fixture(autouse=True)
def files(monkeypatch):
    """Name -> tensors of a file, in place of writing and reading hundreds of megabytes."""
    held = {}

    def read(path, sha256=""):
        del sha256
        return Checkpoint(path, "0" * 64, held[path.name])

    monkeypatch.setattr("exporter.checkpoints.reading.read_checkpoint", read)
    return held


FORMS = {
    "decoder alone": lambda w: apart(w, DECODERS),
    "decoder by its names": lambda w: named(w, DECODERS),
    "decoder and prompts": lambda w: named(w, (*DECODERS, *PROMPTS)),
    "in a class of one's own": lambda w: {f"net.{n}": t for n, t in named(w, DECODERS).items()},
    "the whole network": lambda w: w,
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("variant", FEW)
def test_a_mask_decoder_replaces_that_of_the_base(files, variant, form):
    files["mine.pth"] = FORMS[form](whole(variant, 0.25))
    base = Checkpoint(Path("base.pt"), "1" * 64, whole(variant, 0.5))
    network, source = obtain(load_variant(variant), Given(base, Path("mine.pth")), silent)
    prompts = 0.25 if form in ("decoder and prompts", "the whole network") else 0.5
    lent = (
        "image_encoder.conv_s",
        "image_encoder.compress_vit_feat",
        "image_encoder.embedding_enc",
    )
    for name, parameter in network.named_parameters():
        mine = name.startswith(("mask_decoder.", *lent))
        expected = 0.25 if mine else prompts if name.startswith("prompt_encoder.") else 0.5
        assert (parameter == expected).all(), name
    assert (source.checkpoint, source.decoder_checkpoint) == ("base.pt", "mine.pth")
    assert source.taken.keys() == ({"decoder_checkpoint"} if "class" in form else set())


@pytest.mark.parametrize("lead", [True, False])
@pytest.mark.parametrize("variant", FEW)
def test_an_image_encoder_replaces_that_of_the_base(files, variant, lead):
    mine = whole(variant, 0.25)
    prefix = "image_encoder."
    files["mine.pth"] = named(mine, (prefix,)) if lead else apart(mine, (prefix,))
    base = Checkpoint(Path("base.pt"), "1" * 64, whole(variant, 0.5))
    given = Given(base, encoder=Path("mine.pth"))
    network, source = obtain(load_variant(variant), given, silent)
    decoders = ("mask_decoder.", "prompt_encoder.", "image_encoder.conv_s", "image_encoder.no_mem")
    decoders += ("image_encoder.compress_vit_feat", "image_encoder.embedding_encoder")
    for name, parameter in network.named_parameters():
        assert (parameter == (0.5 if name.startswith(decoders) else 0.25)).all(), name
    assert (source.encoder_checkpoint, source.encoder_sha256) == ("mine.pth", "0" * 64)


@pytest.mark.parametrize("variant", FEW)
def test_a_part_alone_is_recognised(variant):
    tensors = whole(variant, 0.0)
    for form, words, option in (
        (FORMS["decoder alone"], "mask decoder", "--decoder-checkpoint"),
        (FORMS["in a class of one's own"], "mask decoder", "--decoder-checkpoint"),
        (lambda w: apart(w, ("image_encoder.",)), "image encoder", "--encoder-checkpoint"),
    ):
        if words == "image encoder" and variant == "mobile_sam":
            continue  # is MobileSAMv2's published file
        held = Checkpoint(Path("mine.pth"), "0" * 64, form(tensors))
        expected = rf"mine\.pth holds only the {words} of .*: give it with {option}, and"
        with pytest.raises(CheckpointError, match=expected):
            recognise(held)


def test_a_part_with_a_fault_lists_it(files):
    base = Checkpoint(Path("base.pt"), "1" * 64, whole("mobile_sam", 0.5))
    part = FORMS["decoder alone"](whole("mobile_sam", 0.25))
    lost = "iou_token.weight"
    files["mine.pth"] = {**{n: t for n, t in part.items() if n != lost}, "head.weight": part[lost]}
    variant = load_variant("mobile_sam")
    with pytest.raises(CheckpointMismatch, match="mobile_sam's mask decoder: ") as caught:
        obtain(variant, Given(base, Path("mine.pth")), silent)
    assert caught.value.missing == ["mask_decoder.iou_token.weight"]
    assert caught.value.unused == ["head.weight"]
    files["mine.pth"] = {**part, "head.weight": part[lost]}
    with pytest.raises(CheckpointMismatch, match="1 unused"):
        obtain(variant, Given(base, Path("mine.pth")), silent)
    given = Given(base, Path("mine.pth"), wanted=Wanted(ignore=("head.*",)))
    _network, source = obtain(variant, given, silent)
    assert source.taken["decoder_checkpoint"].left_out == ("head.weight",)


def test_half_a_prompt_encoder_is_no_part(files):
    mine = whole("mobile_sam", 0.25)
    held = named(mine, DECODERS)
    held["prompt_encoder.no_mask_embed.weight"] = mine["prompt_encoder.no_mask_embed.weight"]
    files["mine.pth"] = held
    base = Checkpoint(Path("base.pt"), "1" * 64, whole("mobile_sam", 0.5))
    with pytest.raises(CheckpointMismatch, match=r"missing \(prompt_encoder\."):
        obtain(load_variant("mobile_sam"), Given(base, Path("mine.pth")), silent)


def test_every_variant_of_two_graphs_takes_parts():
    from exporter.checkpoints.parts import is_in_parts

    one_file = {n for n, v in variants().items() if v.decoder is None}
    slotted = {n for n, v in variants().items() if isinstance(v.prompting, Slots)}
    assert {n for n, v in variants().items() if is_in_parts(v)} == one_file & slotted
