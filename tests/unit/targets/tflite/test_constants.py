"""Constants of a TFLite file: which are stored smaller, what they compute, what is left of it."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

from exporter.islands import COORDINATES
from exporter.targets.tflite._constants import (
    LEAST_BYTES,
    byte_table,
    half,
    half_or_byte,
    store,
)
from profiles.lab.bench.operations import count_tflite
from tests.unit.targets.tflite.network import SHAPES, Network, inputs, run

pytestmark = [
    pytest.mark.parity,
    pytest.mark.filterwarnings("ignore"),  # the toolkit's: torch versions, deprecations
]

LARGE = ("gauss", "twin", "table", "left", "weight", "huge", "attention", "filter")
HALVED = ("twin", "table", "left", "weight", "attention", "filter", "added")


@pytest.fixture
def stored(single, tmp_path):
    """Form -> the network's file with its constants stored so."""

    def make(form):
        path = tmp_path / f"{form.__name__}.tflite"
        shutil.copy(single, path)
        store(path, (COORDINATES,), form)
        return path

    return make


def by_name(model):
    """The constants of `SHAPES`, told by their sides."""
    tensors = [t for t in model.subgraphs[0].tensors if model.buffers[t.buffer].data is not None]
    sides = {_sides(tensor.shape): tensor for tensor in tensors}
    return {name: sides[_sides(shape)] for name, shape in SHAPES.items()}


def _sides(shape):
    return tuple(sorted(int(side) for side in shape if side > 1))


def narrowed(path):
    """Constant -> how it is stored, if not in float32."""
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    kinds = {n: t.type for n, t in by_name(flatbuffer_utils.read_model(str(path))).items()}
    words = {schema.TensorType.FLOAT16: "float16", schema.TensorType.INT8: "int8"}
    whole = schema.TensorType.FLOAT32
    return {name: words[kind] for name, kind in kinds.items() if kind != whole}


def test_large_matrices_are_halved_whatever_reads_them(single, stored):
    path = stored(half)
    assert narrowed(single) == {}
    assert narrowed(path) == dict.fromkeys(HALVED, "float16")
    saved = 2 * sum(int(np.prod(SHAPES[name])) for name in HALVED)
    # A name, a tensor and an operation each.
    assert 0 <= saved - (single.stat().st_size - path.stat().st_size) < 512 * len(HALVED)


def test_of_few_bits_tables_of_attention_bias_are_bytes(stored):
    path = stored(half_or_byte)
    assert narrowed(path) == dict.fromkeys(HALVED, "float16") | {"attention": "int8"}


def test_a_bias_goes_with_its_filter_or_neither_goes(single, stored, tmp_path):
    """LiteRT 1.1 to 1.3 reads a float32 bias beside a float16 filter wrongly, and says nothing."""
    from ai_edge_litert.tools import flatbuffer_utils

    assert {"filter", "added"} <= narrowed(stored(half)).keys()
    model = flatbuffer_utils.read_model(str(single))
    bias = by_name(model)["added"]
    model.buffers[bias.buffer].data = np.full(SHAPES["added"], 1e6, np.float32).view(np.uint8)
    huge = tmp_path / "huge.tflite"
    flatbuffer_utils.write_model(model, str(huge))
    store(huge, (COORDINATES,), half)
    assert narrowed(huge).keys() == set(HALVED) - {"filter", "added"}


def test_the_constants_that_stay_would_be_halved_but_for_their_reason():
    assert all(4 * np.prod(SHAPES[name]) >= LEAST_BYTES for name in LARGE)
    assert 4 * SHAPES["bias"][0] >= LEAST_BYTES > 4 * np.prod(SHAPES["small"])


@pytest.mark.parametrize("form", [half, half_or_byte])
def test_a_constant_is_widened_once_and_xnnpack_leaves_nothing_of_it(stored, form):
    found = count_tflite(stored(form))
    assert found.operations["DEQUANTIZE"] == len(HALVED)  # one for both readers of the table
    assert (found.partitions, found.outside) == (1, {})


def _widened(values):
    scale, zero_point, rounded = byte_table(values.numpy())
    return torch.from_numpy(scale * (rounded - zero_point)).float()


@pytest.mark.parametrize("form", [half, half_or_byte])
def test_only_the_constants_are_rounded(stored, form):
    network = Network()
    for name in HALVED:
        getattr(network, name).copy_(getattr(network, name).half().float())
    if form is half_or_byte:
        network.attention.copy_(_widened(Network().attention))
    expected = network(*map(torch.from_numpy, inputs()))
    for got, wanted in zip(run(stored(form)), expected, strict=True):
        limit = 1e-5 * float(wanted.abs().max())
        np.testing.assert_allclose(got, wanted.numpy(), atol=limit, rtol=0)


def test_a_table_of_bytes_errs_by_half_a_step_of_its_head():
    values = Network().attention
    error = (_widened(values) - values).abs().amax((0, 2, 3))
    span = values.amax((0, 2, 3)).clamp(min=0) - values.amin((0, 2, 3)).clamp(max=0)
    assert (error <= 1.01 * span / 255).all()  # half a step of the value, half of the zero point
    assert error[0] < 0.05 < error[1]  # heads do not share a scale


def test_a_table_of_one_value_keeps_it():
    values = torch.zeros(1, 2, 3, 3)
    values[:, 1] = 0.3
    assert torch.allclose(_widened(values), values)


def test_a_buffer_that_an_island_shares_stays_float32(single, tmp_path):
    """Halved for one reader, it would be garbage for the other."""
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model(str(single))
    tensors = by_name(model)
    tensors["twin"].buffer = tensors["gauss"].buffer
    shared = tmp_path / "shared.tflite"
    flatbuffer_utils.write_model(model, str(shared))
    store(shared, (COORDINATES,), half)
    assert narrowed(shared).keys() == set(HALVED) - {"twin"}
