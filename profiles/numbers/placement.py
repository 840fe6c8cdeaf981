"""Where the operations of a graph run, as the runtime's own plan says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from profiles.schema import Profile
from runtimes.device import Placed

UNITS = ("neural engine", "gpu", "cpu")
"""From what an app wants most."""
_WANTED = {
    "all": "neural engine",
    "cpuAndNeuralEngine": "neural engine",
    "cpuAndGPU": "gpu",
}
"""Compute units of a method -> where its operations should run."""


@dataclass(frozen=True)
class Share:
    """What one unit takes of a graph.

    Attributes:
        operations: how many.
        cost: their share of the work, 0..1, as the plan guesses it; None if it does not.
    """

    unit: str
    operations: int
    cost: float | None


@dataclass(frozen=True)
class GraphPlacement:
    """One graph of one profile.

    Attributes:
        shares: of every unit, those that take nothing too.
        wanted: where its operations should run; empty if the method asks for the CPU alone.
        fallen: those that run elsewhere, the costliest first.
    """

    graph: str
    shares: tuple[Share, ...]
    wanted: str
    fallen: tuple[Placed, ...]


def placements(profile: Profile) -> tuple[GraphPlacement, ...]:
    """Collect the placement of each graph that has one; the first repeat's counts."""
    found: dict[str, Sequence[Placed]] = {}
    for repeat in profile.repeats:
        for run in repeat.runs:
            if run.placement:
                found.setdefault(run.graph, run.placement)
    wanted = _WANTED.get(profile.method.delegate, "")
    return tuple(_placement(graph, rows, wanted) for graph, rows in found.items())


def fallen_text(placement: GraphPlacement, most: int = 12) -> str:
    """Name the operations that run elsewhere, `most` of them; empty if there are none."""
    named = [
        f"{row.name} ({row.operation}, {row.unit}"
        f"{'' if row.cost is None else f', {100 * row.cost:.2g} %'})"
        for row in placement.fallen[:most]
    ]
    if not named:
        return ""
    more = len(placement.fallen) - len(named)
    rest = f", and {more} more" if more else ""
    return f"{placement.graph}: not on the {placement.wanted}: {', '.join(named)}{rest}"


def share_text(share: Share) -> str:
    """Count the operations of a share, with what they cost."""
    return f"{share.operations}" + ("" if share.cost is None else f" ({share.cost:.0%})")


def _placement(graph: str, rows: Sequence[Placed], wanted: str) -> GraphPlacement:
    total = sum(row.cost or 0.0 for row in rows)
    shares = []
    for unit in UNITS:
        own = [row for row in rows if row.unit == unit]
        cost = sum(row.cost or 0.0 for row in own) / total if total else None
        shares.append(Share(unit, len(own), cost))
    fallen = [row for row in rows if wanted and row.unit != wanted]
    fallen.sort(key=lambda row: -(row.cost or 0.0))
    return GraphPlacement(graph, tuple(shares), wanted, tuple(fallen))
