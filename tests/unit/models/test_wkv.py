"""RWKV's averages as products, against a plain loop over the tokens in double precision.

At 4096 tokens `first` moves no embedding that a case could tell (`tests/conformance`), because it
is divided by their number; at 16 it does.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from exporter.errors import CheckpointError
from exporter.models.wkv import MOST_DECAY, WeightedAverages
from tests.conformance import published_case

WIDTH = 8
TOLERANCE = 2e-6  # of values up to 4; float32 rounds at 2e-7 of them


def averages(tokens, decay, first):
    made = WeightedAverages(len(decay), tokens)
    made.set_weights(decay, first)
    return made


def by_loop(k, v, decay, first):
    """The formula, token after token: (T, C) in double precision."""
    k, v, tokens = (k - k.amax(0)).double(), v.double(), len(k)
    w, u = decay.double() / tokens, first.double() / tokens
    rows = []
    for t in range(tokens):
        above = below = torch.zeros(k.shape[1], dtype=torch.float64)
        for i in range(tokens):
            weight = (k[i] + (u if i == t else -w * (abs(t - i) - 1))).exp()
            above, below = above + weight * v[i], below + weight
        rows.append(above / below)
    return torch.stack(rows)


@pytest.fixture(params=[16, 64, 144], ids="{} tokens".format)
def drawn(request):
    torch.manual_seed(request.param)
    k, v = 3 * torch.randn(request.param, WIDTH), torch.randn(request.param, WIDTH)
    return k, v, torch.linspace(-5, 3, WIDTH), torch.linspace(-6, 9, WIDTH)


def test_the_products_give_what_the_loop_gives(drawn):
    k, v, decay, first = drawn
    found = averages(len(k), decay, first)(k[None], v[None])[0]
    assert (found - by_loop(k, v, decay, first)).abs().max() < TOLERANCE


@pytest.mark.parametrize("left_out", ["decay", "first"])
def test_either_parameter_can_be_seen_in_a_short_sequence(drawn, left_out):
    k, v, decay, first = drawn
    expected = by_loop(k, v, decay, first)
    wrong = {"decay": decay, "first": first} | {left_out: torch.zeros(WIDTH)}
    found = averages(len(k), **wrong)(k[None], v[None])[0]
    assert (found - expected).abs().max() > 1000 * TOLERANCE


def test_keys_beyond_what_an_exponential_holds():
    torch.manual_seed(0)
    k, v = 100 * torch.randn(64, WIDTH), torch.randn(64, WIDTH)
    decay = torch.linspace(-MOST_DECAY, MOST_DECAY, WIDTH)
    found = averages(64, decay, torch.ones(WIDTH))(k[None], v[None])[0]
    assert (found - by_loop(k, v, decay, torch.ones(WIDTH))).abs().max() < 1e-4


@pytest.mark.parametrize("decay", [MOST_DECAY + 1, -MOST_DECAY - 1, float("nan")])
def test_a_decay_that_float32_cannot_hold_is_refused(decay):
    with pytest.raises(CheckpointError, match=r"spatial_decay of .* more than float32"):
        averages(16, torch.full((WIDTH,), decay), torch.zeros(WIDTH))


def test_tokens_come_in_squares_of_rows():
    with pytest.raises(ValueError, match="48 tokens are not 16 times a square number"):
        WeightedAverages(WIDTH, 48)


def test_the_published_kernel_alone():
    case = published_case.load("rwkv_sam_small")
    salt = case.facts["fill"]["salt"]
    shape = tuple(case.facts["outputs"]["wkv_unit.y"]["shape"])
    k, v = (
        torch.from_numpy(published_case.fill.tensor(f"wkv_unit.{name}", shape, salt)) / 0.2
        for name in ("k", "v")
    )
    made = averages(shape[1], torch.linspace(-5, 3, 16), torch.linspace(-1.5, 0.5, 16))
    expected, ours, _ = case.stored("wkv_unit.y", made(k, v).numpy())
    assert np.abs(ours - expected).max() <= 2e-5  # the case's own tolerance
