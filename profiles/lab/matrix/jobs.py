"""The exports of the matrix, in the order they are made. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from exporter import targets
from exporter.errors import RequestError
from exporter.precision import precisions
from exporter.targets import load_target
from exporter.variants import Variant, load_variant, variants

PRECISIONS = tuple(precision.name for precision in precisions())
PLAIN = tuple(precision.name for precision in precisions() if not precision.judged)
"""Those that no pictures are needed for."""
FILLED = "filled, not trained"
EMBEDDED = "embedded, trained"
LARGE = 250_000_000
"""Parameters from which a variant comes last: it takes the longest and may not fit the memory."""


@dataclass(frozen=True)
class MatrixJob:
    """One export: a variant in a format and a precision; `video` with the graphs of its memory."""

    variant: str
    target: str
    precision: str
    video: bool = False

    @property
    def name(self) -> str:
        """Its bundle's name."""
        parts = (self.variant, "video" if self.video else "", self.target, self.precision)
        return "-".join(filter(None, parts))


def plan(
    only: Sequence[str] = (),
    target: Sequence[str] = (),
    precision: Sequence[str] = (),
    *,
    video: bool = False,
) -> list[MatrixJob]:
    """List the exports asked for; an empty sequence asks for all, of targets for `all`.

    A variant's exports follow one another. The first variant of each family comes first, so that a
    run that is stopped early has seen every network; the large ones come last, the smaller first.
    `video` asks for the bundles that follow objects, of the variants that can.

    Raises:
        RequestError: an unknown variant, target or precision; the message lists the choices.
    """
    chosen = [load_variant(name) for name in only] or list(variants().values())
    formats = _choose("target", target, targets.names(), targets.groups()["all"])
    kept_in = _choose("precision", precision, PRECISIONS, PRECISIONS)
    return [
        MatrixJob(variant.name, to, kept, video)
        for variant in sort_variants(chosen)
        if variant.memory is not None or not video
        for to in formats
        for kept in kept_in
        if kept in load_target(to).lowers
    ]


def sort_variants(chosen: Iterable[Variant]) -> list[Variant]:
    """Sort variants: the first of each family, then the others, then the large ones by size."""
    seen: set[str] = set()
    first, others, large = [], [], []
    for variant in chosen:
        if variant.parameters >= LARGE:
            large.append(variant)
        elif variant.family in seen:
            others.append(variant)
        else:
            first.append(variant)
            seen.add(variant.family)
    return [*first, *others, *sorted(large, key=lambda variant: variant.parameters)]


def _choose(
    kind: str, asked: Sequence[str], known: Sequence[str], usual: Sequence[str]
) -> Sequence[str]:
    """Return what is asked for, or the usual. RequestError if one is not known."""
    for name in asked:
        if name not in known:
            raise RequestError(f"unknown {kind} {name!r}; choose from {', '.join(known)}")
    return [name for name in known if name in asked] if asked else usual
