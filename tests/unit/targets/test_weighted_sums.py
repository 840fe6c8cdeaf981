"""RWKV's weighted sums stay float where the rest of a layer is rounded, on every target.

Products with tables look like linear layers to converters.
"""

from __future__ import annotations

import pytest
import torch

from exporter.bundle.tensors import GraphSpec, TensorSpec
from exporter.calibration import Pictures
from exporter.graphs import graph_of
from exporter.islands import WEIGHTED_SUMS
from exporter.models.layers import freeze
from exporter.models.rwkv import RwkvBlock
from exporter.precision import load_precision
from exporter.products import named, products
from exporter.targets import Options, load_target
from tests.parity.test_kept_parts import core_ml_types, onnx_types, tflite_types

GRID, WIDTH = 32, 96
TRIANGLE, TABLE, LINEAR = (64, 64), (16, 18, 96), (96, 96)
"""Shapes of constants, sides sorted: over 64 rows of 16 tokens, inside a row, and of a layer."""

TYPES = {"onnx": onnx_types, "tflite": tflite_types, "coreml": core_ml_types}


@pytest.fixture(scope="module")
def graph():
    torch.manual_seed(0)
    block = torch.nn.Module()
    block.layer = RwkvBlock(WIDTH, GRID, 2)
    block.forward = block.layer.forward
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.normal_(0.0, 0.3)
    tokens = (TensorSpec("tokens", (1, GRID * GRID, WIDTH), "float32", "BNC"),)
    spec = GraphSpec("block", tokens, (TensorSpec("mixed", *_like(tokens[0])),), "image")
    return graph_of(spec, freeze(block.eval()))


def _like(tensor):
    return tensor.shape, tensor.dtype, tensor.layout


@pytest.mark.parametrize("target", list(TYPES))
def test_tables_stay_float_in_few_bits(graph, target, tmp_path):
    kept = named(products(graph), WEIGHTED_SUMS.patterns)
    assert kept == {"layer.attn.averages"}
    precision = load_precision("int8-weights")
    file = load_target(target).lower(graph, precision, tmp_path, Options(), Pictures(), kept)
    found = TYPES[target](tmp_path / file.file)
    assert "INT8" in found[LINEAR]
    assert TRIANGLE in found
    assert TABLE in found
    assert not {"INT8", "UINT8"} & (found[TRIANGLE] | found[TABLE])


def test_core_ml_computes_them_in_float32_in_fp16(graph, tmp_path):
    import coremltools as ct

    file = load_target("coreml").lower(graph, load_precision("fp16"), tmp_path, Options())
    spec = ct.models.MLModel(str(tmp_path / file.file), skip_model_load=True).get_spec()
    (block,) = next(iter(spec.mlProgram.functions.values())).block_specializations.values()
    kinds = {}
    for each in block.operations:
        kinds.setdefault(each.type, set()).update(
            out.type.tensorType.dataType for out in each.outputs
        )
    half, full = (ct.proto.MIL_pb2.DataType.Value(name) for name in ("FLOAT16", "FLOAT32"))
    for kind in ("exp", "reduce_max", "matmul", "real_div"):
        assert kinds[kind] == {full}, kind
    assert half in kinds["linear"]
