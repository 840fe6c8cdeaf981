"""A file is opened once: what was hashed is what was read, and only a file is opened at all."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from exporter.checkpoints import reading
from exporter.checkpoints.files import open_file
from exporter.checkpoints.reading import read_checkpoint
from exporter.errors import CheckpointError


@pytest.fixture
def opened():
    """The paths that are opened, by whatever means Python has."""
    paths: list[str] = []
    watched = {"on": True}

    def note(event, arguments):
        if watched["on"] and event in ("open", "os.open"):
            paths.append(str(arguments[0]))

    sys.addaudithook(note)
    yield paths
    watched["on"] = False


def save(path: Path, kind: str) -> Path:
    if kind == "safetensors":
        save_file({"w": torch.ones(4)}, path)
    elif kind == "onnx":
        from onnx import helper, numpy_helper

        weight = numpy_helper.from_array(torch.ones(4).numpy(), "w")
        graph = helper.make_graph([], "g", [], [], initializer=[weight])
        path.write_bytes(helper.make_model(graph).SerializeToString())
    else:
        torch.save({"w": torch.ones(4)}, path, _use_new_zipfile_serialization=kind == "zip")
    return path


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors", "onnx"])
def test_each_kind_of_file_is_opened_once(tmp_path, opened, kind):
    path = save(tmp_path / "x", kind)
    opened.clear()
    checkpoint = read_checkpoint(path)
    assert opened.count(str(path)) == 1
    assert checkpoint.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert torch.equal(checkpoint.tensors["w"], torch.ones(4))


def test_each_shard_and_its_index_are_opened_once(tmp_path, opened):
    index = {f"{name}.w": f"{name}.safetensors" for name in "ab"}
    for name in "ab":
        save_file({f"{name}.w": torch.ones(4)}, tmp_path / f"{name}.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    opened.clear()
    read_checkpoint(tmp_path)
    names = sorted(Path(p).name for p in opened if Path(p).parent == tmp_path)
    assert names == ["a.safetensors", "b.safetensors", "model.safetensors.index.json"]


def test_another_file_under_the_name_is_not_read(tmp_path, monkeypatch):
    """The name is taken by another file between the opening and the reading."""
    path, other = save(tmp_path / "x", "zip"), tmp_path / "other"
    expected = hashlib.sha256(path.read_bytes()).hexdigest()
    torch.save({"evil": torch.zeros(4)}, other)
    describe = reading._describe

    def swap(data):
        os.replace(other, path)  # noqa: PTH105 - the name alone changes
        return describe(data)

    monkeypatch.setattr(reading, "_describe", swap)
    checkpoint = read_checkpoint(path)
    assert list(checkpoint.tensors) == ["w"]
    assert checkpoint.sha256 == expected


def test_a_file_that_is_written_to_meanwhile_is_refused(tmp_path, monkeypatch):
    path = save(tmp_path / "x", "zip")
    describe = reading._describe

    def write(data):
        found = describe(data)
        with path.open("r+b") as file:
            file.seek(100)
            file.write(b"x")
        os.utime(path, ns=(1, 1))
        return found

    monkeypatch.setattr(reading, "_describe", write)
    with pytest.raises(CheckpointError, match="was changed while it was read"):
        read_checkpoint(path)


def test_a_file_that_is_not_the_expected_one_is_refused(tmp_path):
    path = save(tmp_path / "x", "zip")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert read_checkpoint(path, digest[:8]).sha256 == digest
    with pytest.raises(CheckpointError, match=f"has sha256 {digest} now, not 0000"):
        read_checkpoint(path, "0000")


@pytest.mark.parametrize("linked", [True, False])
def test_pipes_and_devices_are_no_files(tmp_path, linked):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for target in (pipe, Path("/dev/zero")):
        path = target
        if linked:
            path = tmp_path / f"to-{target.name}"
            path.symlink_to(target)
        with pytest.raises(CheckpointError, match="is not a file"):
            read_checkpoint(path)


def test_a_shard_that_is_a_pipe_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map":{"w":"pipe"}}')
    with pytest.raises(CheckpointError, match="is not a file"):
        read_checkpoint(tmp_path)


def test_a_link_as_a_cache_makes_is_followed(tmp_path):
    save(tmp_path / "blob", "safetensors")
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "snapshot" / "model.safetensors").symlink_to("../blob")
    assert list(read_checkpoint(tmp_path / "snapshot").tensors) == ["w"]


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "loop"])
def test_names_that_cannot_be_opened(tmp_path, name):
    if name == "loop":
        (tmp_path / name).symlink_to(name)
    with pytest.raises(CheckpointError), open_file(tmp_path / name):
        pass


SHARDS = {
    "../x": "outside its folder",
    "/etc/passwd": "outside its folder",
    "a/../../x": "outside its folder",
    "a\\x": "outside its folder",
    "a\0": "outside its folder",
    "..": "outside its folder",
    "": "outside its folder",
    "a\x1b]0;t\x07\nsam-export: done": "outside its folder",
    "x" * 5000: "outside its folder",
    "x" * 900: "cannot be read",
}


@pytest.mark.parametrize("shard", SHARDS)
def test_impossible_shards(tmp_path, shard):
    index = json.dumps({"weight_map": {"w": shard}})
    (tmp_path / "model.safetensors.index.json").write_text(index)
    with pytest.raises(CheckpointError, match=SHARDS[shard]):
        read_checkpoint(tmp_path)


INDEXES = {
    "many shards": json.dumps({"weight_map": {f"w{i}": f"{i}" for i in range(1000)}}),
    "a million tensors": '{"weight_map":{' + '"w":"a",' * 10**6 + '"v":"a"}}',
    "large": " " * 20_000_001,
    "deep": "[" * 10**5,
    "a name twice": '{"weight_map":{"w":"a","w":"b"}}',
    "no object": "[]",
    "a list of shards": '{"weight_map":["a"]}',
    "a shard that is a list": '{"weight_map":{"w":["a"]}}',
    "5,000 digits": '{"weight_map":{"w":' + "9" * 5000 + "}}",
    "no shards": '{"weight_map":{}}',
}


@pytest.mark.parametrize("kind", INDEXES)
def test_impossible_indexes(tmp_path, kind):
    (tmp_path / "model.safetensors.index.json").write_text(INDEXES[kind])
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(tmp_path)
    assert len(str(caught.value)) < 500
    assert str(caught.value).count("model.safetensors.index.json") == 1
    assert str(caught.value).isprintable()
