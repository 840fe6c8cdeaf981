from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from coremltools.converters.mil.mil import Builder as mb

from tests.unit.mil.building import case, check, compare, normal, parametrize

T = torch.from_numpy
X, W, B = normal(2, 5, 8), normal(6, 8, seed=1), normal(6, seed=2)
Q, K, V = normal(2, 3, 7, 4), normal(2, 3, 9, 4, seed=1), normal(2, 3, 9, 5, seed=2)
MASKS = {
    "full": normal(2, 3, 7, 9, seed=3),
    "heads-shared": normal(2, 1, 7, 9, seed=3),
    "batch-shared": normal(1, 3, 7, 9, seed=3),
    "keys-only": normal(1, 1, 1, 9, seed=3),
    "two-axes": normal(7, 9, seed=3),
}


def _matmul(x, y, note="", transpose_x=False, transpose_y=False):
    left = T(x).transpose(-1, -2) if transpose_x else T(x)
    right = T(y).transpose(-1, -2) if transpose_y else T(y)

    def build(a, b):
        return mb.matmul(x=a, y=b, transpose_x=transpose_x, transpose_y=transpose_y)

    return case("matmul", build, [x, y], torch.matmul(left, right), note=note, atol=1e-5)


def _einsum(equation, *values):
    expected = torch.einsum(equation, *(T(v) for v in values))

    def build(a, b):
        return mb.einsum(values=(a, b), equation=equation)

    return case("einsum", build, list(values), expected, note=equation, atol=1e-5)


def _attention(note, mask):
    def build(q, k, v, m):
        return mb.scaled_dot_product_attention(query=q, key=k, value=v, attn_mask=m)

    expected = F.scaled_dot_product_attention(T(Q), T(K), T(V), attn_mask=T(mask))
    name = "scaled_dot_product_attention"
    return case(name, build, [Q, K, V, mask], expected, opset="iOS18", note=note)


def _boolean_attention():
    keep = normal(1, 1, 7, 9, seed=4)

    def build(q, k, v, m):
        m = mb.greater(x=m, y=np.float32(-0.5))
        return mb.scaled_dot_product_attention(query=q, key=k, value=v, attn_mask=m)

    expected = F.scaled_dot_product_attention(T(Q), T(K), T(V), attn_mask=T(keep) > -0.5)
    name = "scaled_dot_product_attention"
    return case(name, build, [Q, K, V, keep], expected, opset="iOS18", note="boolean")


def _plain_attention(note, q, k, v):
    def build(a, b, c):
        return mb.scaled_dot_product_attention(query=a, key=b, value=c)

    expected = F.scaled_dot_product_attention(T(q), T(k), T(v))
    name = "scaled_dot_product_attention"
    return case(name, build, [q, k, v], expected, opset="iOS18", note=note)


CASES = [
    case(
        "linear",
        lambda x: mb.linear(x=x, weight=W, bias=B),
        X,
        F.linear(T(X), T(W), T(B)),
        atol=1e-5,
    ),
    case(
        "linear",
        lambda x: mb.linear(x=x, weight=W),
        X[0],
        F.linear(T(X[0]), T(W)),
        note="flat",
        atol=1e-5,
    ),
    case(
        "linear",
        lambda x: mb.linear(x=x, weight=W),
        normal(1500, 8, seed=5),
        F.linear(T(normal(1500, 8, seed=5)), T(W)),
        note="blocks",
        atol=1e-5,
    ),
    _matmul(normal(4, 5), normal(5, 3, seed=1)),
    _matmul(normal(2, 3, 4, 5), normal(2, 3, 5, 6, seed=1), "batches"),
    _matmul(normal(1, 3, 4, 5), normal(2, 1, 5, 6, seed=1), "both-broadcast"),
    _matmul(normal(2, 3, 4, 5), normal(5, 6, seed=1), "matrix"),
    _matmul(normal(3, 5, 4), normal(3, 6, 5, seed=1), "transposed", True, True),
    _matmul(normal(5), normal(5, 3, seed=1), "vector"),
    _einsum("nchw,nwhu->nchu", normal(2, 3, 4, 5), normal(2, 5, 4, 6, seed=1)),
    _einsum("chw,whr->chr", normal(3, 4, 5), normal(5, 4, 6, seed=1)),
    case("softmax", lambda x: mb.softmax(x=x, axis=-1), X * 30, torch.softmax(T(X * 30), -1)),
    case("softmax", lambda x: mb.softmax(x=x, axis=1), X, torch.softmax(T(X), 1), note="middle"),
    *[_attention(note, mask) for note, mask in MASKS.items()],
    _boolean_attention(),
    _plain_attention("no-mask", Q, K, V),
    _plain_attention("rank-3", Q[0], K[0], V[0]),
]


@parametrize(CASES)
def test_operation(each, results):
    compare(each, results[each.name])


@pytest.mark.parametrize("note", ["full", "keys-only"])
def test_attention_in_row_blocks(note, tmp_path, monkeypatch):
    """The path SAM's global attention takes: fewer logits at a time than one matrix has."""
    monkeypatch.setattr("runtimes.engines.mil.ops_linear._LOGITS", 20)
    check(_attention(note, MASKS[note]), tmp_path)


def test_matmul_in_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr("runtimes.engines.mil.ops_linear._PRODUCT", 1)
    check(_matmul(normal(2, 3, 4, 5), normal(1, 3, 5, 6, seed=1)), tmp_path)
