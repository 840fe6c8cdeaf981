"""A checkpoint's tensors into a model: all or none, and which variant they look like."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from exporter.checkpoints.fit import guess_variants, load_strict
from exporter.checkpoints.reading import Checkpoint, read_checkpoint
from exporter.errors import CheckpointError, CheckpointMismatch
from exporter.models.layers import freeze
from exporter.variants import Layout, load_variant
from tests.unit.checkpoints.small_checkpoints import seeded


class Tiny(nn.Module):
    """Stands for a Sam: a convolution, a batch norm, a table that no checkpoint holds."""

    def __init__(self, width=4, eps=1e-5):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 1)
        self.norm = nn.BatchNorm2d(width, eps=eps)
        self.register_buffer("table", torch.tensor([1.0, 2.0]), persistent=False)


def ours_of_hugging_face(name):
    return name.replace("embed.", "conv.").replace("tied.", "conv.")


def tiny_variant(width=4, name="tiny"):
    def rename(published):
        return None if published.startswith("head.") else published

    return dataclasses.replace(
        load_variant("mobile_sam"),
        name=name,
        layouts=(
            Layout("segment-anything", rename, lambda: Tiny(width)),
            Layout("hugging-face", ours_of_hugging_face, lambda: Tiny(width, 1e-6)),
        ),
    )


def tiny_checkpoint(tmp_path, **extra):
    tensors = {name: tensor.detach().clone() for name, tensor in Tiny().state_dict().items()}
    return Checkpoint(tmp_path, "", {**tensors, **extra})


def test_all_tensors_are_loaded(tmp_path):
    read = tiny_checkpoint(tmp_path, **{"head.weight": torch.ones(3)})
    model, layout = load_strict(tiny_variant(), read)
    assert layout.name == "segment-anything"
    assert not model.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, read.tensors[name])
    assert model.conv.weight.data_ptr() == read.tensors["conv.weight"].data_ptr()
    assert isinstance(model.conv.weight, nn.Parameter)
    assert model.table.tolist() == [1.0, 2.0]


def test_the_other_layout_is_found(tmp_path):
    read = tiny_checkpoint(tmp_path)
    read.tensors["embed.weight"] = read.tensors.pop("conv.weight")
    model, layout = load_strict(tiny_variant(), read)
    assert layout.name == "hugging-face"
    assert model.norm.eps == 1e-6


def test_tied_names_must_agree(tmp_path):
    read = tiny_checkpoint(tmp_path)
    read.tensors["embed.weight"] = read.tensors.pop("conv.weight")
    read.tensors["tied.weight"] = read.tensors["embed.weight"].clone()
    model, _ = load_strict(tiny_variant(), read)
    assert torch.equal(model.conv.weight, read.tensors["tied.weight"])
    read.tensors["tied.weight"][0] += 1
    with pytest.raises(CheckpointError, match=r"embed\.weight and tied\.weight, with different"):
        load_strict(tiny_variant(), read)


def test_batch_counters_may_be_absent(tmp_path):
    read = tiny_checkpoint(tmp_path)
    del read.tensors["norm.num_batches_tracked"]
    model, _ = load_strict(tiny_variant(), read)
    assert model.norm.num_batches_tracked == 0
    read.tensors["other.num_batches_tracked"] = torch.tensor(1)
    load_strict(tiny_variant(), read)


def test_every_fault_is_listed(tmp_path):
    read = tiny_checkpoint(tmp_path, odd=torch.ones(1))
    del read.tensors["conv.bias"]
    read.tensors["conv.weight"] = torch.ones(4, 256)
    read.tensors["norm.bias"] = torch.ones(4, dtype=torch.int64)
    with pytest.raises(CheckpointMismatch) as caught:
        load_strict(tiny_variant(), read)
    assert caught.value.missing == ["conv.bias"]
    assert caught.value.unused == ["odd"]
    assert caught.value.misshapen == [
        "conv.weight (4, 256) should be (4, 3, 1, 1)",
        "norm.bias int64 should be float32",
    ]
    assert "choose the --variant" in str(caught.value)


def test_guesses_compare_names_and_shapes(tmp_path):
    candidates = [tiny_variant(3, "three"), tiny_variant(4, "four"), tiny_variant(4, "same")]
    assert guess_variants(tiny_checkpoint(tmp_path), candidates) == ["four", "same"]


@pytest.fixture(scope="module")
def mobile_sam(tmp_path_factory):
    """A file with MobileSAM's published tensors, the classifier that SAM does not use included."""
    tensors = {
        name: torch.full_like(tensor, 0.01)
        for name, tensor in load_variant("mobile_sam").layouts[0].build().state_dict().items()
    }
    tensors |= {
        "image_encoder.norm_head.weight": torch.ones(320),
        "image_encoder.norm_head.bias": torch.ones(320),
        "image_encoder.head.weight": torch.ones(1, 320),
        "image_encoder.head.bias": torch.ones(1),
    }
    path = tmp_path_factory.mktemp("weights") / "mobile_sam.pt"
    torch.save(tensors, path)
    return path


def test_mobile_sam_loads_from_its_published_names(mobile_sam):
    read = read_checkpoint(mobile_sam)
    model, _ = load_strict(load_variant("mobile_sam"), read)
    state = model.state_dict()
    assert len(read.tensors) == len(state) + 4
    assert all(torch.equal(state[name], read.tensors[name]) for name in state)
    assert model.prompt_encoder.labels.tolist() == [-1, 0, 1, 2, 3]


def test_freezing_leaves_the_checkpoint_as_it_is(mobile_sam):
    read = read_checkpoint(mobile_sam)
    name = "image_encoder.layers.1.blocks.0.attn.qkv.weight"
    read.tensors[name].copy_(seeded(read.tensors[name].shape))
    before = {name: tensor.clone() for name, tensor in read.tensors.items()}
    model, _ = load_strict(load_variant("mobile_sam"), read)
    freeze(model)
    assert all(torch.equal(before[name], tensor) for name, tensor in read.tensors.items())


def test_the_right_variant_is_suggested(mobile_sam):
    read = read_checkpoint(mobile_sam)
    with pytest.raises(CheckpointMismatch, match="this looks like mobile_sam or tinysam"):
        load_strict(load_variant("sam_vit_b"), read)
