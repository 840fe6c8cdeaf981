from __future__ import annotations

import numpy as np
import pytest
import torch
from coremltools.converters.mil.mil import Builder as mb

from runtimes.engines.mil import MilError
from tests.unit.mil.building import (
    case,
    compare,
    normal,
    parametrize,
    run_program,
    save_program,
    whole,
)

T = torch.from_numpy
X = normal(4, 5, 3)
PLACES = np.array([[3, 0], [1, 1]], np.int32)
GRID = np.array([[1, 2, 3], [4, 5, 6]], np.float32)


def _gather(note, axis, **more):
    def build(x, i):
        return mb.gather(x=x, indices=i, axis=axis, **more)

    return case(
        "gather",
        build,
        [X, PLACES],
        X.take(PLACES, axis),
        note=note,
        opset=more.pop("opset", "iOS16"),
    )


def _along(axis):
    places = whole(4, 5, 3, low=0, high=3)

    def build(x, i):
        return mb.gather_along_axis(x=x, indices=i, axis=axis)

    expected = torch.gather(T(X), axis, T(places).long())
    return case("gather_along_axis", build, [X, places], expected, note=f"axis{axis}")


def _scatter(mode, expected):
    """Core ML's own example, and its other modes by hand."""

    def build(d, u, i):
        return mb.scatter(data=d, updates=u, indices=i, axis=0, mode=mode)

    updates = np.array([[5, 6, 7], [8, 9, 10]], np.float32)
    return case("scatter", build, [GRID, updates, np.array([1, 0], np.int32)], expected, note=mode)


def _scatter_along(mode, reduce):
    places = whole(4, 2, 3, low=0, high=5, seed=1)
    updates = normal(4, 2, 3, seed=2)
    expected = T(X).scatter_reduce(1, T(places).long(), T(updates), reduce)

    def build(d, i, u):
        return mb.scatter_along_axis(data=d, indices=i, updates=u, axis=1, mode=mode)

    return case("scatter_along_axis", build, [X, places, updates], expected, note=mode)


def _scatter_nd(mode, *expected):
    def build(d, i, u):
        return mb.scatter_nd(data=d, indices=i, updates=u, mode=mode)

    places = np.array([[0, 1], [1, 2], [0, 1]], np.int32)
    updates = np.array([10, 20, 30], np.float32)
    return case("scatter_nd", build, [GRID, places, updates], *expected, note=mode)


CASES = [
    _gather("first", 0),
    _gather("middle", 1),
    case(
        "gather",
        lambda x, i: mb.gather(x=x, indices=i, axis=0),
        [X, np.array([-1, 0], np.int32)],
        X[[3, 0]],
        note="negative",
    ),
    case(
        "gather",
        lambda x, i: mb.gather(x=x, indices=i, axis=2, batch_dims=1, validate_indices=False),
        [normal(2, 3, 5), np.array([[4, 0], [1, 1]], np.int32)],
        np.stack([normal(2, 3, 5)[0][:, [4, 0]], normal(2, 3, 5)[1][:, [1, 1]]]),
        opset="iOS17",
        note="batch",
    ),
    _along(0),
    _along(1),
    _along(2),
    case(
        "gather_nd",
        lambda x, i: mb.gather_nd(x=x, indices=i),
        [X, np.array([[0, 4], [3, 1], [2, 2]], np.int32)],
        torch.stack([T(X)[0, 4], T(X)[3, 1], T(X)[2, 2]]),
    ),
    case(
        "gather_nd",
        lambda x, i: mb.gather_nd(x=x, indices=i, batch_dims=1),
        [X[:2], np.array([[[4]], [[1]]], np.int32)],
        torch.stack([T(X)[0, 4:5], T(X)[1, 1:2]]),
        opset="iOS17",
        note="batch",
    ),
    _scatter("add", [[9, 11, 13], [9, 11, 13]]),
    _scatter("update", [[8, 9, 10], [5, 6, 7]]),
    _scatter("sub", [[-7, -7, -7], [-1, -1, -1]]),
    _scatter("mul", [[8, 18, 30], [20, 30, 42]]),
    _scatter("div", [[1 / 8, 2 / 9, 0.3], [0.8, 5 / 6, 6 / 7]]),
    _scatter("max", [[8, 9, 10], [5, 6, 7]]),
    _scatter("min", [[1, 2, 3], [4, 5, 6]]),
    _scatter_along("add", "sum"),
    _scatter_along("max", "amax"),
    _scatter_along("min", "amin"),
    _scatter_along("mul", "prod"),
    _scatter_nd("add", [[1, 42, 3], [4, 5, 26]]),
    _scatter_nd("max", [[1, 30, 3], [4, 5, 20]]),
    case(
        "non_zero",
        lambda x: mb.non_zero(x=x),
        np.array([[0, 2.0], [3, 0]], np.float32),
        [[0, 1], [1, 0]],
    ),
    case(
        "fill",
        lambda x: mb.fill(shape=mb.shape(x=x), value=2.5),
        GRID,
        torch.full((2, 3), 2.5),
    ),
    case(
        "fill_like", lambda x: mb.fill_like(ref_tensor=x, value=2.5), GRID, torch.full((2, 3), 2.5)
    ),
    case(
        "range_1d",
        lambda x: mb.range_1d(start=mb.squeeze(x=x, axes=[0]), end=10, step=3),
        np.array([1], np.int32),
        [1, 4, 7],
    ),
    case(
        "one_hot",
        lambda i: mb.one_hot(indices=i, one_hot_vector_size=4, on_value=2.0, off_value=-1.0),
        np.array([3, 0], np.int32),
        [[-1, -1, -1, 2], [2, -1, -1, -1]],
    ),
    case(
        "one_hot",
        lambda i: mb.one_hot(indices=i, one_hot_vector_size=3, axis=0),
        np.array([2, 0], np.int32),
        torch.nn.functional.one_hot(torch.tensor([2, 0]), 3).T,
        note="axis0",
    ),
]


@parametrize(CASES)
def test_operation(each, results):
    compare(each, results[each.name])


@pytest.mark.parametrize("index", [-1, 4])
def test_indices_out_of_range_are_refused(index, tmp_path):
    """From iOS 17 on they are undefined on the device, negative ones too."""
    inputs = [X, np.array([index], np.int32)]

    def build(x, i):
        return mb.gather(x=x, indices=i, axis=0, validate_indices=False)

    path = save_program(tmp_path / "gather.mlpackage", build, inputs, "iOS17")
    with pytest.raises(MilError, match=f"'gather'.*indices {index}..{index} leave 0..3"):
        run_program(path, inputs)
