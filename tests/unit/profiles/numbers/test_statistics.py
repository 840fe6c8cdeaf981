from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from profiles.numbers import statistics as s


def _quantile(values, q):
    """Linear between the two nearest, written out."""
    ordered = sorted(values)
    at = q * (len(ordered) - 1)
    below = math.floor(at)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (at - below) * (ordered[above] - ordered[below])


def test_a_spread_is_what_a_plain_computation_gives() -> None:
    rng = np.random.default_rng(1)
    repeats = [list(rng.gamma(4, 2.5, n)) for n in (37, 50, 44)]
    pooled = [v for r in repeats for v in r]
    mean = sum(pooled) / len(pooled)
    found = s.spread(repeats)
    assert found.p50 == pytest.approx(_quantile(pooled, 0.5))
    assert found.p90 == pytest.approx(_quantile(pooled, 0.9))
    assert found.p99 == pytest.approx(_quantile(pooled, 0.99))
    assert found.mean == pytest.approx(mean)
    assert found.minimum == min(pooled)
    variance = sum((v - mean) ** 2 for v in pooled) / (len(pooled) - 1)
    assert found.deviation == pytest.approx(math.sqrt(variance))
    assert (found.count, found.repeats) == (131, 3)
    assert found.low <= found.p50 <= found.high


def test_the_same_samples_give_the_same_interval() -> None:
    repeats = [np.random.default_rng(i).lognormal(0, 0.1, 30) for i in range(3)]
    assert s.interval(repeats) == s.interval(repeats)
    assert s.interval(repeats, seed=1) != s.interval(repeats, seed=2)


def test_a_single_sample_is_its_own_interval() -> None:
    found = s.spread([[5.0]])
    assert (found.low, found.p50, found.high) == pytest.approx((5.0, 5.0, 5.0))
    assert found.deviation == 0.0


@pytest.mark.parametrize(("repeats", "within"), [(3, 0.01), (6, 0.05)])
def test_the_interval_covers_the_true_median_as_often_as_it_says(
    repeats: int, within: float, monkeypatch
) -> None:
    monkeypatch.setattr(s, "DRAWS", 120)
    rng = np.random.default_rng(2)
    hits, trials = 0, 100
    for _ in range(trials):
        offsets = rng.normal(0, 0.05, repeats)
        samples = [np.exp(o + rng.normal(0, within, 20)) for o in offsets]
        low, high = s.interval(samples)
        hits += low <= 1.0 <= high
    # 95 % of 100 with four standard errors below; an interval that takes calls for independent
    # covers about a third here.
    assert hits / trials >= 0.95 - 4 * math.sqrt(0.95 * 0.05 / trials)


def test_an_interval_that_forgets_the_repeats_is_too_short() -> None:
    rng = np.random.default_rng(3)
    samples = [np.exp(o + rng.normal(0, 0.01, 200)) for o in (-0.1, 0.0, 0.1)]
    low, high = s.interval(samples)
    pooled_low, pooled_high = s.interval([np.concatenate(samples)])
    assert high / low > pooled_high / pooled_low


def test_equal_devices_differ_beyond_noise_as_seldom_as_it_says(monkeypatch) -> None:
    monkeypatch.setattr(s, "DRAWS", 120)
    rng = np.random.default_rng(4)

    def measured():
        return [np.exp(o + rng.normal(0, 0.03, 20)) for o in rng.normal(0, 0.05, 3)]

    trials, alarms = 100, 0
    for _ in range(trials):
        d = s.difference(measured(), measured())
        alarms += not d.low <= 1.0 <= d.high
    assert alarms / trials <= 0.05 + 4 * math.sqrt(0.05 * 0.95 / trials)


def test_a_difference_is_seen() -> None:
    rng = np.random.default_rng(5)
    a = [10 * np.exp(rng.normal(0, 0.02, 50)) for _ in range(5)]
    b = [11 * np.exp(rng.normal(0, 0.02, 50)) for _ in range(5)]
    d = s.difference(a, b)
    assert d.ratio == pytest.approx(1.1, rel=0.02)
    assert 1.0 < d.low < d.ratio < d.high
    back = s.difference(b, a)
    assert back.ratio == pytest.approx(1 / d.ratio)
    assert back.delta == pytest.approx(-d.delta)


@pytest.mark.parametrize("seed", range(3))
def test_cliffs_delta_is_the_count_of_all_pairs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 9, 20).astype(float), rng.integers(2, 11, 30).astype(float)
    signs = [int(y > x) - int(y < x) for x, y in itertools.product(a, b)]
    assert s.cliffs_delta(a, b) == pytest.approx(sum(signs) / len(signs))


def test_cliffs_delta_at_its_ends() -> None:
    low, high = np.array([1.0, 2.0]), np.array([3.0, 4.0])
    assert s.cliffs_delta(low, high) == 1.0
    assert s.cliffs_delta(high, low) == -1.0
    assert s.cliffs_delta(low, low) == 0.0


def test_slowing_down_is_last_third_over_first() -> None:
    assert s.measure_slowdown([10, 10, 10, 12, 12, 12, 15, 15, 15]) == 1.5
    assert s.measure_slowdown([10.0, 20.0]) == 1.0
    assert s.measure_slowdown([3.0] * 30) == 1.0
