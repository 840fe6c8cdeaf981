"""A TFLite file written small: short names, nothing twice, constants inside or behind."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pytest

from exporter.targets.tflite import _file
from exporter.targets.tflite._file import ALIGNMENT, tidy, write
from profiles.lab.bench.operations import count_tflite
from tests.unit.targets.tflite.network import run
from tests.unit.tiny_tflite import write_adder

pytestmark = [
    pytest.mark.parity,
    pytest.mark.filterwarnings("ignore"),  # the toolkit's: torch versions, deprecations
]


@pytest.fixture
def tidied(single, tmp_path):
    path = tmp_path / "network.tflite"
    shutil.copy(single, path)
    tidy(path)
    return path


def read(path):
    from ai_edge_litert.tools import flatbuffer_utils

    return flatbuffer_utils.read_model(str(path))


def packed(path):
    from ai_edge_litert import schema_py_generated as schema

    return schema.Model.GetRootAs(path.read_bytes(), 0)


def buffers(path):
    model = packed(path)
    return [model.Buffers(at) for at in range(model.BuffersLength())]


def test_names_are_numbers_and_nothing_else_changes(single, tidied):
    before, after = read(single).subgraphs[0], read(tidied).subgraphs[0]
    assert [t.name.decode() for t in after.tensors] == [f"t{i}" for i in range(len(after.tensors))]
    assert len(after.tensors) == len(before.tensors)
    names = sum(len(tensor.name) for tensor in before.tensors)
    assert single.stat().st_size - tidied.stat().st_size > names / 2  # names of modules are long
    for one, other in zip(run(single), run(tidied), strict=True):
        np.testing.assert_array_equal(one, other)
    assert (count_tflite(tidied).partitions, count_tflite(tidied).outside) == (1, {})


def test_a_tidy_file_stays_as_it_is(tidied):
    once = tidied.read_bytes()
    tidy(tidied)
    assert tidied.read_bytes() == once


def test_the_signature_keeps_the_names_that_an_app_uses(tmp_path):
    from ai_edge_litert.interpreter import Interpreter

    path = tmp_path / "adder.tflite"
    write_adder(path, "add", ("first", "second", "total"))
    tidy(path)
    assert Interpreter(str(path)).get_signature_list() == {
        "add": {"inputs": ["first", "second"], "outputs": ["total"]}
    }


def test_equal_vectors_are_stored_once(single, tmp_path):
    """A zero point is 8 bytes for each channel: in 8 bits, more than the scales."""
    from ai_edge_litert import schema_py_generated as schema

    def size(zero_point):
        model = read(single)
        for tensor in model.subgraphs[0].tensors:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale = np.ones(640, np.float32)
            tensor.quantization.zeroPoint = [next(zero_point)] * 640
        write(model, tmp_path / "points.tflite")
        return (tmp_path / "points.tflite").stat().st_size

    tensors = len(read(single).subgraphs[0].tensors)
    saved = size(iter(range(tensors))) - size(iter([0] * tensors))
    assert saved == pytest.approx((tensors - 1) * 640 * 8, rel=0.01)


def test_constants_lie_at_the_borders_that_the_schema_demands(tidied):
    data = tidied.read_bytes()
    inside = [b.DataAsNumpy() for b in buffers(tidied) if b.DataLength() >= ALIGNMENT]
    assert len(inside) > 5
    starts = [data.index(each.tobytes()) for each in inside]
    assert [start % ALIGNMENT for start in starts] == [0] * len(inside)


def test_constants_too_large_for_a_flatbuffer_follow_it(single, tidied, tmp_path, monkeypatch):
    """2 GB are the end of a flatbuffer; here it is nearer."""
    monkeypatch.setattr(_file, "MOST_INSIDE", 1000)
    monkeypatch.setattr(_file, "LARGE", 1024)
    path = tmp_path / "large.tflite"
    model = read(tidied)
    write(model, path)
    once = path.read_bytes()
    write(model, path)  # a model that was written is as good as before
    assert path.read_bytes() == once
    outside = [buffer for buffer in buffers(path) if buffer.Offset() > 1]
    assert len(outside) > 5
    assert all(buffer.Offset() % ALIGNMENT == 0 for buffer in outside)
    assert all(buffer.Size() >= 1024 > buffer.DataLength() for buffer in outside)
    assert all(b.DataLength() < 1024 for b in buffers(path))
    for one, other in zip(run(single), run(path), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("precision", ["fp16", "int8-weights"])
def test_exports_are_tidy(exports, precision):
    bundle = exports.bundle("tflite", precision)
    for graph in bundle.manifest.graphs:
        names = [t.name.decode() for t in read(bundle.file(graph.spec.name)).subgraphs[0].tensors]
        assert all(re.fullmatch(r"t\d+", name) for name in names)
