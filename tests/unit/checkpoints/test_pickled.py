from __future__ import annotations

import argparse
import builtins
import collections
import functools
import os
import pathlib
import pickle
import subprocess

import numpy as np
import pytest
import torch
from torch import nn

from exporter.checkpoints.budget import Budget
from exporter.checkpoints.contents import Storage, StoredTensor
from exporter.checkpoints.files import open_file
from exporter.checkpoints.pickle_values import Record, Reference
from exporter.checkpoints.pickled import read_pickle
from exporter.checkpoints.state_dict import tensor_sets
from exporter.checkpoints.torch_file import read_torch_file
from exporter.errors import CheckpointError


class Asks:
    """Pickles as a call of `function`."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


class Block(nn.Module):
    """A module of a file's author; its code must never run while reading."""

    ran: list[str] = []  # noqa: RUF012

    def __init__(self):
        super().__init__()
        self.ran.append("__init__")
        self.lin = nn.Linear(3, 4)
        self.norm = nn.BatchNorm2d(4)
        self.register_buffer("kept", torch.arange(3))
        self.register_buffer("table", torch.ones(2), persistent=False)
        self.settings = {"path": pathlib.PurePosixPath("a"), "device": torch.device("cpu")}

    def __setstate__(self, state):
        self.ran.append("__setstate__")
        super().__setstate__(state)

    def __setattr__(self, name, value):
        self.ran.append("__setattr__")
        super().__setattr__(name, value)


def described(data: bytes):
    value, end = read_pickle(data, 0, Budget(len(data)))
    assert end <= len(data)
    return value


def tensors_of(path):
    with open_file(path) as opened:
        return read_torch_file(opened.data).tensors


def flat(value):
    sets, _skipped, _texts = tensor_sets(value, Budget(1000))
    return next(iter(sets.values()))


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    ("function", "args", "name"),
    [
        (os.system, ("touch {marker}",), "posix.system"),
        (builtins.eval, ("open('{marker}', 'w')",), "eval"),
        (builtins.exec, ("open('{marker}', 'w')",), "exec"),
        (builtins.getattr, ("{marker}", "upper"), "getattr"),
        (subprocess.check_call, (["touch", "{marker}"],), "subprocess.check_call"),
    ],
)
def test_a_call_is_refused_by_name_and_not_made(tmp_path, protocol, function, args, name):
    marker = tmp_path / "marker"
    filled = [
        a.format(marker=marker) if isinstance(a, str) else ["touch", str(marker)] for a in args
    ]
    data = pickle.dumps({"weight": Asks(function, *filled)}, protocol=protocol)
    with pytest.raises(CheckpointError, match=rf"asks to run \S*{name}; nothing was executed"):
        described(data)
    assert not marker.exists()


@pytest.mark.parametrize(
    "data",
    [
        b"(S'true'\nios\nsystem\n.",  # INST
        b"(cos\nsystem\nS'true'\no.",  # OBJ
        b"cos\nsystem\n(S'true'\ntR.",
        b"cposix\nsystem\n)\x81}bcposix\nsystem\n(S'true'\ntR.",
    ],
)
def test_old_opcodes_are_refused_too(data):
    with pytest.raises(CheckpointError, match=r"asks to run .*system; nothing was executed"):
        described(data)


def test_a_mentioned_name_is_only_a_name():
    assert described(b"cos\nsystem\n.") == Reference("os.system")


def test_an_object_is_a_record_of_its_state():
    data = b"cos\nsystem\n)\x81}S'a'\nI1\nsb."
    assert described(data) == Record("os.system", {"a": 1})


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no pickle",
        b"\x80\x02}q\x00",  # ends before STOP
        b"\x80\x02.",  # nothing on the stack
        b"\x80\x02h\x05.",  # memo slot never filled
        b"\x80\x02)R.",
        b"\x80\x02K\x01s.",
        b"\x80\x02(t(u.",
        b"\x80\x02a.",
        b"\x80\x02K\x01Q.",  # a persistent id that is no tuple
        b"\x82\x01.",  # EXT1
        b"\x8e" + b"\xff" * 8 + b".",  # BINBYTES8 that claims 2**64 bytes
        b"\x8b\xff\xff\xff\x7f.",  # LONG4 that claims 2 GB
        b"I" + b"9" * 5000 + b"\n.",
        b"\x80\x02(X\x07\x00\x00\x00storageK\x01K\x02K\x03K\x04tQ.",
    ],
)
def test_damage_is_one_kind_of_error(data):
    with pytest.raises(CheckpointError):
        described(data)


