"""What a checkpoint comes packed in, or in pieces, is opened or named with what mends it."""

from __future__ import annotations

import json
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from exporter.checkpoints.reading import read_checkpoint
from exporter.errors import CheckpointError
from tests.unit.checkpoints.small_checkpoints import state


@pytest.fixture
def saved(tmp_path):
    torch.save(state(), tmp_path / "mine.pth")
    return tmp_path / "mine.pth"


def refused(path):
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    return str(caught.value)


@pytest.mark.parametrize(("mode", "command"), [("w:gz", "`tar -xzf`"), ("w", "`tar -xf`")])
def test_a_tar_archive_names_what_is_inside(tmp_path, saved, mode, command):
    with tarfile.open(tmp_path / "x.tar.gz", mode) as packed:
        packed.add(saved, "run 3/mine.pth")
    said = refused(tmp_path / "x.tar.gz")
    assert "around run 3/mine.pth: unpack it and give the checkpoint inside" in said
    assert command in said


@pytest.mark.parametrize("how", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_around_a_checkpoint_names_it(tmp_path, saved, how):
    with zipfile.ZipFile(tmp_path / "x.zip", "w", how) as packed:
        packed.write(saved, "weights/mine.pth")
        packed.writestr("weights/readme.txt", "hello")
    said = refused(tmp_path / "x.zip")
    assert "is a zip archive around weights/mine.pth: unpack it" in said


def test_a_bomb_in_gzip_is_not_unpacked(tmp_path):
    import gzip
    import tracemalloc

    (tmp_path / "x.gz").write_bytes(gzip.compress(bytes(300_000_000), 1))
    tracemalloc.start()
    said = refused(tmp_path / "x.gz")
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()
    assert "packed with gzip" in said


def test_other_kinds_are_named(tmp_path):
    (tmp_path / "x").write_bytes(b"\x1c\0\0\0TFL3" + bytes(100))
    assert "is a model for TFLite, and no checkpoint" in refused(tmp_path / "x")
    np.savez(tmp_path / "y.npz", w=np.ones(3))
    assert "holds numpy arrays" in refused(tmp_path / "y.npz")


def shards(folder, count=2):
    names = [f"model-{i + 1:05}-of-{count:05}.safetensors" for i in range(count)]
    items = list(state().items())
    for i, name in enumerate(names):
        save_file(dict(items[i::count]), folder / name)
    index = {"weight_map": {n: names[i % count] for i, (n, _) in enumerate(items)}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return names


@pytest.mark.parametrize("given", ["folder", "index", "first shard", "last shard"])
def test_shards_are_read_whichever_is_given(tmp_path, given):
    names = shards(tmp_path)
    index = tmp_path / "model.safetensors.index.json"
    first, last = tmp_path / names[0], tmp_path / names[-1]
    paths = {"folder": tmp_path, "index": index, "first shard": first, "last shard": last}
    read = read_checkpoint(paths[given])
    assert read.tensors.keys() == state().keys()
    assert read.sha256 == read_checkpoint(tmp_path).sha256


def test_one_shard_alone_says_what_is_missing(tmp_path):
    names = shards(tmp_path, 3)
    (tmp_path / names[1]).unlink()
    said = refused(tmp_path / names[0])
    assert f"is one of 3 shards: put the others beside it ({names[1]} is missing)" in said


def test_an_index_alone_says_what_is_missing(tmp_path):
    for name in shards(tmp_path):
        (tmp_path / name).unlink()
    said = refused(tmp_path / "model.safetensors.index.json")
    assert "is an index without its shards" in said
    assert "index without its shards" in refused(tmp_path)
