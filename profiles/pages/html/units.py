"""What only some runtimes tell: compute units beside each other, and where operations run."""

from __future__ import annotations

from collections.abc import Sequence

from profiles.numbers.placement import (
    UNITS,
    GraphPlacement,
    fallen_text,
    placements,
    share_text,
)
from profiles.numbers.summary import Summary
from profiles.numbers.verdicts import HEAD, verdicts
from profiles.pages.html.markup import Markup, badge, element, html_table
from profiles.schema import Profile
from profiles.tables import placement_cells, with_interval


def compute_units(summaries: Sequence[Summary]) -> list[Markup]:
    """Make a table with a column for each delegate, if a bundle was measured with several.

    Args:
        summaries: of one device.
    """
    delegates = list(dict.fromkeys(s.delegate for s in summaries))
    if len(delegates) < 2:
        return []
    found: dict[tuple[str, str], dict[str, Markup | str]] = {}
    for s in summaries:
        rows = {graph.graph: graph.ms for graph in s.graphs}
        rows |= {"click": s.click_ms, "first mask": s.first_mask_ms}
        for name, spread in rows.items():
            if spread is not None:
                cell = element("span", with_interval(spread), badge(s.device_class), class_="n")
                found.setdefault((s.bundle, name), {})[s.delegate] = cell
    head = ("bundle", "ms", *delegates)
    body = [
        [
            element("div", bundle, class_="n"),
            element("div", name, class_="n"),
            *(cells.get(delegate, "-") for delegate in delegates),
        ]
        for (bundle, name), cells in found.items()
    ]
    return [element("h3", "By what computes"), html_table(head, body)]


def placements_judged(profiles: Sequence[Profile]) -> list[Markup]:
    """Make a table of what computes each bundle: parity, times, and why one is refused.

    Args:
        profiles: of one device.
    """
    found = verdicts(profiles)
    if not found:
        return []
    rows = [
        [element("span", cell, class_="warn" if verdict.refused else "n") for cell in cells]
        for verdict in found
        for cells in [placement_cells(verdict)]
    ]
    hint = (
        "Fastest: an image and a click together, of those that reach their floors on the device. A "
        "refused one computes something else there, or fails: an app must not use it."
    )
    return [
        element("h3", "Placements"),
        element("p", hint, class_="soft"),
        html_table(HEAD, rows),
    ]


def where_operations_run(profiles: Sequence[Profile]) -> list[Markup]:
    """Make a table of shares by unit, and a list of the operations that run elsewhere."""
    told = [(p, placement) for p in profiles for placement in placements(p)]
    if not told:
        return []
    head = ("bundle", "graph", "compute units", *UNITS)
    rows = [_shares(profile, placement) for profile, placement in told]
    lists = [
        element("li", f"{profile.bundle.name}, {profile.method.delegate}: ", fallen_text(placement))
        for profile, placement in told
        if placement.fallen
    ]
    hint = (
        "Operations, and their share of the work as the system guesses it. It is a forecast: an "
        "operation can still run elsewhere."
    )
    return [
        element("h3", "Where operations run"),
        element("p", hint, class_="soft"),
        html_table(head, rows),
        *([element("ul", *lists)] if lists else []),
    ]


def _shares(profile: Profile, placement: GraphPlacement) -> list[Markup | str]:
    cells = map(share_text, placement.shares)
    return [
        element("div", profile.bundle.name, class_="n"),
        element("div", placement.graph, class_="n"),
        profile.method.delegate,
        *(element("span", cell, class_="n") for cell in cells),
    ]
