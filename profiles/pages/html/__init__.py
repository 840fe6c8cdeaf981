"""Profiles -> one HTML page that needs nothing else: no script, no font, no network.

First an overview of everything, then a section for each device: its facts, its numbers, drawings,
and the condition it was in. Nothing of two classes stands in one drawing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from profiles.numbers.statistics import Spread
from profiles.numbers.summary import FILE_MB, GraphSummary, Summary, quantities, summarise
from profiles.pages import Page
from profiles.pages.html.charts import Distribution, Point, bars, distributions, scatter
from profiles.pages.html.markup import Markup, badge, element, html_table, join, page
from profiles.pages.html.units import (
    compute_units,
    placements_judged,
    where_operations_run,
)
from profiles.schema import Profile, Repeat
from profiles.tables import cold_loads, facts_line, number, with_interval
from runtimes.device import CLASSES, Condition, DeviceFacts
from runtimes.frames import graph_in_frame

MEANINGS = {
    "phone": "a real phone: what its owner would feel",
    "emulator": "Android on this computer's processor: no phone's time",
    "simulator": "Xcode's simulator: Core ML on this Mac, no phone's time",
    "simulated": "a stand-in that tests the tool: its times mean nothing",
    "host": "this computer: good for comparing bundles here, no phone's time",
}


@dataclass(frozen=True)
class View:
    """A profile and its numbers."""

    profile: Profile
    summary: Summary


def render(profiles: Sequence[Profile], created: str) -> str:
    """Render the page.

    Args:
        profiles: at least one.
        created: when, for the head of the page.
    """
    views = [View(p, summarise(p)) for p in profiles]
    views.sort(key=lambda v: (CLASSES.index(v.summary.device_class), v.summary.device))
    sections = [_device(group) for group in _by_device(views)]
    title = "What these bundles take on these devices"
    return page("sam-bench report", element("h1", title), *_head(views, created), *sections)


def _by_device(views: Sequence[View]) -> list[list[View]]:
    groups: dict[DeviceFacts, list[View]] = {}
    for view in views:
        groups.setdefault(view.profile.device, []).append(view)
    return list(groups.values())


def _head(views: Sequence[View], created: str) -> list[Markup]:
    present = [c for c in CLASSES if any(v.summary.device_class == c for v in views)]
    meanings = [element("li", badge(c), f" {MEANINGS[c]}") for c in present]
    count = f"{len(views)} measurement{'s' if len(views) > 1 else ''}; written {created}."
    reading = (
        "Medians of all calls; in brackets the 95 % interval of the median over processes. "
        "First mask: load every graph, encode, decode. Click: one more decode. "
        "Numbers of different classes are never compared."
    )
    rows = [_overview(view) for view in views]
    head = (
        "bundle",
        "device",
        "delegate",
        "first mask, ms",
        "click, ms",
        "peak memory, MB",
        "size, MB",
        "notes",
    )
    return [
        element("p", f"{count} {reading}", class_="soft"),
        element("ul", *meanings),
        html_table(head, rows),
    ]


def _overview(view: View) -> list[Markup | str]:
    s = view.summary
    return [
        element("div", s.bundle, class_="n"),
        s.device_name,
        s.delegate,
        _interval(s.first_mask_ms, s),
        _interval(s.click_ms, s),
        _value(s.peak_mb, s),
        _value(s.bundle_mb, s),
        element("span", "see below", class_="warn n") if s.marks else "",
    ]


def _device(views: Sequence[View]) -> Markup:
    device = views[0].profile.device
    title = element("h2", views[0].summary.device_name, badge(device.device_class))
    return element(
        "section",
        title,
        element("p", facts_line(device), class_="soft"),
        _graphs(views),
        *compute_units([view.summary for view in views]),
        *where_operations_run([view.profile for view in views]),
        *placements_judged([view.profile for view in views]),
        *_notes(views),
        *_charts(views),
        element("h3", "Condition of the device in each repeat"),
        html_table(
            ("bundle", "repeat", "thermal status", "hottest, C", "battery", "load", "throttled"),
            [_repeat(v, i, r) for v in views for i, r in enumerate(v.profile.repeats)],
        ),
    )


def _graphs(views: Sequence[View]) -> Markup:
    head = (
        *("bundle, graph, runtime", "ms a call", "p90", "p99", "fastest", "first call"),
        *("load", "GMAC/s", "cores used", "peak MB", "MB"),
    )
    rows = [_graph(v, graph) for v in views for graph in v.summary.graphs]
    return element("div", html_table(head, rows), class_="dense")


def _graph(view: View, graph: GraphSummary) -> list[Markup | str]:
    s, ms = view.summary, graph.ms
    method = view.profile.method
    runtime = f"{graph.runtime}, {method.delegate}, {method.threads} threads"
    values: list[float | None] = [ms.p90, ms.p99, ms.minimum] if ms else [None] * 3
    values += [graph.first_ms, graph.load_ms, graph.gmacs_per_s, graph.cores_used, graph.peak_mb]
    what = (
        element("div", s.bundle, class_="n"),
        element("div", graph.graph, class_="n"),
        element("div", f"{runtime} ({graph.way})" if graph.way else runtime, class_="n soft"),
    )
    return [
        join(what),
        _interval(ms, s) if graph.timed else element("span", "not timed", class_="warn"),
        *(_value(value, s) for value in [*values, graph.bytes / FILE_MB]),
    ]


def _notes(views: Sequence[View]) -> list[Markup]:
    """Warnings, and the parity figure nearest to its floor."""
    found = [
        element("li", f"{v.summary.called}: ", element("span", mark, class_="warn"))
        for v in views
        for mark in v.summary.marks
    ]
    found += [
        element("li", f"{v.summary.called}: {line}")
        for v in views
        for line in cold_loads(v.summary)
    ]
    found += [element("li", _parity(v)) for v in views if v.profile.parity]
    return [element("h3", "Notes"), element("ul", *found)] if found else []


def _parity(view: View) -> str:
    """Find the figure nearest to its floor, of those that have one."""
    figures = [f for f in view.profile.parity if f.measure == "psnr_db" and f.floor]
    if not figures:
        return f"{view.summary.called}: parity was checked on the device"
    worst = min(figures, key=lambda f: f.value - (f.floor or 0))
    return (
        f"{view.summary.called}: parity was checked on the device; nearest to its floor is "
        f"{worst.graph} {worst.output} with {worst.value:.1f} dB ({worst.floor:g} needed)"
    )


def _charts(views: Sequence[View]) -> list[Markup]:
    found: list[Markup] = []
    names = dict.fromkeys(g.graph for v in views for g in v.summary.graphs)
    for name in (n for n in names if not graph_in_frame(n)):  # of frames, the whole
        rows = [row for v in views if (row := _row(v, name)) is not None]
        if rows:
            found.append(element("h3", f"{name}: how long calls took"))
            found.append(_wrap_drawing(distributions(rows, f"{name}: latency of each bundle")))
    if found:
        hint = (
            "A hill for each process; line: median, bar below: its 95 % interval, ticks: p90, p99."
        )
        found.insert(1, element("p", hint, class_="soft"))
    points = [
        Point(s.called, s.target, s.device_class, s.bundle_mb, s.first_mask_ms)
        for s in (v.summary for v in views)
        if s.first_mask_ms is not None
    ]
    if points:
        found.append(element("h3", "Size against time to the first mask"))
        title = "size against time to the first mask"
        found.append(_wrap_drawing(scatter(points, title, "ms to the first mask")))
    memory = [
        (s.called, s.target, s.device_class, s.peak_mb)
        for s in (v.summary for v in views)
        if s.peak_mb is not None
    ]
    if memory:
        found.append(element("h3", "Peak memory with every graph loaded"))
        found.append(_wrap_drawing(bars(memory, "peak memory", "MB")))
    return found


def _wrap_drawing(svg: Markup) -> Markup:
    """It keeps a size that can be read, and scrolls alone where the page is narrower."""
    return element("div", svg, class_="wide")


def _row(view: View, graph: str) -> Distribution | None:
    repeats = quantities(view.profile).get(graph)
    spread = next((g.ms for g in view.summary.graphs if g.graph == graph), None)
    if repeats is None or spread is None:
        return None
    s = view.summary
    return Distribution(s.called, s.target, s.device_class, tuple(map(tuple, repeats)), spread)


def _repeat(view: View, number_: int, repeat: Repeat) -> list[Markup | str]:
    s = view.summary
    before, after = repeat.before, repeat.after
    return [
        element("div", s.called, class_="n"),
        str(number_ + 1),
        _ends(_status(before), _status(after), s),
        _ends(_hottest(before), _hottest(after), s),
        _ends(_battery(before), _battery(after), s),
        _ends(number(before.load), number(after.load), s),
        _mark_throttled(repeat),
    ]


def _mark_throttled(repeat: Repeat) -> Markup | str:
    if repeat.throttled:
        return element("span", repeat.throttled, class_="warn")
    told = repeat.before.thermal_status is not None and repeat.after.thermal_status is not None
    return "no" if told else "not told"


def _ends(before: str, after: str, summary: Summary) -> Markup | str:
    if before == after == "-":
        return "-"
    words = before if before == after else f"{before} \u2192 {after}"
    return element("span", words, badge(summary.device_class), class_="n")


def _status(now: Condition) -> str:
    return "-" if now.thermal_status is None else now.thermal_status.word


def _hottest(now: Condition) -> str:
    return f"{max(t.celsius for t in now.temperatures):.1f}" if now.temperatures else "-"


def _battery(now: Condition) -> str:
    if now.battery_percent is None:
        return "-"
    return f"{now.battery_percent} %{' charging' if now.charging else ''}"


def _interval(spread: Spread | None, summary: Summary) -> Markup | str:
    if spread is None:
        return "-"
    return element("span", with_interval(spread), badge(summary.device_class), class_="n")


def _value(value: float | None, summary: Summary) -> Markup | str:
    if value is None:
        return "-"
    return element("span", number(value), badge(summary.device_class), class_="n")


PAGE = Page(("-o", "--output"), "HTML", render)
