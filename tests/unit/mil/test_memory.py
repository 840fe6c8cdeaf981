from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from coremltools.converters.mil.mil import Builder as mb

from tests.unit.mil.building import normal, run_program, save_program

X = normal(512, 512)
MEGABYTE = X.nbytes


def _peak(path, x):
    """Megabytes of numpy's memory at the highest point of a run."""
    program, _ = run_program(path, [x])
    tracemalloc.start()
    try:
        program.run({program.inputs[0].name: x})
        return tracemalloc.get_traced_memory()[1] / MEGABYTE
    finally:
        tracemalloc.stop()


def test_dead_tensors_are_freed(tmp_path):
    """Twenty products in a row never need more than two and a block's scratch."""

    def build(x):
        for _ in range(20):
            x = mb.matmul(x=x, y=x)
        return x

    path = save_program(tmp_path / "chain.mlpackage", build, [X / 20])
    assert _peak(path, X / 20) < 3.5


def test_dead_operands_are_overwritten(tmp_path):
    """A sum, a softmax and an activation take the place of what they read."""

    def build(x):
        for _ in range(5):
            x = mb.tanh(x=mb.softmax(x=mb.add(x=x, y=np.float32(1)), axis=-1))
        return x

    path = save_program(tmp_path / "chain.mlpackage", build, [X])
    assert _peak(path, X) < 2.6


@pytest.mark.parametrize("alias", ["reshape", "slice", "identity", "twice"])
def test_shared_memory_is_never_overwritten(alias, tmp_path):
    """A view's owner is still read after the operation that could have taken its place."""
    views = {
        "reshape": lambda x: mb.reshape(x=x, shape=[16, 4]),
        "slice": lambda x: mb.slice_by_index(x=x, begin=[0, 0], end=[8, 8]),
        "identity": lambda x: mb.identity(x=x),
        "twice": lambda x: x,
    }
    x = normal(8, 8)

    def build(a):
        a = mb.mul(x=a, y=np.float32(2))
        seen = mb.add(x=views[alias](a), y=np.float32(1))
        return mb.tanh(x=seen), mb.sub(x=a, y=np.float32(3)), mb.identity(x=a)

    path = save_program(tmp_path / "views.mlpackage", build, [x])
    _, (first, second, third) = run_program(path, [x])
    np.testing.assert_allclose(first.reshape(8, 8), np.tanh(2 * x + 1), rtol=1e-5)
    np.testing.assert_allclose(second, 2 * x - 3, rtol=1e-5)
    np.testing.assert_allclose(third, 2 * x, rtol=1e-5)


def test_rounding_leaves_shared_memory_alone(tmp_path):
    """float32 -> float16 -> float32: the first must still be whole when it is read again."""
    x = np.array([0.1, 0.2, 0.3, 0.4], np.float32)

    def build(a):
        half = mb.cast(x=a, dtype="fp16")
        return mb.cast(x=mb.add(x=half, y=np.float16(1)), dtype="fp32"), mb.mul(
            x=a, y=np.float32(1)
        )

    path = save_program(tmp_path / "cast.mlpackage", build, [x])
    _, (_, whole) = run_program(path, [x])
    np.testing.assert_array_equal(whole, x)
