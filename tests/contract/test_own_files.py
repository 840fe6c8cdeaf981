"""What public training code saves, as torch writes it: recognised, or told what settles it.

The demo's files go through torch and back; the larger networks' names and shapes through the same
choice of tensors, without their gigabytes.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from exporter.checkpoints.choose import SeveralSets, choose, choose_by
from exporter.checkpoints.reading import Checkpoint, read_checkpoint
from exporter.checkpoints.recognise import recognise
from exporter.checkpoints.wanted import Wanted
from exporter.demo.network import build
from exporter.errors import CheckpointError, CheckpointMismatch
from exporter.variants import variants
from tests.conformance import published_case

LARGE = {
    "mobile_sam": "mobile_sam",
    "sam_vit_b": "sam_vit_b",
    "efficient_sam_vitt": "efficient_sam_vitt",
    "sam2_1_hiera_tiny": "sam2_1_hiera_tiny",
}
TWINS = {"mobile_sam": {"mobile_sam", "tinysam"}}


def under(prefix, tensors):
    return {prefix + name: tensor for name, tensor in tensors.items()}


def lightning(tensors):
    loss = {"criterion.dice_loss.class_weight": torch.ones(2), "train_iou.total": torch.ones(1)}
    return {
        "state_dict": {**under("model.", tensors), **loss},
        "epoch": 3,
        "hyper_parameters": {"lr": 1e-4},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(3)}}}],
    }


FORMS = {
    "flat": lambda t: t,
    "DataParallel": lambda t: {"model": under("module.", t), "optimizer": {"state": {}}},
    "compiled": lambda t: under("_orig_mod.", t),
    "compiled and spread": lambda t: {"model": under("module._orig_mod.", t)},
    "Lightning": lightning,
    "a wrapper of a wrapper": lambda t: {"net": under("net.sam.", t)},
    "a trainer of micro-sam": lambda t: {"model_state": under("sam.", t), "epoch": 2},
    "constants kept": lambda t: {
        **t,
        "pixel_mean": torch.tensor([[[123.675]], [[116.28]], [[103.53]]]),
        "pixel_std": torch.tensor([[[58.395]], [[57.12]], [[57.375]]]),
    },
}


def sets_of(content, place=""):
    """The dictionaries of tensors, as a reader finds them."""
    own = {n: t for n, t in content.items() if isinstance(t, torch.Tensor)}
    if own:
        yield place, own
    for name, held in content.items():
        if isinstance(held, dict):
            yield from sets_of(held, f"{place}.{name}".lstrip("."))


@pytest.mark.parametrize("form", FORMS)
def test_the_demo_in_each_form(tmp_path, form):
    torch.save(FORMS[form](build().state_dict()), tmp_path / "mine.pth")
    found = choose(read_checkpoint(tmp_path / "mine.pth"), variants().values())
    assert recognise(found) == "demo"
    assert found.tensors.keys() == build().state_dict().keys()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("variant", LARGE)
def test_large_networks_in_each_form(variant, form):
    held = held_as(variant, form)
    found = choose(held, variants().values())
    names = published_case.load(variant).facts["checkpoint"]["tensors"].keys()
    assert found.tensors.keys() == names
    if variant in TWINS:
        found = choose(held, [variants()[variant]])
        assert found.tensors.keys() == names
    else:
        assert recognise(found) == variant


def filled(variant, value=0.0):
    facts = published_case.load(variant).facts["checkpoint"]["tensors"]
    return {
        name: torch.full((), value, dtype=getattr(torch, dtype)).expand(shape)
        for name, (shape, dtype) in facts.items()
    }


def held_as(variant, form):
    found = dict(sets_of(FORMS[form](filled(variant))))
    first = max(found.values(), key=len)
    return Checkpoint(Path("mine.pth"), "0" * 64, first, found)


@pytest.mark.parametrize("variant", ["sam_vit_b", "sam2_1_hiera_tiny"])
def test_weights_and_their_average_ask(variant):
    tensors = {"model": filled(variant), "ema": filled(variant, 1.0)}
    held = Checkpoint(Path("mine.pth"), "0" * 64, tensors["model"], tensors)
    with pytest.raises(SeveralSets, match="model and ema: say which with --tensors"):
        choose(held, variants().values())
    found = choose(held, variants().values(), Wanted(tensors="ema"))
    assert recognise(found) == variant
    assert float(next(iter(found.tensors.values())).flatten()[0]) == 1.0


@pytest.mark.parametrize("variant", ["sam_vit_b", "efficient_sam_vitt"])
def test_one_tensor_more_or_less_names_the_nearest_and_the_option(variant):
    held = held_as(variant, "Lightning")
    more = {**held.tensors, "model.head.weight": torch.ones(2)}
    odd = dataclasses.replace(held, tensors=more, sets={"state_dict": more})
    with pytest.raises(CheckpointMismatch, match=rf"looks like {variant}; .*'head\.\*'$") as caught:
        recognise(choose(odd, variants().values()))
    assert "head.weight" in caught.value.unused
    less = dict(list(held.tensors.items())[1:])
    odd = dataclasses.replace(held, tensors=less, sets={"state_dict": less})
    with pytest.raises(CheckpointMismatch, match=rf"1 missing .*looks like {variant}"):
        recognise(choose(odd, variants().values()))


BESIDE = {
    "an optimiser's state": {"optimizer": {"exp_avg": torch.ones(3)}},
    "a scaler's flag": {"scaler": {"found_inf": torch.zeros(1, dtype=torch.bool)}},
    "a generator's state": {"rng_state": torch.get_rng_state()},
    "values that are no numbers": {"history": {"best": torch.tensor(float("nan"))}},
}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("beside", BESIDE)
def test_what_lies_beside_weights_of_any_type_makes_no_second_set(tmp_path, beside, dtype):
    tensors = {f"image_encoder.{name}.weight": torch.ones(2) for name in "abc"}
    cast = {name: tensor.to(dtype) for name, tensor in tensors.items()}
    torch.save({"net": cast, **BESIDE[beside]}, tmp_path / "mine.pth")
    held = read_checkpoint(tmp_path / "mine.pth")
    found = choose_by(held, lambda given: given.keys() == tensors.keys())
    assert found.taken.place == "net"
    assert all(each.dtype == torch.float32 for each in found.tensors.values())


@pytest.mark.parametrize("odd", [torch.tensor(True), torch.zeros(3, dtype=torch.uint8)])
def test_a_counter_of_another_type_beside_the_averages_is_left_out(tmp_path, odd):
    network = build().state_dict()
    average = {f"ema_model.{name}": tensor.clone() for name, tensor in network.items()}
    torch.save(
        {**average, **under("online_model.", network), "initted": odd}, tmp_path / "mine.pth"
    )
    held = read_checkpoint(tmp_path / "mine.pth")
    with pytest.raises(SeveralSets, match="ema_model and online_model"):
        choose(held, variants().values())
    found = choose(held, variants().values(), Wanted(tensors="online"))
    assert (recognise(found), found.taken.left_out) == ("demo", ("initted",))


@pytest.mark.parametrize("name", ["mask_decoder.iou_token.weight", "classifier.weight"])
def test_a_tensor_of_another_type_that_may_be_the_networks_is_refused(tmp_path, name):
    odd = {**build().state_dict(), name: torch.zeros(3, dtype=torch.uint8)}
    torch.save(odd, tmp_path / "mine.pth")
    with pytest.raises(CheckpointError, match=f"tensor {name} is uint8"):
        read_checkpoint(tmp_path / "mine.pth")
