from __future__ import annotations

import coremltools as ct
import coremltools.optimize.coreml as cto
import numpy as np
import pytest
import torch
from coremltools.converters.mil.mil import Builder as mb
from coremltools.converters.mil.mil import types

from runtimes.engines.mil import load_package
from tests.unit.mil.building import TARGETS, case, compare, normal, parametrize

NOTHING = np.zeros(1, np.float32)


def _weight(operation, expected, opset, note="", **parameters):
    """The unpacked weight, added to zeros that are only known at run time."""
    expected = np.array(expected, np.float32)

    def build(x):
        weight = getattr(mb, operation)(**parameters)
        if weight.dtype == types.fp16:
            weight = mb.cast(x=weight, dtype="fp32")
        return mb.add(x=x, y=weight)

    zeros = np.zeros(expected.shape, np.float32)
    return case(operation, build, zeros, expected, opset=opset, note=note)


DATA = np.array([[10, 11, 200], [20, 21, 0]], np.uint8)
INT4 = np.array([[-8, 7, 1, -1], [0, 3, -4, 5]], np.int8)
CASES = [
    _weight(
        "constexpr_affine_dequantize",
        [[0, 0.5, 95], [6, 6.5, -4]],
        "iOS16",
        "rows",
        quantized_data=DATA,
        zero_point=np.array([10, 8], np.uint8),
        scale=np.array([0.5, 0.5], np.float32),
        axis=0,
    ),
    _weight(
        "constexpr_affine_dequantize",
        [[-2, -1.5, 2.5], [-1.5, -1, -0.5]],
        "iOS16",
        "scalar",
        quantized_data=np.array([[-5, -4, 4], [-4, -3, -2]], np.int8),
        zero_point=np.int8(-1),
        scale=np.float32(0.5),
        axis=0,
    ),
    _weight(
        "constexpr_cast",
        [1.5, -2],
        "iOS16",
        source_val=np.array([1.5, -2], np.float16),
        output_dtype="fp32",
    ),
    # Two-bit indices 0 3 2 1 | 3 in two bytes, the first in the lowest bits: Core ML's own figure.
    _weight(
        "constexpr_lut_to_dense",
        [1, 13, 9, 5, 13],
        "iOS16",
        "2-bit",
        indices=np.array([0b01101100, 0b11], np.uint8),
        lut=np.array([1.0, 5.0, 9.0, 13.0], np.float32),
        shape=np.array([5], np.uint32),
    ),
    # Six bits cross byte borders: 1, 63, 2, 32 -> 000001, 111111, 000010, 100000 from the low end.
    _weight(
        "constexpr_lut_to_dense",
        [[1, 63], [2, 32]],
        "iOS16",
        "6-bit",
        indices=np.array([0b11000001, 0b00101111, 0b10000000], np.uint8),
        lut=np.arange(64, dtype=np.float32),
        shape=np.array([2, 2], np.uint32),
    ),
    _weight(
        "constexpr_sparse_to_dense",
        [[0, 0, 7], [9, 0, 0]],
        "iOS16",
        nonzero_data=np.array([7, 9], np.float32),
        mask=np.array([0b001100], np.uint8),
        shape=np.array([2, 3], np.uint32),
    ),
    _weight(
        "constexpr_blockwise_shift_scale",
        [[-4, 3.5, 2, -2], [0, 9, -16, 20]],
        "iOS18",
        "int4-blocks",
        data=INT4.astype(types.np_int4_dtype),
        scale=np.array([[0.5, 2], [3, 4]], np.float32),
    ),
    _weight(
        "constexpr_blockwise_shift_scale",
        [[-1, 0], [28, 30]],
        "iOS18",
        "uint4-offset",
        data=np.array([[0, 1], [15, 16 - 1]], np.uint8).astype(types.np_uint4_dtype)
        - np.array([[0, 0], [1, 0]], np.uint8).astype(types.np_uint4_dtype),
        scale=np.array([[1], [2]], np.float32),
        offset=np.array([[1], [0]], np.uint8).astype(types.np_uint4_dtype),
    ),
    # The first three results of Core ML's documentation for grouped tables.
    _weight(
        "constexpr_lut_to_dense",
        [[9, 13], [13, 1], [5, 1], [26, 2], [18, 10], [2, 26]],
        "iOS18",
        "groups",
        indices=np.array([[2, 3], [3, 0], [1, 0], [3, 0], [2, 1], [0, 3]], np.uint8).astype(
            types.np_uint2_dtype
        ),
        lut=np.array([1.0, 5, 9, 13, 2, 10, 18, 26], np.float32).reshape(2, 1, 4, 1),
    ),
    _weight(
        "constexpr_lut_to_dense",
        [
            [[1, 1], [2, 2], [3, 3], [4, 1], [5, 2], [6, 3]],
            [[4, 4], [5, 5], [6, 6], [1, 1], [2, 2], [3, 3]],
        ],
        "iOS18",
        "vectors",
        indices=np.array([[[0, 0], [1, 0]], [[1, 1], [0, 0]]], np.uint8).astype(
            types.np_uint1_dtype
        ),
        lut=np.array([[1.0, 2, 3], [4, 5, 6]], np.float32).reshape(1, 1, 1, 2, 3),
        vector_axis=1,
    ),
    _weight(
        "constexpr_sparse_to_dense",
        [[0, 7, 0], [9, 0, 0]],
        "iOS18",
        nonzero_data=np.array([7, 9], np.float32),
        mask=np.array([[0, 1, 0], [1, 0, 0]], np.uint8).astype(types.np_uint1_dtype),
    ),
    case(
        "quantize",
        lambda x: mb.cast(
            x=mb.quantize(input=x, scale=np.float32(0.5), output_dtype="int8"), dtype="int32"
        ),
        np.array([0.25, 0.75, -0.25, 3.0, 1000, -1000], np.float32),
        [0, 2, 0, 6, 127, -128],
        opset="iOS17",
    ),
    case(
        "quantize",
        lambda x: mb.cast(
            x=mb.quantize(
                input=x,
                scale=np.array([1, 2], np.float32),
                zero_point=np.array([10, 20], np.uint8),
                output_dtype="uint8",
                axis=1,
            ),
            dtype="int32",
        ),
        np.array([[3, 3], [-30, 600]], np.float32),
        [[13, 22], [0, 255]],
        opset="iOS17",
        note="columns",
    ),
    case(
        "dequantize",
        lambda x: mb.dequantize(
            input=mb.cast(x=x, dtype="int8"),
            scale=np.array([0.5, 2], np.float32),
            zero_point=np.array([-1, 3], np.int8),
            axis=1,
        ),
        np.array([[3, 3], [-5, 100]], np.int32),
        [[2, 0], [-2, 194]],
        opset="iOS17",
    ),
]


