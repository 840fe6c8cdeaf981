"""Bundles that are claimed for an export, so that nobody else makes them meanwhile."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from exporter.bundle.claim import Claim
from exporter.bundle.staging import claim_bundle
from exporter.job import Order, Place


@dataclass(frozen=True)
class Held(Place):
    """A place whose bundles to be made are claimed: nobody else makes them meanwhile.

    Attributes:
        claims: by the bundle's folder.
    """

    claims: Mapping[Path, Claim] = field(default_factory=dict)


@contextmanager
def hold(order: Order, place: Place) -> Iterator[Held]:
    """Claim, before any work, every bundle that is not there yet or is to be replaced.

    A bundle that is there is only read, so its folder need not be writable.

    Raises:
        RequestError: another export makes one of them.
    """
    if isinstance(place, Held):
        yield place
        return
    folders = [Path(place.output) / order.bundle_name(target) for target in order.targets]
    with ExitStack() as stack:
        claims = {
            folder: stack.enter_context(claim_bundle(folder))
            for folder in dict.fromkeys(folders)
            if place.force or not folder.exists()
        }
        given = {each.name: getattr(place, each.name) for each in dataclasses.fields(place)}
        yield Held(**given, claims=claims)
