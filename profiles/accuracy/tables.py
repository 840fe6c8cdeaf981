"""Figures of accuracy as text for a terminal, and as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from profiles.accuracy.comparing import Compared
from profiles.accuracy.rows import Row
from profiles.tables import NOTHING, number, table

DEGRADED = " (degraded)"
HEAD = (
    *("bundle", "MB", "mean IoU", "p1", "worst", "other mask"),
    *("IoU with truth", "points lost", "ms a call (host)"),
)
NOTES = (
    "mean IoU, p1 (first percentile), worst, other mask (share of cases in which another of the "
    "masks is chosen): against the reference. IoU with truth: with the objects of the scenes; "
    "points lost: hundredths of it, against the reference."
)


def compared(found: Compared) -> str:
    """Write the table."""
    return table(HEAD, [cells(row) for row in found.rows])


def cells(row: Row) -> tuple[str, ...]:
    """Write a row's cells, as `HEAD` names them."""
    agreement = row.agreement
    if agreement is None:
        against = ("reference", *[NOTHING] * 3)
    else:
        share = agreement.other_mask_share
        against = (
            f"{agreement.mean_iou:.4f}",
            f"{agreement.p1_iou:.3f}",
            f"{agreement.worst_iou:.3f}",
            NOTHING if share is None else f"{share:.1%}",
        )
    return (
        f"{row.bundle}{DEGRADED if row.degraded else ''}",
        " + ".join(number(size / 1e6) for size in row.graph_bytes.values()),
        *against,
        NOTHING if row.truth_iou is None else f"{row.truth_iou:.4f}",
        NOTHING if row.truth_loss is None else f"{row.truth_loss:+.2f}",
        " + ".join(number(ms.p50) for ms in row.ms.values()) or f"not timed: {row.untimed}",
    )


def as_data(found: Compared, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Collect everything as plain values.

    Args:
        found: figures.
        facts: on the pictures, this machine and the threads.
    """
    return {
        **facts,
        "pictures": len(found.shots),
        "masks": found.masks,
        "kinds": list(found.kinds),
        "notes": list(found.notes),
        "bundles": [asdict(row) for row in found.rows],
    }
