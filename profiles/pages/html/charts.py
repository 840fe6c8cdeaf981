"""Drawings of the report: SVG with the page's colours, no script.

Every chart holds one device alone, so one class, and says which beside each number.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from profiles.numbers.statistics import Spread
from profiles.pages.html.markup import Attribute, Markup, element, known
from profiles.tables import number

WIDTH, LEFT, RIGHT = 760.0, 190.0, 190.0
ROW, TOP, BOTTOM = 54.0, 8.0, 34.0
BINS = 90
HUES = {"coreml": "a", "tflite": "b", "onnx": "c"}
STEP = 28.0
"""Height of a name and its words in a plot."""
LOG_FROM = 12.0
"""Medians further apart than this are drawn on a logarithmic axis."""
CHARACTER = 6.9
"""Room for one of 12 px in a wide font; `TINY` of 10 px."""
TINY = 5.8

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Distribution:
    """One bundle in a chart.

    Attributes:
        repeats: samples of each process, ms.
        spread: of all of them.
    """

    bundle: str
    target: str
    device_class: str
    repeats: tuple[tuple[float, ...], ...]
    spread: Spread


@dataclass(frozen=True)
class Point:
    """One bundle in a scatter: MB, ms."""

    bundle: str
    target: str
    device_class: str
    x: float
    y: Spread


@dataclass(frozen=True)
class Mark:
    """One bundle in a plot.

    Attributes:
        name: of the bundle.
        target: chooses its colour.
        device_class: that its number was measured on; empty if on none.
        words: small, below the name.
        at: x and y.
        ends: of a bar up and down; None for no bar.
    """

    name: str
    target: str
    device_class: str
    words: str
    at: tuple[float, float]
    ends: tuple[float, float] | None = None


@dataclass(frozen=True)
class Side:
    """A side of a plot: its title, and the values at its ends."""

    title: str
    low: float
    high: float


@dataclass(frozen=True)
class Curve:
    """Points in order, joined; `hue` is a colour of the page."""

    name: str
    hue: str
    points: Sequence[tuple[float, float]]
    dashed: bool = False


@dataclass(frozen=True)
class Scale:
    """Values -> pixels, linear from 0 or logarithmic; `ticks` are round values."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Map a value to its pixel; values outside stay at the ends."""
        if self.log:
            value, low, high = (math.log(v) for v in (max(value, self.low), self.low, self.high))
        else:
            low, high = self.low, self.high
        share = min(1.0, max(0.0, (value - low) / (high - low)))
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Round values within."""
        if self.log:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            found = [m * 10.0**d for d in decades for m in (1, 2, 5)]
            return [v for v in found if self.low <= v <= self.high]
        step = _step((self.high - self.low) / 5)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [i * step for i in range(first, last + 1)]


def distributions(rows: Sequence[Distribution], title: str) -> Markup:
    """Draw the times of calls: a hill for each process, the median, its interval, p90 and p99."""
    scale = _time_scale([row.spread for row in rows])
    height = TOP + ROW * len(rows) + BOTTOM
    parts = [_axis(scale, height - BOTTOM, "ms a call")]
    for i, row in enumerate(rows):
        parts += _hills(row, scale, TOP + ROW * i)
    return _svg(height, title, parts)


def scatter(points: Sequence[Point], title: str, y_title: str) -> Markup:
    """Size against a time; the bar is the 95 % interval."""
    marks = [
        Mark(
            p.bundle,
            p.target,
            p.device_class,
            f"{number(p.x)} MB, {number(p.y.p50)} ms",
            (p.x, p.y.p50),
            (p.y.low, p.y.high) if p.y.repeats > 1 else None,
        )
        for p in points
    ]
    sides = _headroom(max(p.x for p in points)), _headroom(max(p.y.p50 for p in points))
    return plot(marks, title, Side("MB of the bundle", 0, sides[0]), Side(y_title, 0, sides[1]))


def plot(marks: Sequence[Mark], title: str, across: Side, up: Side) -> Markup:
    """Draw points with their names; if two are near, a name moves up or down."""
    height = max(250.0, STEP * len(marks) + 90)
    floor = height - BOTTOM
    longest = max(len(mark.name) for mark in marks) * CHARACTER
    end = WIDTH - min(WIDTH / 2, max(RIGHT, longest + 12))
    x, y = Scale(across.low, across.high, 60.0, end), Scale(up.low, up.high, floor, TOP + 14)
    parts = [_axis(x, floor, across.title), *_side_axis(y, up.title, end)]
    taken: list[_Box] = []
    for mark in sorted(marks, key=lambda mark: mark.at[1]):
        at, hue = (x(mark.at[0]), y(mark.at[1])), _hue(mark.target)
        if mark.ends is not None:
            parts.append(_line(at[0], y(mark.ends[0]), at[0], y(mark.ends[1]), class_=hue))
        parts.append(element("circle", cx=at[0], cy=at[1], r=5, class_=hue))
        below = len(mark.words + mark.device_class) * TINY + (16 if mark.device_class else 0)
        width = 9 + max(len(mark.name) * CHARACTER, below)
        down = _free(at, width, taken, floor)
        if abs(down - at[1]) > STEP:
            parts.insert(0, _line(at[0], at[1], at[0] + 8, down - 3, class_="line"))
        parts.append(_text(at[0] + 9, down, mark.name))
        parts += _label(at[0] + 9, down + 14, mark.words, mark.device_class, small=True)
    return _svg(height, title, parts)


def curves(drawn: Sequence[Curve], title: str, across: Side, up: Side) -> Markup:
    """Draw lines through points, along a logarithmic axis; their names stand at the right."""
    height, key, longest = 380.0, 34.0, max(len(curve.name) for curve in drawn) * CHARACTER
    floor, end = height - BOTTOM, WIDTH - longest - key - 12
    x = Scale(across.low, across.high, 60.0, end, log=True)
    y = Scale(up.low, up.high, floor, TOP + 14)
    parts = [_axis(x, floor, across.title), *_side_axis(y, up.title, end)]
    for i, curve in enumerate(drawn):
        row = TOP + 24 + 20 * i
        places = [(x(point[0]), y(point[1])) for point in curve.points]
        sample = [(end + 12, row - 4), (end + 6 + key, row - 4)]
        more: dict[str, Attribute] = {"stroke_dasharray": "5 4"} if curve.dashed else {}
        style = f"fill:none;stroke:var(--{curve.hue});stroke-width:1.5"
        for line in (places, sample):
            path = "M" + "L".join(f"{left:.1f} {top:.1f}" for left, top in line)
            parts.append(element("path", d=path, style=style, **more))
        parts += [
            element("circle", cx=left, cy=top, r=3, style=f"fill:var(--{curve.hue})")
            for left, top in places
        ]
        parts.append(_text(end + 12 + key, row, curve.name))
    return _svg(height, title, parts)


def bars(rows: Sequence[tuple[str, str, str, float]], title: str, unit: str) -> Markup:
    """(bundle, target, class, value) as lengths from 0."""
    height = TOP + 26 * len(rows) + BOTTOM
    high = _headroom(max(value for *_, value in rows))
    scale = Scale(0, high, LEFT, WIDTH - RIGHT)
    parts = [_axis(scale, height - BOTTOM, unit)]
    for i, (bundle, target, device_class, value) in enumerate(rows):
        y = TOP + 26 * i
        size: dict[str, Attribute] = {"width": scale(value) - LEFT, "height": 14}
        parts.append(_name(bundle, y + 16))
        parts.append(element("rect", x=LEFT, y=y + 5, rx=2, class_=_hue(target), **size))
        parts += _label(scale(value) + 8, y + 16, f"{number(value)} {unit}", device_class)
    return _svg(height, title, parts)


def _hills(row: Distribution, scale: Scale, top: float) -> list[Markup]:
    """Draw one row of `distributions`; calls slower than p99 are only counted, at the right."""
    base = top + ROW - 12
    edges = np.linspace(scale.start, scale.end, BINS + 1)
    drawn = [[scale(v) for v in samples if v <= row.spread.p99] for samples in row.repeats]
    shares = [np.histogram(xs, edges)[0] / max(1, len(xs)) for xs in drawn]
    tallest = max(float(share.max()) for share in shares) or 1.0
    return [
        _name(row.bundle, base - 6),
        _line(LEFT, base, WIDTH - RIGHT, base, class_="line"),
        *(_hill(share / tallest, edges, base, _hue(row.target)) for share in shares),
        *_marks(row.spread, scale, base),
        *_label(WIDTH - RIGHT + 12, base - 14, f"{number(row.spread.p50)} ms", row.device_class),
        _text(WIDTH - RIGHT + 12, base + 1, _tail(row.spread), class_="soft tiny"),
    ]


def _hill(heights: Floats, edges: Floats, base: float, hue: str) -> Markup:
    """Steps over the bins that hold something."""
    used = np.flatnonzero(heights)
    if not used.size:
        return Markup("")
    path = f"M{edges[used[0]]:.1f} {base:.1f}"
    for i in range(int(used[0]), int(used[-1]) + 1):
        y = base - float(heights[i]) * (ROW - 22)
        path += f"L{edges[i]:.1f} {y:.1f}L{edges[i + 1]:.1f} {y:.1f}"
    path += f"L{edges[used[-1] + 1]:.1f} {base:.1f}Z"
    return element("path", d=path, class_=f"{hue} area")


def _marks(spread: Spread, scale: Scale, base: float) -> list[Markup]:
    """Draw the median as a line, its interval as a bar below, p90 and p99 as ticks."""
    middle = scale(spread.p50)
    bar: dict[str, Attribute] = {"stroke_width": 4, "stroke_linecap": "round"}
    found = [_line(middle, base - ROW + 20, middle, base, class_="ink mid")]
    ticks = scale(spread.p90), scale(spread.p99)
    found += [_line(tick, base - 5, tick, base + 3, class_="ink") for tick in ticks]
    if spread.repeats > 1:
        low, high = scale(spread.low), scale(spread.high)
        found.append(_line(low, base + 5, max(high, low + 0.5), base + 5, class_="ink", **bar))
    return found


def _tail(spread: Spread) -> str:
    ends = f"{number(spread.low)}..{number(spread.high)}, " if spread.repeats > 1 else ""
    return f"{ends}p90 {number(spread.p90)}, p99 {number(spread.p99)}"


def _time_scale(spreads: Sequence[Spread]) -> Scale:
    """From 0, unless the bundles are too far apart to be seen on one such axis."""
    medians, high = [s.p50 for s in spreads], max(s.p99 for s in spreads)
    if max(medians) / min(medians) > LOG_FROM:
        return Scale(
            min(s.minimum for s in spreads) * 0.8, high * 1.2, LEFT, WIDTH - RIGHT, log=True
        )
    return Scale(0, _headroom(high), LEFT, WIDTH - RIGHT)


def _headroom(value: float) -> float:
    return value * 1.12 if value > 0 else 1.0


def _step(least: float) -> float:
    """Round up to the next of 1, 2, 5, 10 ... from `least` on."""
    decade = 10.0 ** math.floor(math.log10(least))
    return next(m * decade for m in (1, 2, 5, 10) if m * decade >= least * 0.999)


def _axis(scale: Scale, y: float, title: str) -> Markup:
    """Along the bottom, with its title behind the last tick."""
    parts = [_line(scale.start, y, scale.end, y, class_="line")]
    for value in scale.ticks():
        x = scale(value)
        parts.append(_line(x, TOP, x, y, class_="line"))
        parts.append(_text(x, y + 15, f"{value:g}", class_="soft tiny", text_anchor="middle"))
    end = _text((scale.start + scale.end) / 2, y + 29, title, class_="soft", text_anchor="middle")
    return element("g", *parts, end)


def _side_axis(scale: Scale, title: str, end: float) -> list[Markup]:
    parts = [_text(8.0, TOP + 4, title, class_="soft")]
    for value in scale.ticks():
        y = scale(value)
        parts.append(_line(60.0, y, end, y, class_="line"))
        parts.append(_text(54.0, y + 4, f"{value:g}", class_="soft tiny", text_anchor="end"))
    return parts


def _label(
    x: float, y: float, words: str, device_class: str, *, small: bool = False
) -> list[Markup]:
    """Draw a number and its class, framed; of no class, the number alone."""
    name = known(device_class)
    start = x + len(words) * (TINY if small else CHARACTER) + 8
    frame = element(
        "rect", x=start, y=y - 10, width=len(name) * TINY + 8, height=13, rx=5, class_="badge"
    )
    label = _text(start + 4, y, name, class_=f"{name} tiny")
    number_ = _text(x, y, words, class_="soft tiny") if small else _text(x, y, words)
    return [number_, element("g", frame, label, class_=name)] if name else [number_]


@dataclass(frozen=True)
class _Box:
    """Where a name stands in a plot: its left end, its line, and how wide it is."""

    x: float
    y: float
    width: float

    def is_beside(self, other: _Box) -> bool:
        """Tell whether two names would lie on one another if they stood on one line."""
        left, right = sorted((self, other), key=lambda box: box.x)
        return right.x - left.x < left.width


def _free(at: tuple[float, float], width: float, taken: list[_Box], floor: float) -> float:
    """Find where a name beside a point can stand without covering another, as near as possible."""
    wanted = _Box(at[0], at[1] - 2, width)
    lines = sorted(box.y for box in taken if box.is_beside(wanted))
    # The nearest free place is the wanted one, or right above or below a name.
    places = [wanted.y, *(y - STEP for y in lines), *(y + STEP for y in lines)]
    places.sort(key=lambda y: (abs(y - wanted.y), y))
    free = (y for y in places if TOP + 10 <= y <= floor - 16 and _is_free(y, lines))
    taken.append(replace(wanted, y=next(free, wanted.y)))
    return taken[-1].y


def _is_free(y: float, lines: Sequence[float]) -> bool:
    """Tell whether a line is a name's height from those in ascending `lines`."""
    after = bisect_left(lines, y)
    return all(abs(y - near) > STEP - 0.001 for near in lines[max(0, after - 1) : after + 1])


def _name(called: str, y: float) -> Markup:
    """Write a bundle and below it what computed it; all of it shows when pointed at."""
    bundle, _, delegate = called.partition(", ")
    shown = [_text(0.0, y - 5, _cut(bundle, CHARACTER))]
    if delegate:
        shown.append(_text(0.0, y + 6, _cut(delegate, TINY), class_="soft tiny"))
    return element("g", element("title", called), *shown)


def _cut(words: str, character: float) -> str:
    """Cut words where the room left of a drawing ends."""
    most = int((LEFT - 12) / character)
    return words if len(words) <= most else f"{words[: most - 1]}\u2026"


def _hue(target: str) -> str:
    return HUES.get(target, "c")


def _line(x1: float, y1: float, x2: float, y2: float, **more: Attribute) -> Markup:
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, **more)


def _text(x: float, y: float, words: str, **more: Attribute) -> Markup:
    return element("text", words, x=x, y=y, **more)


def _svg(height: float, title: str, parts: Sequence[Markup]) -> Markup:
    box = f"0 0 {WIDTH:g} {height:g}"
    return element("svg", element("title", title), *parts, viewBox=box, role="img")
