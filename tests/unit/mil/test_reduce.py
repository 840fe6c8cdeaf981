from __future__ import annotations

import numpy as np
import torch
from coremltools.converters.mil.mil import Builder as mb

from tests.unit.mil.building import case, compare, normal, parametrize, positive

X, P = normal(2, 3, 5), positive(2, 3, 5)
T = torch.from_numpy
TIES = np.array([[2.0, 1, 2, 3]], np.float32)


def _reduce(name, function, x=X):
    """Over the last two axes kept, and over the first one dropped."""

    def build(v):
        operation = getattr(mb, name)
        return operation(x=v, axes=[-1, 1], keep_dims=True), operation(
            x=v, axes=[0], keep_dims=False
        )

    return case(name, build, x, function(T(x), (1, 2), True), function(T(x), (0,), False))


def _all(name, function):
    return case(name, lambda v: getattr(mb, name)(x=v), P, function(T(P)), note="all")


def _product(x, axes, keep):
    for axis in sorted(axes, reverse=True):
        x = x.prod(axis, keepdim=keep)
    return x


CASES = [
    _reduce("reduce_mean", torch.mean),
    _reduce("reduce_sum", torch.sum),
    _reduce("reduce_max", torch.amax),
    _reduce("reduce_min", torch.amin),
    _reduce("reduce_prod", _product),
    _reduce("reduce_sum_square", lambda x, d, k: torch.sum(x * x, d, k)),
    _reduce("reduce_l1_norm", lambda x, d, k: torch.linalg.vector_norm(x, 1, d, k)),
    _reduce("reduce_l2_norm", lambda x, d, k: torch.linalg.vector_norm(x, 2, d, k)),
    _reduce("reduce_log_sum", lambda x, d, k: torch.log(torch.sum(x, d, k)), P),
    _reduce("reduce_log_sum_exp", torch.logsumexp, X * 60),
    _all("reduce_mean", torch.mean),
    _all("reduce_log_sum_exp", lambda x: torch.logsumexp(x, (0, 1, 2))),
    case("reduce_argmax", lambda x: mb.reduce_argmax(x=x, axis=1), X, T(X).argmax(1)),
    case(
        "reduce_argmax",
        lambda x: mb.cast(
            x=mb.reduce_argmax(x=x, axis=-1, keep_dims=True, output_dtype="uint16"), dtype="int32"
        ),
        X,
        T(X).argmax(-1, keepdim=True),
        opset="iOS17",
        note="uint16",
    ),
    case(
        "reduce_argmin",
        lambda x: mb.reduce_argmin(x=x, axis=0, keep_dims=True),
        X,
        T(X).argmin(0, True),
    ),
    case("argsort", lambda x: mb.argsort(x=x, axis=1, ascending=True), X, T(X).argsort(1)),
    case("argsort", lambda x: mb.argsort(x=x), TIES, [[3, 0, 2, 1]], note="ties"),
    case("topk", lambda x: mb.topk(x=x, k=2, axis=-1), X, *T(X).topk(2, -1)),
    case(
        "topk",
        lambda x: mb.topk(x=x, k=2, axis=1, ascending=True, sort=True, return_indices=False),
        X,
        T(X).topk(2, 1, largest=False)[0],
        note="smallest",
    ),
    case("cumsum", lambda x: mb.cumsum(x=x, axis=1), X, T(X).cumsum(1)),
    case(
        "cumsum",
        lambda x: mb.cumsum(x=x, axis=0, exclusive=True, reverse=True),
        np.array([1.0, 2, 3], np.float32),
        [5, 3, 0],
        note="reverse-exclusive",
    ),
]


@parametrize(CASES)
def test_operation(each, results):
    compare(each, results[each.name])
