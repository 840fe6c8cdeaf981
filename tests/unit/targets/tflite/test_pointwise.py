"""1 x 1 convolutions of a TFLite file as fully connected layers: which, and what they compute."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

from exporter.targets.tflite._pointwise import to_linear
from profiles.lab.bench.operations import count_tflite

pytestmark = [
    pytest.mark.parity,
    pytest.mark.filterwarnings("ignore"),  # the toolkit's: torch versions, deprecations
]

SIDE = 16


class Convolutions(torch.nn.Module):
    """One that spreads channels at SIDE x SIDE positions, and three that cannot be rewritten."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem = torch.nn.Conv2d(3, 8, 3, padding=1)
        self.spread = torch.nn.Conv2d(8, 24, 1)
        self.halve = torch.nn.Conv2d(24, 16, 1, stride=2)
        self.last = torch.nn.Conv2d(16, 8, 1)

    def forward(self, image):
        x = torch.relu(self.spread(self.stem(image.permute(0, 3, 1, 2))))
        return self.last(torch.relu(self.halve(x)))


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    """The network in float32."""
    import litert_torch

    path = tmp_path_factory.mktemp("single") / "network.tflite"
    given = (torch.zeros(1, SIDE, SIDE, 3),)
    litert_torch.convert(Convolutions().eval(), given).export(str(path))
    return path


@pytest.fixture
def linear(single, tmp_path):
    """Least positions -> the file with its 1 x 1 convolutions rewritten from so many on."""

    def make(least):
        path = tmp_path / "linear.tflite"
        shutil.copy(single, path)
        to_linear(path, lambda positions: positions >= least)
        return path

    return make


def run(path):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    values = np.random.default_rng(0).uniform(0, 255, (1, SIDE, SIDE, 3)).astype(np.float32)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], values)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


@pytest.mark.parametrize(("least", "layers"), [(0, 1), (SIDE**2, 1), (SIDE**2 + 1, 0)])
def test_a_pointwise_convolution_of_enough_positions_is_a_linear_layer(linear, least, layers):
    found = count_tflite(linear(least))
    assert found.operations.get("FULLY_CONNECTED", 0) == layers
    assert found.operations["CONV_2D"] == 4 - layers  # 3 x 3, stride 2, and fewer channels stay
    assert (found.partitions, found.outside) == (1, {})


def test_it_computes_the_same(single, linear):
    expected = run(single)
    limit = 1e-6 * float(np.abs(expected).max())  # sums may be taken in another order
    np.testing.assert_allclose(run(linear(0)), expected, atol=limit, rtol=0)


def test_a_filter_that_two_convolutions_share_stays(single, linear, tmp_path):
    """Another shape for one would be another shape for both."""
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model(str(single))
    (graph,) = model.subgraphs
    spread = next(
        op for op in graph.operators if tuple(graph.tensors[op.inputs[1]].shape) == (24, 1, 1, 8)
    )
    spare = next(
        op for op in graph.operators if tuple(graph.tensors[op.inputs[1]].shape) == (8, 3, 3, 3)
    )
    spare.inputs = [spare.inputs[0], spread.inputs[1], spare.inputs[2]]
    shared = tmp_path / "shared.tflite"
    flatbuffer_utils.write_model(model, str(shared))
    to_linear(shared, lambda positions: True)
    kept = flatbuffer_utils.read_model(str(shared)).subgraphs[0].tensors[spread.inputs[1]]
    assert tuple(kept.shape) == (24, 1, 1, 8)
