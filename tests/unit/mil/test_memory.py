from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from coremltools.converters.mil.mil import Builder as mb

from runtimes.engines.mil.memory import Memory
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
        "reshape": lambda x: mb.reshape(x=x, shape=[1024, 256]),
        "slice": lambda x: mb.slice_by_index(x=x, begin=[0, 0], end=[512, 512]),
        "identity": lambda x: mb.identity(x=x),
        "twice": lambda x: x,
    }
    x = X  # large enough for its buffers to be used again

    def build(a):
        a = mb.mul(x=a, y=np.float32(2))
        seen = mb.add(x=views[alias](a), y=np.float32(1))
        return mb.tanh(x=seen), mb.sub(x=a, y=np.float32(3)), mb.identity(x=a)

    path = save_program(tmp_path / "views.mlpackage", build, [x])
    _, (first, second, third) = run_program(path, [x])
    np.testing.assert_allclose(first.reshape(512, 512), np.tanh(2 * x + 1), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(second, 2 * x - 3, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(third, 2 * x, rtol=1e-5, atol=1e-6)


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


def test_idle_buffers_are_limited(tmp_path):
    """Results that come without asking for a buffer must not pile up as idle ones."""

    def build(x):
        for _ in range(20):
            x = mb.concat(values=mb.split(x=x, num_splits=2, axis=0), axis=0)
        return x

    path = save_program(tmp_path / "chain.mlpackage", build, [X])
    assert _peak(path, X) < 3.5


@pytest.fixture
def memory():
    """One tensor alive, two released: room for both as idle buffers."""
    memory = Memory()
    for name in ("kept", "first", "second"):
        memory.keep(name, np.zeros((512, 512), np.float32))
    return memory


def test_idle_buffer_is_used_again(memory):
    buffer = memory.get("first")
    memory.recycle(memory.release(["first"]).values())
    assert np.shares_memory(memory.empty((256, 1000)), buffer)
    assert not np.shares_memory(memory.empty((512, 512)), buffer)


def test_buffer_of_a_result_is_not_idle(memory):
    """An operation wrote its result over the operand that died."""
    buffer = memory.get("first")
    spare = memory.release(["first", "second"])
    memory.keep("result", buffer.reshape(1024, 256))
    memory.recycle(spare.values())
    taken = [memory.empty((512, 512)) for _ in range(3)]
    assert not any(np.shares_memory(array, buffer) for array in taken)
