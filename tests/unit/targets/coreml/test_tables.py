"""Tables of few distinct values: smaller in the file, the same bit for bit when they are read."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from exporter.bundle.tensors import GraphSpec, TensorSpec
from exporter.graphs import Graph
from exporter.models.tiny_vit import WindowAttention
from exporter.precision import load_precision
from exporter.targets import Lowering, Options, load_target
from exporter.targets.coreml import _tables
from runtimes.engines import choose_engine, run_canonical
from runtimes.measures import psnr_db

pytestmark = [
    pytest.mark.parity,
    pytest.mark.filterwarnings("ignore"),  # the toolkit's: torch versions, deprecations
]
HEADS, WINDOW, WIDTH = 3, 10, 12
SHAPE = (1, WINDOW**2, WIDTH)


class Blocks(torch.nn.Module):
    """Two blocks of window attention: 3 x 100 distances each, more than one look-up holds."""

    def __init__(self):
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        blocks = [WindowAttention(WIDTH, HEADS, WINDOW) for _ in range(2)]
        for block in blocks:
            for parameter in block.parameters():
                torch.nn.init.normal_(parameter, generator=draw)
            block.freeze_tables()
        self.blocks = torch.nn.Sequential(*blocks)

    def forward(self, image):
        return self.blocks(image)


def graph():
    tensor = TensorSpec("image", SHAPE, "float32", "NTC")
    spec = GraphSpec("toy", (tensor,), (TensorSpec("out", SHAPE, "float32", "NTC"),), "image")
    return Graph(spec, Blocks().eval(), (torch.rand(SHAPE),))


def lowered(folder, precision, ios):
    folder.mkdir()
    options = Options(ios, image_input="tensor")
    work = Lowering(graph(), load_precision(precision), folder, options)
    return load_target("coreml").lowers[precision](work)


def run(path, file):
    loaded = choose_engine("coreml", "mil").open(path, file, 1)
    image = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    return run_canonical(loaded, file.spec, {"image": image})["out"], loaded


def test_values_come_back_bit_for_bit():
    few = np.array([0.0, -0.0, 1e-8, -7.5], np.float16)
    values = few[np.random.default_rng(0).integers(0, 4, (2, 32, 32))]
    found = _tables.look_up(values)
    assert found.lut.shape == (1, 4)
    back = found.lut[0][found.indices]
    np.testing.assert_array_equal(back.view(np.uint16), values.view(np.uint16))


@pytest.mark.parametrize("axis", [1, 3])
def test_each_slice_has_a_table_if_all_are_too_many_for_one(axis):
    draw = np.random.default_rng(0)
    heads = draw.standard_normal((4, 100)).astype(np.float32)
    where = draw.integers(0, 100, (1, 60, 60))
    values = np.moveaxis(heads[:, where], 0, axis)
    found = _tables.look_up(values)
    assert (found.axis, found.lut.shape) == (axis, (4, 256))
    assert found.indices.shape == (*values.shape[:axis], 1, *values.shape[axis + 1 :])
    slices = [found.lut[n][found.indices] for n in range(4)]
    np.testing.assert_array_equal(np.concatenate(slices, axis), values)


def test_tables_of_one_pattern_share_their_indices():
    block = Blocks().blocks
    first, second = (_tables.look_up(each.bias.detach().numpy()).indices for each in block)
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("shape", [(64, 64), (1, 300, 10)])
def test_a_table_that_would_not_be_smaller_stays(shape):
    values = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    assert _tables.look_up(values) is None


@pytest.mark.parametrize("ios", [16, 18])
@pytest.mark.parametrize(("precision", "saved"), [("fp32", 0.75), ("fp16", 0.5)])
def test_a_package_is_smaller_and_gives_the_same_numbers(
    tmp_path, monkeypatch, precision, saved, ios
):
    small = lowered(tmp_path / "small", precision, ios)
    monkeypatch.setattr(_tables, "look_up", lambda values: None)
    whole = lowered(tmp_path / "whole", precision, ios)
    table = 2 * HEADS * WINDOW**4 * (4 if precision == "fp32" else 2)
    assert whole.bytes - small.bytes > saved * table
    one, loaded = run(tmp_path / "small" / small.file, small)
    other, _ = run(tmp_path / "whole" / whole.file, whole)
    np.testing.assert_array_equal(one, other)
    counts = loaded.program.operation_counts
    assert counts["constexpr_lut_to_dense"] == 2 * (1 if ios == 18 else HEADS)


@pytest.mark.parametrize("ios", [16, 18])
def test_coremltools_reads_and_compresses_such_a_package(tmp_path, monkeypatch, ios):
    import coremltools as ct
    import coremltools.optimize.coreml as optimise

    file = lowered(tmp_path / "toy", "fp16", ios)
    path = tmp_path / "toy" / file.file
    how = optimise.OpLinearQuantizerConfig(mode="linear_symmetric", weight_threshold=100)
    model = ct.models.MLModel(str(path), skip_model_load=True)
    config = optimise.OptimizationConfig(global_config=how)
    optimise.linear_quantize_weights(model, config).save(str(tmp_path / "int8.mlpackage"))
    before, _ = run(path, file)
    after, loaded = run(tmp_path / "int8.mlpackage", file)
    assert psnr_db(before, after) > 30  # 8-bit weights and LayerNorm's of 12 values
    counts = loaded.program.operation_counts
    assert counts["constexpr_lut_to_dense"] == 2 * (1 if ios == 18 else HEADS)
