"""RWKV's weighted sums stay float where the rest of a layer is rounded, on every target.

Products with tables look like linear layers to converters.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from exporter.bundle.tensors import GraphSpec, TensorSpec
from exporter.calibration import Pictures
from exporter.graphs import graph_of
from exporter.islands import WEIGHTED_SUMS
from exporter.models.layers import freeze
from exporter.models.rwkv import RwkvBlock
from exporter.precision import load_precision
from exporter.products import named, products
from exporter.targets import Options, load_target
from tests.parity.test_kept_parts import onnx_types, tflite_types

GRID, WIDTH = 32, 96
LAYERS = {(96, 96), (96, 192)}
"""Shapes of linear layers' weights, sides sorted. Tables have others: 16, 18 and 64 are sides."""


class Mixed(nn.Module):
    """One block by a name, as in a network."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = RwkvBlock(WIDTH, GRID, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        mixed: Tensor = self.layer(tokens)
        return mixed


def core_ml_8_bits(path):
    """The shapes of weights in 8 bits; tables of few values are look-ups, which are exact."""
    for each in _operations(path):
        if each.type in ("constexpr_affine_dequantize", "constexpr_blockwise_shift_scale"):
            sides = (d.constant.size for d in each.outputs[0].type.tensorType.dimensions)
            yield tuple(sorted(side for side in sides if side > 1))


def _operations(path):
    import coremltools as ct

    spec = ct.models.MLModel(str(path), skip_model_load=True).get_spec()
    (block,) = next(iter(spec.mlProgram.functions.values())).block_specializations.values()
    return block.operations


def _matrices(read):
    return lambda path: (s for s, types in read(path).items() if "INT8" in types and len(s) > 1)


IN_8_BITS = {
    "onnx": _matrices(onnx_types),
    "tflite": _matrices(tflite_types),
    "coreml": core_ml_8_bits,
}


@pytest.fixture(scope="module")
def graph():
    torch.manual_seed(0)
    block = Mixed().eval()
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.normal_(0.0, 0.3)
    tokens = TensorSpec("tokens", (1, GRID * GRID, WIDTH), "float32", "BNC")
    mixed = TensorSpec("mixed", tokens.shape, "float32", "BNC")
    return graph_of(GraphSpec("block", (tokens,), (mixed,), "image"), freeze(block))


@pytest.mark.parametrize("target", list(IN_8_BITS))
def test_layers_alone_have_8_bits_and_no_table_has(graph, target, tmp_path):
    kept = named(products(graph), WEIGHTED_SUMS.patterns)
    assert kept == {"layer.attn.averages"}
    precision = load_precision("int8-weights")
    file = load_target(target).lower(graph, precision, tmp_path, Options(), Pictures(), kept)
    assert set(IN_8_BITS[target](tmp_path / file.file)) == LAYERS


def test_core_ml_computes_them_in_float32_in_fp16(graph, tmp_path):
    from coremltools.proto import MIL_pb2

    file = load_target("coreml").lower(graph, load_precision("fp16"), tmp_path, Options())
    kinds = {}
    for each in _operations(tmp_path / file.file):
        types = {out.type.tensorType.dataType for out in each.outputs}
        kinds.setdefault(each.type, set()).update(types)
    half, full = (MIL_pb2.DataType.Value(name) for name in ("FLOAT16", "FLOAT32"))
    for kind in ("exp", "reduce_max", "matmul", "real_div"):
        assert kinds[kind] == {full}, kind
    assert half in kinds["linear"]
