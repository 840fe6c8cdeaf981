"""From samples to numbers: quantiles, how sure the median is, and how two sets differ. numpy only.

Samples come in repeats, each a process of its own. Times of one process agree with each other more
than with those of the next, so a thousand calls in three processes are nearer to three observations
than to a thousand. The bootstrap here draws repeats first and samples within them second, and the
interval is widened by what Student's t asks for so few repeats.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]
Repeats = Sequence[Sequence[float] | Values]

CONFIDENCE = 0.95
NORMAL = 1.960
# Two-sided 95 % quantiles of Student's t, by degrees of freedom; beyond the table NORMAL is near.
_STUDENT: tuple[float, ...] = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
)
DRAWS = 1000
MOST = 2000
"""Samples drawn from one repeat: more would not be felt, and fewer only widen the interval."""
SEED = 20_000_000


@dataclass(frozen=True)
class Spread:
    """The spread of a quantity; all in the unit of the samples.

    Attributes:
        p50: the median of all samples together; the same for what follows.
        deviation: standard deviation; 0 for a single sample.
        low: lower end of the median's 95 % interval.
        high: its upper end.
        count: of samples.
        repeats: that they came in; with one, the interval knows nothing of what differs between
            processes.
    """

    p50: float
    p90: float
    p99: float
    mean: float
    minimum: float
    deviation: float
    low: float
    high: float
    count: int
    repeats: int


@dataclass(frozen=True)
class Difference:
    """The difference of samples B from samples A.

    Attributes:
        ratio: median of B over median of A; 1 is no change.
        low: lower end of the ratio's 95 % interval.
        high: its upper end.
        delta: Cliff's: the chance that a sample of B is larger than one of A, less the chance that
            it is smaller; -1..1, and 0 where neither is.
    """

    ratio: float
    low: float
    high: float
    delta: float


def spread(repeats: Repeats, seed: int = SEED) -> Spread:
    """Compute the spread of samples in their repeats, at least one sample each, all above 0."""
    pooled = np.sort(_pool(repeats))
    p50, p90, p99 = (float(v) for v in np.quantile(pooled, (0.5, 0.9, 0.99)))
    low, high = interval(repeats, seed)
    return Spread(
        p50=p50,
        p90=p90,
        p99=p99,
        mean=float(pooled.mean()),
        minimum=float(pooled[0]),
        deviation=float(pooled.std(ddof=1)) if pooled.size > 1 else 0.0,
        low=low,
        high=high,
        count=int(pooled.size),
        repeats=len(repeats),
    )


def interval(repeats: Repeats, seed: int = SEED) -> tuple[float, float]:
    """Compute the 95 % confidence interval of the median.

    The bootstrap's percentile interval, in logarithms, widened around the median: see `_widening`.
    """
    logs = np.log(bootstrap_medians(repeats, np.random.default_rng(seed)))
    centre = float(np.log(np.median(_pool(repeats))))
    return _widen(logs, centre, _widening(len(repeats), len(repeats) - 1))


def difference(a: Repeats, b: Repeats, seed: int = SEED) -> Difference:
    """B against A: ratio of medians with its 95 % interval, and the size of the effect."""
    rng = np.random.default_rng(seed)
    drawn_a, drawn_b = bootstrap_medians(a, rng), bootstrap_medians(b, rng)
    pooled_a, pooled_b = _pool(a), _pool(b)
    centre = float(np.log(np.median(pooled_b) / np.median(pooled_a)))
    widening = _widening(min(len(a), len(b)), len(a) + len(b) - 2)
    low, high = _widen(np.log(drawn_b / drawn_a), centre, widening)
    return Difference(float(np.exp(centre)), low, high, cliffs_delta(pooled_a, pooled_b))


def cliffs_delta(a: Values, b: Values) -> float:
    """See `Difference.delta`."""
    ordered = np.sort(a)
    smaller = np.searchsorted(ordered, b, side="left").sum()
    larger = (a.size - np.searchsorted(ordered, b, side="right")).sum()
    return float(smaller - larger) / float(a.size * b.size)


def bootstrap_medians(repeats: Repeats, rng: np.random.Generator, draws: int = DRAWS) -> Values:
    """(draws,) medians: repeats are drawn with replacement, then samples within each of them."""
    arrays = [np.asarray(samples, np.float64) for samples in repeats]
    medians = np.empty(draws)
    for i in range(draws):
        chosen = rng.integers(len(arrays), size=len(arrays))
        parts = [_resample(arrays[repeat], rng) for repeat in chosen]
        medians[i] = np.median(np.concatenate(parts))
    return medians


def measure_slowdown(samples: Sequence[float]) -> float:
    """Divide the median of a repeat's last third by its first third's; 1 if times held.

    Above 1 the device slowed down while it worked: heat, or other work.
    """
    third = len(samples) // 3
    if third == 0:
        return 1.0
    return float(np.median(samples[-third:]) / np.median(samples[:third]))


def _resample(samples: Values, rng: np.random.Generator) -> Values:
    return samples[rng.integers(samples.size, size=min(samples.size, MOST))]


def _widening(repeats: int, freedom: int) -> float:
    """Compute the factor by which few repeats lengthen the bootstrap's interval.

    Drawing n of n repeats shows only (n - 1) / n of their variance, and its ends are those of a
    normal distribution where Student's t is due. One repeat shows nothing of it: nothing to widen.
    """
    if repeats < 2:
        return 1.0
    student = _STUDENT[freedom - 1] if freedom <= len(_STUDENT) else NORMAL
    return float(np.sqrt(repeats / (repeats - 1)) * student / NORMAL)


def _widen(logs: Values, centre: float, factor: float) -> tuple[float, float]:
    tail = (1 - CONFIDENCE) / 2
    low, high = (float(v) for v in np.quantile(logs, (tail, 1 - tail)))
    # The estimate itself may lie outside of a skewed bootstrap; its interval never leaves it out.
    low, high = min(low, centre), max(high, centre)
    ends = (centre - factor * (centre - low), centre + factor * (high - centre))
    return float(np.exp(ends[0])), float(np.exp(ends[1]))


def _pool(repeats: Repeats) -> Values:
    return np.concatenate([np.asarray(samples, np.float64) for samples in repeats])
