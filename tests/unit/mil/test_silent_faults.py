"""What coremltools 9.0 lowers wrongly without a word, and that running the package shows it."""

from __future__ import annotations

import coremltools as ct
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from runtimes.engines.mil import load_package
from tests.unit.mil.building import normal


class AddToSlice(nn.Module):
    """An in-place method on a view: dropped."""

    def forward(self, x):
        y = x.clone()
        y[:, 0].add_(1.0)
        return y


class AssignSlice(nn.Module):
    """The same sum, written as an assignment: kept."""

    def forward(self, x):
        y = x.clone()
        y[:, 0] = y[:, 0] + 1.0
        return y


class Resize(nn.Module):
    """Halve an image twice."""

    def __init__(self, antialias):
        super().__init__()
        self.antialias = antialias

    def forward(self, x):
        return F.interpolate(
            x, size=(8, 8), mode="bilinear", align_corners=False, antialias=self.antialias
        )


def _relative_error(module, x, folder):
    """L2 distance of the saved program's result from torch's, over torch's."""
    traced = torch.jit.trace(module.eval(), torch.from_numpy(x))
    ct.convert(
        traced,
        inputs=[ct.TensorType(name="x", shape=x.shape, dtype=np.float32)],
        minimum_deployment_target=ct.target.iOS17,
        compute_precision=ct.precision.FLOAT32,
        convert_to="mlprogram",
        skip_model_load=True,
    ).save(str(folder / "module.mlpackage"))
    (result,) = load_package(folder / "module.mlpackage").run({"x": x}).values()
    expected = module(torch.from_numpy(x)).numpy()
    return np.linalg.norm(result - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize(
    "module", [AddToSlice(), Resize(antialias=True)], ids=["add_", "antialias"]
)
def test_wrong_lowering_is_seen(module, tmp_path):
    assert _relative_error(module, normal(1, 3, 32, 32), tmp_path) > 0.1


@pytest.mark.parametrize(
    "module", [AssignSlice(), Resize(antialias=False)], ids=["assign", "plain"]
)
def test_right_form_agrees(module, tmp_path):
    assert _relative_error(module, normal(1, 3, 32, 32), tmp_path) < 1e-5
