from __future__ import annotations

import torch
import torch.nn.functional as F
from coremltools.converters.mil.mil import Builder as mb

from tests.unit.mil.building import case, compare, normal, parametrize, positive

T = torch.from_numpy
X = normal(2, 6, 4, 5) * 3 + 1
G, B = normal(5, seed=1), normal(5, seed=2)
C1, C2, C3, C4 = normal(6, seed=3), normal(6, seed=4), normal(6, seed=5), positive(6)
G2, B2 = normal(4, 5, seed=6), normal(4, 5, seed=7)


def _channels_first():
    moved = T(X).permute(0, 2, 3, 1)
    return F.layer_norm(moved, (6,), T(C1), T(C2), 1e-6).permute(0, 3, 1, 2)


CASES = [
    case(
        "layer_norm",
        lambda x: mb.layer_norm(x=x, axes=[-1], gamma=G, beta=B, epsilon=1e-6),
        X,
        F.layer_norm(T(X), (5,), T(G), T(B), 1e-6),
    ),
    case(
        "layer_norm",
        lambda x: mb.layer_norm(x=x, axes=[2, 3], gamma=G2, beta=B2),
        X,
        F.layer_norm(T(X), (4, 5), T(G2), T(B2), 1e-5),
        note="two-axes",
    ),
    case(
        "layer_norm",
        lambda x: mb.layer_norm(x=x, axes=[1], gamma=C1, beta=C2, epsilon=1e-6),
        X,
        _channels_first(),
        note="channels",
    ),
    case(
        "layer_norm",
        lambda x: mb.layer_norm(x=x, axes=[0, 1, 2, 3]),
        X,
        F.layer_norm(T(X), X.shape),
        note="all",
    ),
    case(
        "batch_norm",
        lambda x: mb.batch_norm(x=x, mean=C3, variance=C4, gamma=C1, beta=C2, epsilon=1e-3),
        X,
        F.batch_norm(T(X), T(C3), T(C4), T(C1), T(C2), eps=1e-3),
    ),
    case(
        "batch_norm",
        lambda x: mb.batch_norm(x=x, mean=C3, variance=C4),
        X,
        F.batch_norm(T(X), T(C3), T(C4)),
        note="plain",
    ),
    case(
        "instance_norm",
        lambda x: mb.instance_norm(x=x, gamma=C1, beta=C2, epsilon=1e-4),
        X,
        F.instance_norm(T(X), weight=T(C1), bias=T(C2), eps=1e-4),
    ),
    case(
        "l2_norm",
        lambda x: mb.l2_norm(x=x, epsilon=1e-12),
        X,
        F.normalize(T(X).flatten(1), dim=1).reshape(X.shape),
    ),
]


@parametrize(CASES)
def test_operation(each, results):
    compare(each, results[each.name])
