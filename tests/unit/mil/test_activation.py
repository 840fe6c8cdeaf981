from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from coremltools.converters.mil.mil import Builder as mb

from runtimes.engines.mil import MilError
from tests.unit.mil.building import case, compare, normal, parametrize, run_program, save_program

X = np.concatenate(
    [normal(2, 3, 20) * 3, np.linspace(-30, 30, 6, dtype=np.float32).reshape(2, 3, 1)], 2
)
T = torch.from_numpy(X)
LONG = normal(40_000) * 2


def _same(name, function):
    return case(name, lambda x: getattr(mb, name)(x=x), X, function(T))


CASES = [
    _same("erf", torch.erf),
    _same("relu", F.relu),
    _same("relu6", F.relu6),
    _same("sigmoid", torch.sigmoid),
    _same("silu", F.silu),
    _same("softplus", F.softplus),
    _same("softsign", F.softsign),
    _same("tanh", torch.tanh),
    case("gelu", lambda x: mb.gelu(x=x, mode="EXACT"), X, F.gelu(T.double())),
    case(
        "gelu",
        lambda x: mb.gelu(x=x, mode="TANH_APPROXIMATION"),
        X,
        F.gelu(T, approximate="tanh"),
        note="tanh",
    ),
    case(
        "gelu",
        lambda x: mb.gelu(x=x, mode="SIGMOID_APPROXIMATION"),
        X,
        T * torch.sigmoid(1.702 * T),
        note="sigmoid",
    ),
    case(
        "gelu", lambda x: mb.gelu(x=x), LONG, F.gelu(torch.from_numpy(LONG).double()), note="blocks"
    ),
    case("leaky_relu", lambda x: mb.leaky_relu(x=x, alpha=0.1), X, F.leaky_relu(T, 0.1)),
    case("elu", lambda x: mb.elu(x=x, alpha=0.7), X, F.elu(T, 0.7)),
    case(
        "prelu",
        lambda x: mb.prelu(x=x, alpha=np.array([0.1, 0.2, 0.3], np.float32)),
        X[..., None],
        F.prelu(T[..., None], torch.tensor([0.1, 0.2, 0.3])),
    ),
    case(
        "sigmoid_hard",
        lambda x: mb.sigmoid_hard(x=x, alpha=np.float32(1 / 6), beta=np.float32(0.5)),
        X,
        F.hardsigmoid(T),
    ),
    case(
        "linear_activation", lambda x: mb.linear_activation(x=x, alpha=2.0, beta=1.0), X, 2 * T + 1
    ),
    case(
        "clamped_relu",
        lambda x: mb.clamped_relu(x=x, alpha=0.1, beta=2.0),
        np.array([-10.0, 1.0, 3.0], np.float32),
        [-1.0, 1.0, 2.0],
    ),
]


@parametrize(CASES)
def test_operation(each, results):
    compare(each, results[each.name])


def test_exact_gelu_is_as_close_as_torch(tmp_path):
    x = np.linspace(-9, 9, 200_001, dtype=np.float32)
    truth = F.gelu(torch.from_numpy(x).double()).numpy()
    path = save_program(tmp_path / "gelu.mlpackage", lambda a: mb.gelu(x=a), [x])
    error = np.abs(run_program(path, [x])[1][0] - truth).max()
    assert error < 1e-6


def test_unknown_gelu_mode_is_refused(tmp_path, monkeypatch):
    path = save_program(tmp_path / "gelu.mlpackage", lambda a: mb.gelu(x=a), [X])
    monkeypatch.setattr("runtimes.engines.mil.ops_activation._GELU", {})
    with pytest.raises(MilError, match="mode 'EXACT' is none of"):
        run_program(path, [X])
