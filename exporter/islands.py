"""Parts of a graph that stay float32 while the rest is rounded."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Island:
    """Operations of these kinds and all that lead to them.

    Attributes:
        name: for messages and tables.
        ends: kinds of operation, in small letters and without a format's underscores.
        why: what rounding would cost.
    """

    name: str
    ends: frozenset[str]
    why: str


COORDINATES = Island(
    "coordinates",
    frozenset({"sin", "cos"}),
    "a point coordinate near 1000 has steps of half a pixel in float16",
)


@dataclass(frozen=True)
class Step:
    """One operation of any format: its kind and its values' names."""

    kind: str
    inputs: tuple[Hashable, ...]
    outputs: tuple[Hashable, ...]


def leads_to(steps: Iterable[Step], islands: Iterable[Island]) -> set[int]:
    """Which steps belong to the islands.

    Args:
        steps: in the order of their execution.
        islands: of a precision.

    Returns:
        Places in `steps`: operations of the islands' kinds, and those whose values reach one.
    """
    ends = frozenset().union(*(island.ends for island in islands))
    found: set[int] = set()
    wanted: set[Hashable] = set()
    for place, step in reversed(list(enumerate(steps))):
        if step.kind.lower() in ends or wanted & set(step.outputs):
            found.add(place)
            wanted.update(step.inputs)
    return found
