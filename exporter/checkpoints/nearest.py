"""Say of tensors that fit no variant which is the nearest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from exporter.checkpoints.fit import Fit, Renames, best_fit

if TYPE_CHECKING:
    from torch import Tensor

    from exporter.variants import Variant

MOST_COMPARED = 3000
"""Tensors of a file that is compared with every variant to name the nearest; none has so many."""
_NEARLY = 0.8
"""Share of tensors from which a network of fixed widths goes before one that takes them from the
file, and so fits whatever is a little wrong."""


@dataclass(frozen=True)
class Nearest:
    """The variants that share most with a file, and what differs from the first."""

    names: list[str]
    fit: Fit


def nearest(
    tensors: Mapping[str, Tensor], known: Iterable[Variant], renames: Renames | None = None
) -> Nearest | None:
    """Find the variants that share the most tensors with these; None if none shares half."""
    if len(tensors) > MOST_COMPARED:
        return None
    renames = renames or Renames()
    rows = [
        (_share(fit), variant.name, fit)
        for variant in known
        if variant.layouts
        for fit in [best_fit(variant, tensors, renames)]
    ]
    fixed = [row for row in rows if row[2].layout.build_for is None]
    if any(share >= _NEARLY for share, _name, _fit in fixed):
        rows = fixed
    most = max((share for share, _name, _fit in rows), default=0.0)
    if most < 0.5:
        return None
    names = [name for share, name, _fit in rows if share == most]
    return Nearest(names, next(fit for share, _name, fit in rows if share == most))


def _share(fit: Fit) -> float:
    """Tensors that fit, of all that the file or the network has: 0 to 1."""
    good = len(fit.names) - len(fit.misshapen)
    return good / max(1, good + fit.faults)
