"""Figures of accuracy -> one HTML page that needs nothing else: a table, plots, overlays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from profiles.accuracy.comparing import Compared
from profiles.accuracy.overlays import Panel, choose, draw
from profiles.accuracy.rows import Row
from profiles.accuracy.tables import HEAD, NOTES, cells
from profiles.pages.html.charts import Mark, Side, plot
from profiles.pages.html.markup import Markup, badge, element, html_table, page, picture
from profiles.tables import number
from runtimes.device import HOST

HEADROOM = 1.12


@dataclass(frozen=True)
class Words:
    """What the head of the page says: on the pictures, the threads, and when it was written."""

    pictures: str
    threads: int
    created: str


def render(found: Compared, words: Words, overlays: int) -> str:
    """Write the page.

    Args:
        found: figures and masks.
        words: for its head.
        overlays: prompts that are drawn.
    """
    head = (
        f"{found.masks} masks of {words.pictures}; prompts: {', '.join(found.kinds)}. Times are "
        f"medians of a call on this computer with {words.threads} threads, the bundles taking "
        f"turns: they compare bundles here and are no phone's. Written {words.created}."
    )
    return page(
        "sam-export compare",
        element("h1", "The masks of these bundles, their sizes and times"),
        element("p", head, class_="soft"),
        html_table(HEAD, [_cells(row) for row in found.rows]),
        element("p", NOTES, class_="soft"),
        element("ul", *(element("li", note, class_="warn") for note in found.notes)),
        *_plots(found.rows),
        *_sections(found, overlays),
    )


def _cells(row: Row) -> list[Markup | str]:
    name, *rest, times = cells(row)
    shown = element("span", name, class_="n warn" if row.degraded else "n")
    timed = element("span", times, badge(HOST), class_="n") if row.ms else times
    return [shown, *rest, timed]


def _plots(rows: Sequence[Row]) -> Iterator[Markup]:
    """Plot IoU with the reference and with what is known, each against size and time."""
    kinds: dict[str, Callable[[Row], float | None]] = {
        "mean IoU with the reference": _with_reference,
        "mean IoU with the objects": lambda row: row.truth_iou,
    }
    for title, value_of in kinds.items():
        known = [(row, value) for row in rows if (value := value_of(row)) is not None]
        if not known:
            continue
        yield element("h3", f"{title}, against size")
        yield _wrap(_plot(known, title, "MB of the graphs", [r.megabytes for r, _ in known], "MB"))
        timed = [(row, value) for row, value in known if row.ms]
        if timed:
            times = [sum(ms.p50 for ms in row.ms.values()) for row, _ in timed]
            yield element("h3", f"{title}, against time on this computer")
            yield _wrap(_plot(timed, title, "ms of one call of every graph", times, "ms"))


def _with_reference(row: Row) -> float:
    return 1.0 if row.agreement is None else row.agreement.mean_iou


def _plot(
    rows: Sequence[tuple[Row, float]], title: str, across: str, places: Sequence[float], unit: str
) -> Markup:
    marks = [
        Mark(
            row.bundle,
            row.target,
            HOST if unit == "ms" else "",
            f"{number(place)} {unit}, IoU {value:.4f}",
            (place, value),
        )
        for (row, value), place in zip(rows, places, strict=True)
    ]
    low, high = min(value for _, value in rows), max(value for _, value in rows)
    room = max((high - low) * (HEADROOM - 1), 1e-4)
    up = Side(title, max(low - room, 0.0), min(high + room, 1.0))
    return plot(marks, f"{title}, {unit}", Side(across, 0, HEADROOM * max(places)), up)


def _wrap(svg: Markup) -> Markup:
    return element("div", svg, class_="wide")


def _sections(found: Compared, count: int) -> Iterator[Markup]:
    chosen = choose(found, count)
    if chosen:
        yield element("h2", "Masks side by side")
    for each in chosen:
        yield element("h3", each.title)
        yield element("div", *(_figure(panel) for panel in draw(found, each)), class_="side")


def _figure(panel: Panel) -> Markup:
    shown = picture("image/jpeg", panel.jpeg, panel.name)
    lines = (element("div", line) for line in (panel.name, *panel.lines))
    return element("figure", shown, element("figcaption", *lines))
