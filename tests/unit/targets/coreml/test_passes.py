"""The pass of ours: the same numbers, in a form in which coremltools' own finds nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from exporter.bundle.tensors import GraphSpec, TensorSpec
from exporter.graphs import Graph
from exporter.precision import load_precision
from exporter.targets import Lowering, Options, load_target
from exporter.targets.coreml import _passes
from runtimes.engines import choose_engine, run_canonical

pytestmark = [
    pytest.mark.parity,
    pytest.mark.filterwarnings("ignore"),  # the toolkit's: torch versions, deprecations
]
SHAPE = (1, 3, 8, 8)


class Scaled(torch.nn.Module):
    """Two products and sums a channel (one turned over), and a sum that is none of ours."""

    def __init__(self):
        super().__init__()
        for name, values in (("a", (1.5, 0.3, -2.0)), ("b", (0.1, -7.25, 3e-3))):
            self.register_buffer(name, torch.tensor(values).reshape(1, 3, 1, 1))

    def forward(self, image):
        first = torch.relu(image * self.a + self.b)
        return self.b + self.a * first + first


def graph():
    tensor = TensorSpec("image", SHAPE, "float32", "NCHW")
    spec = GraphSpec("toy", (tensor,), (TensorSpec("scaled", SHAPE, "float32", "NCHW"),), "image")
    return Graph(spec, Scaled().eval(), (torch.rand(SHAPE),))


def lowered(folder, precision):
    folder.mkdir()
    options = Options(image_input="tensor")
    work = Lowering(graph(), load_precision(precision), folder, options)
    return load_target("coreml").lowers[precision](work)


def run(folder, file, image):
    loaded = choose_engine("coreml", "mil").open(folder / file.file, file, 1)
    return run_canonical(loaded, file.spec, {"image": image})["scaled"]


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_numbers_are_those_of_the_sum_bit_for_bit(tmp_path, monkeypatch, precision):
    image = np.random.default_rng(0).uniform(-4, 4, SHAPE).astype(np.float32)
    with_pass = lowered(tmp_path / "with", precision)
    monkeypatch.setattr(_passes, "_rewrite_sums", lambda *_: None)
    without = lowered(tmp_path / "without", precision)
    np.testing.assert_array_equal(
        run(tmp_path / "with", with_pass, image), run(tmp_path / "without", without, image)
    )


def test_coremltools_compresses_what_it_stopped_at_before(tmp_path, monkeypatch):
    import coremltools as ct
    import coremltools.optimize.coreml as optimise

    def compress(folder, file):
        model = ct.models.MLModel(str(folder / file.file), skip_model_load=True)
        how = optimise.OpThresholdPrunerConfig(threshold=1e-9)
        return optimise.prune_weights(model, optimise.OptimizationConfig(global_config=how))

    assert compress(tmp_path / "with", lowered(tmp_path / "with", "fp16")) is not None
    monkeypatch.setattr(_passes, "_rewrite_sums", lambda *_: None)
    with pytest.raises(ValueError, match="must have the same data type as the named input `x`"):
        compress(tmp_path / "without", lowered(tmp_path / "without", "fp16"))


def test_a_look_with_coremltools_leaves_every_byte_of_a_package(tmp_path):
    import coremltools as ct

    file = lowered(tmp_path / "toy", "fp16")
    package = tmp_path / "toy" / file.file
    before = {path: path.read_bytes() for path in package.rglob("*") if path.is_file()}
    ct.utils.load_spec(str(package))
    assert {path: path.read_bytes() for path in package.rglob("*") if path.is_file()} == before
