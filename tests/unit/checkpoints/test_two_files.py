"""A network published in two files: which tensors come from which, and what wrong ones cause."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from exporter.checkpoints.fit import guess_variants, load_strict
from exporter.checkpoints.reading import Checkpoint, read_checkpoint
from exporter.cli import main
from exporter.errors import CheckpointError, CheckpointMismatch, RequestError
from exporter.job import Job, Place
from exporter.pipeline import export
from exporter.variants import (
    DECODER_PARTS,
    ENCODER_PARTS,
    Layout,
    Published,
    SecondFile,
    load_variant,
    mobile_sam,
    mobilesam_v2,
    nanosam,
)
from tests.conformance import published_case

V2, NANO = "mobilesam_v2_tiny_vit", "nanosam_resnet18"


class Tiny(nn.Module):
    """The three parts of a SAM, one layer each."""

    def __init__(self) -> None:
        super().__init__()
        for number, part in enumerate(("image_encoder", "prompt_encoder", "mask_decoder")):
            self.add_module(part, nn.Linear(2 + number, 3))


def tiny_variant(**changes: object):
    """Its encoder is published without a prefix, its decoder with another."""
    encoder = Layout("apart", lambda name: f"image_encoder.{name}", Tiny, parts=ENCODER_PARTS)
    decoder = Layout(
        "apart", lambda name: name.replace("P.", "prompt_encoder."), Tiny, parts=DECODER_PARTS
    )
    second = SecondFile(Published("decoder.pt", "https://host/decoder.pt"), (decoder,))
    made = replace(load_variant("mobile_sam"), name="tiny", layouts=(encoder,), decoder=second)
    return replace(made, **changes)


def tiny_files() -> tuple[Checkpoint, Checkpoint, dict[str, Tensor]]:
    state = {name: torch.randn(t.shape) for name, t in Tiny().state_dict().items()}
    first = {n.removeprefix("image_encoder."): t for n, t in state.items() if "image" in n}
    second = {n.replace("prompt_encoder.", "P."): t for n, t in state.items() if "image" not in n}
    return Checkpoint(Path("a.pt"), "a", first), Checkpoint(Path("b.pt"), "b", second), state


def test_each_file_gives_its_parts() -> None:
    first, second, state = tiny_files()
    model, layout = load_strict(tiny_variant(), first, second)
    assert layout.name == "apart"
    assert {n: t.tolist() for n, t in model.state_dict().items()} == {
        n: t.tolist() for n, t in state.items()
    }


def test_a_whole_network_may_be_the_second_file() -> None:
    """Its image encoder must be there, for it tells networks apart, and is not taken."""
    first, second, state = tiny_files()
    whole = SecondFile(Published("w.pt", "https://host/w.pt"), (Layout("w", str, Tiny),))
    other = Checkpoint(Path("w.pt"), "w", {n: t + 1 for n, t in state.items()})
    model, _ = load_strict(tiny_variant(decoder=whole), first, other)
    assert torch.equal(model.image_encoder.weight, state["image_encoder.weight"])
    assert torch.equal(model.mask_decoder.weight, state["mask_decoder.weight"] + 1)
    with pytest.raises(CheckpointMismatch, match=r"tiny's decoder: 2 missing \(image_encoder"):
        load_strict(
            tiny_variant(decoder=whole), first, replace(second, tensors=_unprefixed(second))
        )


def _unprefixed(second: Checkpoint) -> dict[str, Tensor]:
    return {name.replace("P.", "prompt_encoder."): t for name, t in second.tensors.items()}


def test_faults_of_the_second_file_are_listed() -> None:
    first, second, _ = tiny_files()
    second.tensors["odd"] = torch.ones(1)
    del second.tensors["P.bias"]
    second.tensors["mask_decoder.bias"] = torch.ones(4)
    words = r"is not one of tiny's decoder: .*; it is published as decoder\.pt$"
    with pytest.raises(CheckpointMismatch, match=words) as caught:
        load_strict(tiny_variant(), first, second)
    assert caught.value.missing == ["prompt_encoder.bias"]
    assert caught.value.unused == ["odd"]
    assert caught.value.misshapen == ["mask_decoder.bias (4,) should be (3,)"]


def test_a_second_file_that_is_missing_or_not_wanted() -> None:
    first, second, state = tiny_files()
    with pytest.raises(CheckpointError, match=r"decoder\.pt is missing: pass --decoder-checkpoint"):
        load_strict(tiny_variant(), first)
    single = tiny_variant(layouts=(Layout("whole", str, Tiny),), decoder=None)
    whole = Checkpoint(Path("w.pt"), "w", state)
    load_strict(single, whole)
    with pytest.raises(CheckpointError, match=r"tiny takes no second file; b\.pt is one"):
        load_strict(single, whole, second)


def test_a_part_counts_as_a_guess_where_nothing_takes_the_whole_file() -> None:
    first, second, state = tiny_files()
    whole = tiny_variant(name="whole", layouts=(Layout("whole", str, Tiny),), decoder=None)
    skips = Layout("skips", lambda n: n if "image" in n else None, Tiny, parts=ENCODER_PARTS)
    part = tiny_variant(name="part", layouts=(skips,))
    file = Checkpoint(Path("w.pt"), "w", state)
    assert guess_variants(file, (part, whole)) == ["whole"]
    assert guess_variants(file, (part,)) == ["part"]
    assert guess_variants(first, (part, whole, tiny_variant())) == ["tiny"]
    assert guess_variants(second, (part, whole, tiny_variant())) == []


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """The published layouts as torch files: filled tensors, one value each."""
    folder = tmp_path_factory.mktemp("weights")
    for name in (V2, NANO):
        facts = published_case.load(name).facts
        tensors = _constant(facts["checkpoint"]["tensors"], 0.5)
        more = {"optimizer": {"state": {0: {"step": torch.tensor(1.0)}}}, "epoch": 3}
        torch.save({"model": tensors} | more, folder / f"{name}.pt")
    second = published_case.load(V2).facts["decoder_checkpoint"]["tensors"]
    grouped: dict[str, dict[str, Tensor]] = {}
    for name, tensor in _constant(second, 0.25).items():
        module, _, inner = name.partition(".")
        grouped.setdefault(module, {})[inner] = tensor
    torch.save(grouped, folder / "prompt_guided.pt")
    whole = {n: torch.full_like(t, 0.125) for n, t in mobile_sam.build().state_dict().items()}
    torch.save(whole, folder / "mobile_sam.pt")
    return folder


def _constant(tensors: dict, value: float) -> dict[str, Tensor]:
    return {
        name: torch.full(shape, value)
        if dtype == "float32"
        else torch.zeros(shape, dtype=torch.int64)
        for name, (shape, dtype) in tensors.items()
    }


def test_two_state_dicts_in_one_file_are_read_under_both_names(files) -> None:
    read = read_checkpoint(files / "prompt_guided.pt")
    listed = published_case.load(V2).facts["decoder_checkpoint"]["tensors"]
    assert {n: list(t.shape) for n, t in read.tensors.items()} == {
        n: shape for n, (shape, _) in listed.items()
    }


@pytest.mark.parametrize(
    ("variant", "encoder", "decoder", "value"),
    [
        (V2, f"{V2}.pt", "prompt_guided.pt", 0.25),
        (NANO, f"{NANO}.pt", "mobile_sam.pt", 0.125),
    ],
)
def test_the_published_files_load(files, variant, encoder, decoder, value) -> None:
    first, second = read_checkpoint(files / encoder), read_checkpoint(files / decoder)
    model, _ = load_strict(load_variant(variant), first, second)
    for name, parameter in model.named_parameters():
        wanted = 0.5 if name.startswith("image_encoder.") else value
        assert (parameter == wanted).all(), name


@pytest.mark.parametrize(
    ("variant", "encoder", "decoder", "words"),
    [
        (V2, "mobile_sam.pt", "prompt_guided.pt", "this looks like mobile_sam or tinysam"),
        (V2, "prompt_guided.pt", "prompt_guided.pt", "the file for --decoder-checkpoint"),
        (NANO, "mobile_sam.pt", "mobile_sam.pt", "the file for --decoder-checkpoint"),
        (V2, f"{V2}.pt", "mobile_sam.pt", "decoder: .*this looks like mobile_sam or tinysam"),
        (V2, f"{V2}.pt", f"{NANO}.pt", "decoder: .*this looks like nanosam_resnet18"),
        (NANO, f"{V2}.pt", "mobile_sam.pt", "this looks like mobilesam_v2_tiny_vit"),
        ("mobile_sam", f"{NANO}.pt", None, "this looks like nanosam_resnet18"),
    ],
)
def test_a_file_of_another_network_says_whose_it_is(
    files, variant, encoder, decoder, words
) -> None:
    first = read_checkpoint(files / encoder)
    second = read_checkpoint(files / decoder) if decoder else None
    with pytest.raises(CheckpointMismatch, match=words):
        load_strict(load_variant(variant), first, second)


def test_what_else_a_file_of_an_efficientvit_holds_is_skipped() -> None:
    assert mobilesam_v2.efficientvit_names("image_encoder.neck.x") == "image_encoder.neck.x"
    assert mobilesam_v2.efficientvit_names("mask_decoder.x") is None


@pytest.mark.parametrize("variant", [*mobilesam_v2.VARIANTS, *nanosam.VARIANTS])
def test_an_encoder_on_a_cloud_drive_says_where_it_is(variant, tmp_path) -> None:
    job = Job(("onnx",), "fp32", variant.name)
    with pytest.raises(RequestError, match=r"drive\.google\.com/.*pass --checkpoint FILE"):
        export(job, Place(tmp_path))


def test_a_decoder_that_is_not_there_is_downloaded(files, tmp_path, monkeypatch) -> None:
    asked = []

    def fetch(published, cache, progress, option, *_rest):
        asked.append((published.file, option))
        raise RequestError("no network here")

    monkeypatch.setattr("exporter.checkpoints.download.fetch", fetch)
    with pytest.raises(RequestError, match="no network here"):
        export(Job(("onnx",), "fp32", V2, files / f"{V2}.pt"), Place(tmp_path))
    assert asked == [("Prompt_guided_Mask_Decoder.pt", "--decoder-checkpoint")]


@pytest.mark.parametrize(
    ("variant", "option", "words"),
    [
        ("fastsam_s", "--decoder-checkpoint", "fastsam_s is one graph: leave out"),
        ("squeeze_sam", "--encoder-checkpoint", "squeeze_sam is one graph: leave out"),
        (NANO, "--encoder-checkpoint", f"{NANO} has a file for each part"),
    ],
)
def test_a_part_of_a_variant_that_takes_none_is_refused(capfd, variant, option, words) -> None:
    assert main(["--variant", variant, option, "x.pt"]) == 2
    (said,) = capfd.readouterr().err.splitlines()
    assert words in said
    assert said.endswith(f"leave out {option}")
