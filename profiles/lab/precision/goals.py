"""Goals of the precisions of few bits, on the demo model; each is judged before rounding."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Row = Mapping[str, Any]
NOISE = 1.02
"""A ratio of times up to here is none: the same file timed against itself is that far from 1."""


@dataclass(frozen=True)
class Goal:
    """A number to be reached (`higher`), or not to be passed (`lower`)."""

    bound: float
    better: Literal["higher", "lower"]

    def met(self, value: float) -> bool:
        """Tell whether a number is as good as the goal; NaN is not."""
        return value >= self.bound if self.better == "higher" else value <= self.bound


@dataclass(frozen=True)
class Column:
    """A column of the table that goals may be set for.

    Attributes:
        name: in `GOALS`.
        title: in the table.
        form: of its numbers.
        value_of: row -> the number; None if it was not measured.
    """

    name: str
    title: str
    form: str
    value_of: Callable[[Row], float | None]


def _agreement(name: str) -> Callable[[Row], float | None]:
    def value_of(row: Row) -> float | None:
        agreement = row["agreement"]
        return None if agreement is None else agreement[name]

    return value_of


def encoder_share(row: Row) -> float:
    """Divide the bytes of the encoder's file by those of the same target's in fp32."""
    return float(row["bytes"]["image_encoder"] / row["float_bytes"]["image_encoder"])


def _ratio(threads: int) -> Callable[[Row], float | None]:
    return lambda row: row["ratios"].get(str(threads), {}).get("image_encoder")


COLUMNS = (
    Column("mean", "mean IoU", "{:.4f}", _agreement("mean_iou")),
    Column("p1", "1st percentile", "{:.3f}", _agreement("p1_iou")),
    Column("worst", "worst mask", "{:.3f}", _agreement("worst_iou")),
    Column("lost", "points of mIoU lost", "{:+.3f}", lambda row: row["truth_loss"]),
    Column("other", "another mask chosen", "{:.2%}", _agreement("other_mask_share")),
    Column("size", "encoder's size", "{:.3f}", encoder_share),
    Column("one", "encoder's time, 1 thread", "{:.2f}", _ratio(1)),
    Column("two", "encoder's time, 2 threads", "{:.2f}", _ratio(2)),
)


def _goals(mean: float, p1: float, lost: float, size: float) -> dict[str, Goal]:
    return {
        "mean": Goal(mean, "higher"),
        "p1": Goal(p1, "higher"),
        "lost": Goal(lost, "lower"),
        "other": Goal(0.02, "lower"),
        "size": Goal(size, "lower"),
        "one": Goal(NOISE, "lower"),
        "two": Goal(NOISE, "lower"),
    }


GOALS = {
    "int8": _goals(0.992, 0.95, 0.1, 0.30),
    "int8-weights": _goals(0.997, 0.98, 0.03, 0.30),
    "int4-weights": _goals(0.988, 0.93, 0.2, 0.23),
}
"""Precision -> column -> goal. The worst mask has none: one prompt in a thousand lies at a tie
between two readings of its picture, and float16 turns it too."""


def verdicts(row: Row) -> dict[str, bool]:
    """Judge a row: column -> whether its goal is met; only columns with a goal and a number."""
    values = {column.name: column.value_of(row) for column in COLUMNS}
    goals = GOALS.get(row["precision"], {})
    return {
        name: goal.met(value) for name, goal in goals.items() if (value := values[name]) is not None
    }
