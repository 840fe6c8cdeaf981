"""Core AI: weights in few bits come back as they were rounded, in a smaller file."""

from __future__ import annotations

import importlib.util
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from exporter.bundle.tensors import GraphSpec, TensorSpec
from exporter.errors import RequestError
from exporter.graphs import Graph
from exporter.precision import load_precision
from exporter.targets import Options, load_target
from exporter.targets.coreai._weights import rounded
from runtimes.engines import choose_engine

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(
        importlib.util.find_spec("coreai_torch") is None, reason="coreai-torch is not installed"
    ),
]


class Network(torch.nn.Module):
    """A convolution, a transposed one, a linear layer, and a table of nine values."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 64, 3, padding=1)
        self.up = torch.nn.ConvTranspose2d(64, 64, 2, 2)
        self.linear = torch.nn.Linear(64, 96)
        self.register_buffer("bias", torch.randn(9)[torch.randint(0, 9, (1, 4, 32, 32))])

    def forward(self, x):
        y = self.linear(self.up(self.conv(x)).flatten(2).transpose(1, 2))
        return y.reshape(1, 4, -1, 32)[:, :, :32] + self.bias


def network():
    torch.manual_seed(0)
    specs = [
        TensorSpec(name, shape, "float32", "NCHW")
        for name, shape in (("image", (1, 3, 16, 16)), ("y", (1, 4, 32, 32)))
    ]
    spec = GraphSpec("g", (specs[0],), (specs[1],), "image")
    return Graph(spec, Network().eval(), (torch.zeros(1, 3, 16, 16),))


GRAPH = network()
PICTURE = np.random.default_rng(0).random((1, 3, 16, 16), np.float32)


def decibels(folder, precision, **options):
    """Write a form; return its distance from torch, and its bytes."""
    folder.mkdir()
    written = load_target("coreai").lower(
        GRAPH, load_precision(precision), folder, Options(**options)
    )
    loaded = choose_engine("coreai", "coreai-float32").open(folder / written.file, written, 1)
    wanted = GRAPH.module(torch.from_numpy(PICTURE)).detach().numpy()
    error = loaded.run({"image": PICTURE})["y"] - wanted
    return 20 * np.log10(np.abs(wanted).max() / np.sqrt(np.mean(error**2))), written.bytes


def test_each_form_is_smaller_and_about_as_exact_as_its_bits(tmp_path):
    half, bytes_of_half = decibels(tmp_path / "half", "fp16")
    assert half > 75
    found = {
        name: decibels(tmp_path / name, precision, **options)
        for name, precision, options in (
            ("8", "int8-weights", {}),
            ("8 in blocks", "int8-weights", {"block": 32}),
            ("palette of 64", "int8-weights", {"palette": 6}),
            ("4 in blocks", "int4-weights", {}),
            ("palette of 16", "int4-weights", {"palette": 4}),
        )
    }
    exact = {name: decibel for name, (decibel, _) in found.items()}
    assert exact["8"] > 50
    assert exact["8 in blocks"] > 50
    assert exact["palette of 64"] > 40
    assert exact["4 in blocks"] > 35
    assert exact["palette of 16"] > 35
    assert exact["8"] < half
    sizes = {name: size for name, (_, size) in found.items()}
    assert sizes["8"] < 0.75 * bytes_of_half
    assert sizes["4 in blocks"] < sizes["8"]
    assert sizes["palette of 16"] < sizes["palette of 64"] < sizes["8"]


def test_a_scale_that_weights_were_rounded_for_is_found():
    """So what `exporter.compensation` chose survives the converter."""
    rng = np.random.default_rng(1)
    scales = (rng.integers(128, 256, (8, 2, 1)) / 2.0**12).astype(np.float16)
    steps = rng.integers(-7, 8, (8, 2, 32))
    steps[..., 5] = 7
    weight = (steps * scales).astype(np.float16).reshape(8, 64)
    layer = SimpleNamespace(output=0, input=1, shape=(8, 64))
    found, found_scales = rounded(layer, weight, 4, 32)
    assert np.array_equal(found.reshape(steps.shape), steps)
    assert np.array_equal(found_scales.reshape(scales.shape), scales)


def test_no_step_is_out_of_range_though_half_rounds_its_scale():
    """Scales are rounded up: rounded down, the largest weight would be cut off."""
    weight = np.random.default_rng(2).standard_normal((64, 32)).astype(np.float16)
    weight[3] = 0
    weight[5] = np.float16(6e-8)
    steps, scales = rounded(SimpleNamespace(output=0, input=1, shape=weight.shape), weight, 8, None)
    errors = np.abs(steps * scales.astype(np.float64) - weight)
    assert (errors <= scales.astype(np.float64) / 2 * 1.0001).all()
    assert (steps[3] == 0).all()


def test_a_form_that_a_precision_does_not_have_is_refused():
    with pytest.raises(RequestError, match="--palette 4 is for --precision int4-weights, not int8"):
        load_target("coreai").adapt(Options(palette=4), "int8-weights")