def test_a_deep_key_does_not_crash():
    data = b"\x80\x02})" + b"\x85" * 100_000 + b"K\x01s."
    assert list(described(data).values()) == [1]


@pytest.mark.parametrize("protocol", range(6))
def test_containers_read_as_pickle_reads_them(protocol):
    value = {"a": [1, -2, 3.5, None, True, False, 10**30], "b": ("é", (), (1,), (1, 2, 3)), 3: {}}
    assert described(pickle.dumps(value, protocol=protocol)) == value


@pytest.mark.parametrize("protocol", range(2, 6))
def test_settings_beside_the_tensors_are_no_obstacle(tmp_path, protocol):
    settings = {
        "fitness": np.float64(0.5),
        "history": np.arange(3),
        "args": argparse.Namespace(lr=0.1),
        "lists": collections.defaultdict(list, {"a": [1]}),
        "names": {"a", "b"},
        "frozen": frozenset({1}),
        "type": torch.float16,
        "size": torch.Size([1, 2]),
        "device": torch.device("cpu"),
        "bytes": b"\xff",
        "make": functools.partial(nn.LayerNorm, eps=1e-6),
    }
    path = tmp_path / "x.pt"
    torch.save({"model": {"w": torch.ones(2)}, **settings}, path, pickle_protocol=protocol)
    assert list(tensors_of(path)) == ["w"]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickled_module_gives_its_state_dict_and_runs_nothing(tmp_path, protocol, zipped):
    module = nn.Sequential(Block(), nn.ModuleDict({"deep": Block()}))
    path = tmp_path / "module.pt"
    torch.save(
        {"model": module, "epoch": 3},
        path,
        pickle_protocol=protocol,
        _use_new_zipfile_serialization=zipped,
    )
    Block.ran.clear()
    tensors = tensors_of(path)
    assert Block.ran == []
    state = module.state_dict()
    assert list(tensors) == list(state)
    assert [t.shape for t in tensors.values()] == [tuple(t.shape) for t in state.values()]


def test_a_data_parallel_wrapper_adds_nothing_to_names(tmp_path):
    module = nn.Module()
    module.encoder = nn.DataParallel(Block())
    path = tmp_path / "module.pt"
    torch.save(module, path)
    assert "encoder.lin.weight" in tensors_of(path)


def _module(**children) -> Record:
    weight = StoredTensor(Storage("0", "float32", 1), "float32", 0, (1,), (1,))
    return Record("M", {"_parameters": {"w": weight}, "_buffers": {}, "_modules": children})


def test_a_module_inside_itself_is_refused():
    root = _module()
    root.state["_modules"]["again"] = root
    with pytest.raises(CheckpointError, match="nests modules without end"):
        flat(root)


def test_a_few_records_that_mean_millions_of_modules_are_refused():
    level = _module()
    for _ in range(40):
        level = _module(left=level, right=level)
    with pytest.raises(CheckpointError, match="nests modules without end"):
        flat(level)


@pytest.mark.parametrize("key", ["model", "state_dict", "model_state", "model_state_dict"])
def test_containers_are_unwrapped(key):
    tensors = flat({key: {"w": _module().state["_parameters"]["w"]}, "optimizer": {}})
    assert list(tensors) == ["w"]


@pytest.mark.parametrize("value", [{}, {"epoch": 3}, [1], None, Reference("os.system")])
def test_a_file_without_tensors_is_refused(value):
    with pytest.raises(CheckpointError, match="holds no tensors"):
        flat(value)