@parametrize(CASES)
def test_operation(each, results):
    compare(each, results[each.name])


LINEAR = cto.OpLinearQuantizerConfig
RECIPES = {
    "int8-iOS16": ("iOS16", LINEAR(mode="linear_symmetric"), 1 / 127),
    "int8-iOS18": ("iOS18", LINEAR(mode="linear_symmetric"), 1 / 127),
    "int4-blocks": (
        "iOS18",
        LINEAR(mode="linear_symmetric", dtype="int4", granularity="per_block", block_size=32),
        1 / 7,
    ),
    "6-bit-table": ("iOS16", cto.OpPalettizerConfig(mode="uniform", nbits=6), 2 / 63),
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_compressed_layer_is_within_its_step(recipe, tmp_path):
    """coremltools' own compression of a layer: no weight is off by more than half a step."""
    opset, config, step = RECIPES[recipe]
    layer = torch.nn.Linear(64, 64, bias=False).eval()
    layer.weight.data = torch.from_numpy(normal(64, 64).clip(-3, 3))
    traced = torch.jit.trace(layer, torch.eye(64))
    model = ct.convert(
        traced,
        inputs=[ct.TensorType(name="x", shape=(64, 64))],
        minimum_deployment_target=TARGETS[opset],
        compute_precision=ct.precision.FLOAT32,
        skip_model_load=True,
    )
    config = cto.OptimizationConfig(global_config=config)
    compress = cto.palettize_weights if "table" in recipe else cto.linear_quantize_weights
    compress(model, config).save(str(tmp_path / "layer.mlpackage"))
    program = load_package(tmp_path / "layer.mlpackage")
    assert any(name.startswith("constexpr_") for name in program.operation_counts)
    (weight,) = program.run({"x": np.eye(64, dtype=np.float32)}).values()
    error = np.abs(weight.T - layer.weight.detach().numpy()).max()
    assert 0 < error <= 3 * step * 0.51
