"""Checkpoint files and folders that read back, and folders with files wrong or missing."""

from __future__ import annotations

import hashlib
import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from exporter.checkpoints.reading import Checkpoint, read_checkpoint
from exporter.errors import CheckpointError
from tests.unit.checkpoints.small_checkpoints import seeded, state


def same(read: Checkpoint, expected: dict[str, torch.Tensor]) -> bool:
    return read.tensors.keys() == expected.keys() and all(
        torch.equal(read.tensors[name], tensor) and read.tensors[name].dtype == tensor.dtype
        for name, tensor in expected.items()
    )


@pytest.mark.parametrize("wrap", [None, "model", "state_dict", "model_state"])
@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("zipped", [True, False])
def test_torch_files_read_back(tmp_path, wrap, prefix, zipped):
    named = {prefix + name: tensor for name, tensor in state().items()}
    path = tmp_path / "weights.anything"
    value = {wrap: named, "best": torch.zeros(1), "epoch": 3} if wrap else named
    torch.save(value, path, _use_new_zipfile_serialization=zipped)
    read = read_checkpoint(path)
    assert same(read, state())
    assert read.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_views_parameters_and_tied_tensors_read_back(tmp_path):
    whole = seeded((6, 8))
    value = {
        "a": whole[1:3, ::2],
        "b": whole.t(),
        "c": nn.Parameter(whole),
        "d": torch.zeros(0, 3),
        "e": torch.tensor(2.5),
        "f": torch.arange(4, dtype=torch.int32),
    }
    for zipped in (True, False):
        torch.save(value, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
        read = read_checkpoint(tmp_path / "x.pt")
        assert same(read, {name: tensor.detach() for name, tensor in value.items()})
        assert all(tensor.is_contiguous() for tensor in read.tensors.values())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_half_precision_is_widened(tmp_path, dtype, kind):
    value = {"w": seeded((3, 5)).to(dtype)}
    path = tmp_path / "x"
    if kind == "safetensors":
        save_file(value, path)
    else:
        torch.save(value, path, _use_new_zipfile_serialization=kind == "zip")
    assert same(read_checkpoint(path), {"w": value["w"].float()})


def test_safetensors_and_folders_read_back(tmp_path):
    save_file(state(), tmp_path / "model.safetensors")
    assert same(read_checkpoint(tmp_path / "model.safetensors"), state())
    assert same(read_checkpoint(tmp_path), state())
    old = tmp_path / "old"
    old.mkdir()
    torch.save(state(), old / "pytorch_model.bin")
    assert same(read_checkpoint(old), state())


def shards(folder, index=None):
    first, second = dict(list(state().items())[:1]), dict(list(state().items())[1:])
    save_file(first, folder / "model-1.safetensors")
    save_file(second, folder / "model-2.safetensors")
    weight_map = dict.fromkeys(first, "model-1.safetensors")
    weight_map |= dict.fromkeys(second, "model-2.safetensors")
    text = json.dumps({"weight_map": weight_map | (index or {})})
    (folder / "model.safetensors.index.json").write_text(text)


def test_shards_read_back(tmp_path):
    shards(tmp_path)
    assert same(read_checkpoint(tmp_path), state())


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ({"x": "../secret.safetensors"}, "outside its folder"),
        ({"x": "/etc/passwd"}, "outside its folder"),
        ({"x": "model-3.safetensors"}, "model-3.safetensors does not exist"),
        ({"x": "model-1.safetensors"}, "index that differs from its shards"),
        ({"x": 3}, "is not a weight index"),
    ],
)
def test_a_wrong_index_is_refused(tmp_path, index, message):
    shards(tmp_path, index)
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(tmp_path)


def test_missing_and_empty_files(tmp_path):
    with pytest.raises(CheckpointError, match="does not exist"):
        read_checkpoint(tmp_path / "none.pt")
    with pytest.raises(CheckpointError, match="folder without weights"):
        read_checkpoint(tmp_path)
    (tmp_path / "empty.pt").touch()
    with pytest.raises(CheckpointError, match="is empty"):
        read_checkpoint(tmp_path / "empty.pt")
