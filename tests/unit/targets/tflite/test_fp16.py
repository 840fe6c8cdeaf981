"""Constants of a TFLite file to float16: which, what they compute, and what XNNPACK makes of it."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

from exporter.islands import COORDINATES
from exporter.targets.tflite.fp16 import LEAST_BYTES, to_half
from profiles.lab.bench.operations import count_tflite

pytestmark = [
    pytest.mark.parity,
    pytest.mark.filterwarnings("ignore"),  # the toolkit's: torch versions, deprecations
]

SHAPES = {
    "gauss": (2, 128),  # leads to a sine
    "twin": (4, 64),  # as large, and leads to none
    "table": (1, 40, 256),  # a sum reads it, twice
    "left": (24, 40),  # the left side of a product
    "weight": (96, 256),  # a fully connected layer's
    "bias": (256,),
    "small": (2, 4),
    "huge": (24, 96),  # of numbers that no float16 holds
}
LARGE = ("gauss", "twin", "table", "left", "weight", "huge")
HALVED = ("twin", "table", "left", "weight")


class Network(torch.nn.Module):
    """Every kind of constant."""

    def __init__(self):
        super().__init__()
        rng = np.random.default_rng(0)
        for name, shape in SHAPES.items():
            values = torch.from_numpy(rng.standard_normal(shape).astype(np.float32))
            self.register_buffer(name, values * 1e5 if name == "huge" else values)

    def forward(self, points, tokens):
        phase = points @ self.gauss
        positions = torch.cat([phase.sin(), phase.cos()], dim=-1) + self.bias
        tokens = torch.tanh(tokens + self.table) + self.table
        mixed = torch.nn.functional.linear(self.left @ tokens, self.weight)
        turned = points.transpose(1, 2)[:, :1].transpose(1, 2) * self.twin
        return positions, mixed + self.huge, turned, torch.relu(points[0] @ self.small)


def inputs():
    rng = np.random.default_rng(1)
    points = rng.uniform(700, 1024, (1, 4, 2)).astype(np.float32)
    return points, rng.standard_normal((1, 40, 256)).astype(np.float32)


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    """The network in float32."""
    import litert_torch

    path = tmp_path_factory.mktemp("single") / "network.tflite"
    given = tuple(map(torch.from_numpy, inputs()))
    litert_torch.convert(Network().eval(), given).export(str(path))
    return path


@pytest.fixture
def half(single, tmp_path):
    path = tmp_path / "network.tflite"
    shutil.copy(single, path)
    to_half(path, (COORDINATES,))
    return path


def by_name(model):
    """The constants of `SHAPES`, told by their sides."""
    tensors = [t for t in model.subgraphs[0].tensors if model.buffers[t.buffer].data is not None]
    sides = {_sides(tensor.shape): tensor for tensor in tensors}
    return {name: sides[_sides(shape)] for name, shape in SHAPES.items()}


def _sides(shape):
    return tuple(sorted(int(side) for side in shape if side > 1))


def halved(path):
    """Names of the constants that are float16; the others are float32."""
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    kinds = {n: t.type for n, t in by_name(flatbuffer_utils.read_model(str(path))).items()}
    assert set(kinds.values()) <= {schema.TensorType.FLOAT32, schema.TensorType.FLOAT16}
    return {name for name, kind in kinds.items() if kind == schema.TensorType.FLOAT16}


def run(path):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    for detail, array in zip(interpreter.get_input_details(), inputs(), strict=True):
        interpreter.set_tensor(detail["index"], array)
    interpreter.invoke()
    outputs = interpreter.get_output_details()
    return [interpreter.get_tensor(detail["index"]) for detail in outputs]


def test_large_matrices_are_halved_whatever_reads_them(single, half):
    assert halved(single) == set()
    assert halved(half) == set(HALVED)
    saved = 2 * sum(int(np.prod(SHAPES[name])) for name in HALVED)
    # A name, a tensor and an operation each.
    assert 0 <= saved - (single.stat().st_size - half.stat().st_size) < 512 * len(HALVED)


def test_the_constants_that_stay_would_be_halved_but_for_their_reason():
    assert all(4 * np.prod(SHAPES[name]) >= LEAST_BYTES for name in LARGE)
    assert 4 * SHAPES["bias"][0] >= LEAST_BYTES > 4 * np.prod(SHAPES["small"])


def test_a_constant_is_widened_once_and_xnnpack_leaves_nothing_of_it(half):
    found = count_tflite(half)
    assert found.operations["DEQUANTIZE"] == len(HALVED)  # one for both readers of the table
    assert (found.partitions, found.outside) == (1, {})


def test_only_the_constants_are_rounded(half):
    network = Network()
    for name in HALVED:
        getattr(network, name).copy_(getattr(network, name).half().float())
    expected = network(*map(torch.from_numpy, inputs()))
    for got, wanted in zip(run(half), expected, strict=True):
        limit = 1e-5 * float(wanted.abs().max())
        np.testing.assert_allclose(got, wanted.numpy(), atol=limit, rtol=0)


def test_a_buffer_that_an_island_shares_stays_float32(single, tmp_path):
    """Halved for one reader, it would be garbage for the other."""
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model(str(single))
    tensors = by_name(model)
    tensors["twin"].buffer = tensors["gauss"].buffer
    shared = tmp_path / "shared.tflite"
    flatbuffer_utils.write_model(model, str(shared))
    to_half(shared, (COORDINATES,))
    assert halved(shared) == set(HALVED) - {"twin"}
