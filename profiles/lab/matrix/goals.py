"""Goals of every lowered graph, and known reasons for misses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

Row = Mapping[str, Any]
Facts = Mapping[str, Any]

RANKS = {"tflite": 4, "coreml": 5, "coreai": 5}
"""Above these ranks a GPU delegate or the Neural Engine hands an operation back to the CPU."""
UNWANTED = ("GATHER_ND", "BROADCAST_TO")


@dataclass(frozen=True)
class Goal:
    """One rule.

    Attributes:
        name: in the table and in `WHY`.
        text: the rule in words.
        miss: (row, facts of one graph) -> the miss in words; empty if there is none.
    """

    name: str
    text: str
    miss: Callable[[Row, Facts], str]


PARITY = "parity"
"""The sixth goal: every figure reaches the floor that `sam-export` holds it to."""


@dataclass(frozen=True)
class Why:
    """A miss that is understood; variant, target and what are patterns as of file names."""

    variant: str
    target: str
    goal: str
    reason: str
    what: str = "*"


WHY: tuple[Why, ...] = (
    Why(
        "rwkv_sam*",
        "*",
        PARITY,
        "filled weights: the one predicted IoU lies near 0, where decibels of it say little",
        "*mask_decoder iou_predictions psnr_db * floor * of fp16;*",
    ),
)
"""Known reasons for misses in `make matrix`; a miss without a line is "not explained"."""


@dataclass(frozen=True)
class Miss:
    """A goal that a row misses; `why` is empty if nobody knows yet."""

    graph: str
    goal: str
    what: str
    why: str = ""


def _rank(row: Row, facts: Facts) -> str:
    most = RANKS.get(row["target"])
    return f"rank {facts['max_rank']}" if most and facts["max_rank"] > most else ""


def _operations(row: Row, facts: Facts) -> str:
    found = [f"{name} {n}" for name, n in facts["operations"].items() if name in UNWANTED]
    return ", ".join([*(found if row["target"] == "tflite" else []), *facts["custom"]])


def _partition(row: Row, facts: Facts) -> str:
    if row["target"] != "tflite":
        return ""
    outside = ", ".join(f"{name} {n}" for name, n in facts["outside"].items())
    parts = "" if facts["partitions"] == 1 else f"{facts['partitions']} partitions"
    return "; ".join(part for part in (parts, f"outside: {outside}" if outside else "") if part)


def _constants(row: Row, facts: Facts) -> str:
    if (row["target"], row["precision"]) != ("coreml", "fp16"):
        return ""
    others = facts["fp32_constants"]["others"]
    return f"{others} float32 constants" if others else ""


def _static(row: Row, facts: Facts) -> str:
    del row
    return f"{facts['dynamic']} dynamic tensors" if facts["dynamic"] else ""


GOALS = (
    Goal("rank", "no tensor above rank 4 in TFLite, above 5 in Core ML and Core AI", _rank),
    Goal("operations", "no GATHER_ND, BROADCAST_TO or custom operation", _operations),
    Goal("partition", "TFLite: one XNNPACK partition, nothing outside it", _partition),
    Goal(
        "constants",
        "Core ML fp16: no float32 constant but the point coordinates', the IoU head's and of "
        "weighted sums",
        _constants,
    ),
    Goal("static", "no dynamic shape", _static),
)


def misses(row: Row, why: tuple[Why, ...] | None = None) -> list[Miss]:
    """List every goal that a row misses, with the reason if one is known."""
    known = WHY if why is None else why
    found = list(_find_misses(row))
    return [Miss(miss.graph, miss.goal, miss.what, _reason(row, miss, known)) for miss in found]


def _find_misses(row: Row) -> Iterator[Miss]:
    for graph in row.get("graphs", ()):
        if "facts" not in graph:
            continue
        for goal in GOALS:
            what = goal.miss(row, graph["facts"])
            if what:
                yield Miss(graph["spec"]["name"], goal.name, what)
    for line in row.get("missed", ()):
        yield Miss("", PARITY, line.removeprefix(f"{row['name']}: "))


def _reason(row: Row, miss: Miss, known: tuple[Why, ...]) -> str:
    for why in known:
        fits = fnmatch(row["variant"], why.variant) and fnmatch(row["target"], why.target)
        if fits and why.goal == miss.goal and fnmatch(miss.what, why.what):
            return why.reason
    return ""
