"""4-bit weights of a TFLite file: which layers have blocks of 32."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from exporter.targets.tflite._quantise import quantise
from exporter.targets.tflite.int4_weights import in_4_bits
from tests.unit.targets.tflite.network import run

pytestmark = [
    pytest.mark.parity,
    pytest.mark.filterwarnings("ignore"),  # the toolkit's: torch versions, deprecations
]


def test_a_layer_without_whole_blocks_has_8_bits(single, tmp_path):
    """Of 2 and of 256 inputs; the quantizer itself stops at the former."""
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils
    from ai_edge_quantizer.recipe_manager import RecipeManager

    path = tmp_path / "network.tflite"
    shutil.copy(single, path)
    asked = RecipeManager()
    in_4_bits(asked, path)
    quantise(path, asked, None)
    tensors = flatbuffer_utils.read_model(str(path)).subgraphs[0].tensors
    kinds = {tuple(map(int, tensor.shape)): tensor.type for tensor in tensors}
    assert kinds[96, 256] == schema.TensorType.INT4
    assert kinds[128, 2] == schema.TensorType.INT8
    mixed, expected = run(path)[1], run(single)[1]
    assert 0 < np.abs(mixed - expected).max() < 0.5 * np.abs(expected).max()
