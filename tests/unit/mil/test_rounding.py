from __future__ import annotations

import numpy as np
import pytest
from coremltools.converters.mil.mil import Builder as mb

from runtimes.engines.mil.rounding import round_to_half
from tests.unit.mil.building import normal, run_program, save_program

# Around 1, the least normal and subnormal numbers, the loss of whole numbers, and overflow.
EDGES = np.array(
    [
        *(0, 1, 1 + 2**-11, 1 + 3 * 2**-11),
        *(2**-14, 2**-24, 2**-25, 3 * 2**-25, 2**-26, 1e-20),
        *(2047.5, 2048.5, 2049),
        *(32767, 32768, 65503, 65504, 65519.99, 65520, 1e6, np.inf, np.nan),
    ],
    np.float32,
)


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
@pytest.mark.parametrize(
    "values",
    [
        np.concatenate([EDGES, -EDGES]),
        normal(100_000),
        normal(100_000) * np.exp2(np.arange(100_000) % 45 - 28).astype(np.float32),
        np.linspace(-70_000, 70_000, 100_001, dtype=np.float32),
    ],
    ids=["edges", "normal", "all-exponents", "large"],
)
def test_rounds_as_the_type_does(values):
    rounded = values.copy()
    round_to_half(rounded)
    np.testing.assert_array_equal(rounded, values.astype(np.float16).astype(np.float32))


@pytest.fixture(scope="module")
def squares(tmp_path_factory):
    """x * x in float16, and back to float32."""

    def build(x):
        half = mb.cast(x=x, dtype="fp16")
        return mb.cast(x=mb.mul(x=half, y=half), dtype="fp32")

    return save_program(tmp_path_factory.mktemp("half") / "squares.mlpackage", build, [X])


X = np.array([0.1, 3.0, 300.0], np.float32)


def test_program_types_decide(squares):
    """0.1 is 0.0999756 in float16, its square 0.0099945 and that 0.0099945068; 300 overflows."""
    _, (result,) = run_program(squares, [X])
    np.testing.assert_array_equal(result, np.array([0.00999450683594, 9, np.inf], np.float32))


def test_float32_on_request(squares):
    _, (result,) = run_program(squares, [X], half=False)
    np.testing.assert_allclose(result, [0.01, 9, 90_000], rtol=1e-6)


def test_float16_on_request(tmp_path):
    """A float32 program as if it were a float16 one: 1000.3 + 0.3 becomes 1000.5 + 0.3."""
    path = save_program(
        tmp_path / "sum.mlpackage", lambda x: mb.add(x=x, y=np.float32(1000.3)), [X[:1]]
    )
    small = np.array([0.3], np.float32)
    assert run_program(path, [small])[1][0] == np.float32(0.3) + np.float32(1000.3)
    assert run_program(path, [small], half=True)[1][0] == 1001


def test_float16_weights_are_read(tmp_path):
    weight = normal(8, 64).astype(np.float16)

    def build(x):
        return mb.matmul(x=x, y=weight.T.copy())

    x = normal(2, 64, seed=1).astype(np.float16)
    path = save_program(tmp_path / "weights.mlpackage", build, [x])
    _, (result,) = run_program(path, [x], half=False)
    expected = x.astype(np.float64) @ weight.T.astype(np.float64)
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)
