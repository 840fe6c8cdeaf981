"""Rows -> Markdown and drawings. Plain data only, so that precision.json can be rendered again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from profiles.lab.bench.table import RIGHT, markdown
from profiles.lab.precision.goals import COLUMNS, GOALS, NOISE, Column, Row, encoder_share, verdicts
from profiles.pages.html.charts import Mark, Side, plot
from profiles.pages.html.markup import STYLE, Markup, element
from profiles.tables import number

Data = Mapping[str, Any]
DRAWINGS = {"size": "precision-size.svg", "time": "precision-time.svg"}


def render(results: Data) -> str:
    """Render the whole page."""
    rows = results["rows"]
    whole = [row for row in rows if "agreement" in row]
    head = ["target", "precision", "MB", *(column.title for column in COLUMNS), "mIoU", "goals"]
    parts = [
        _heading(results, whole),
        "## Goals",
        _goals(),
        "## Rows",
        markdown(head, map(_cells, whole)),
        _missed(whole),
        "![mean IoU against the encoder's size](precision-size.svg)",
        "![mean IoU against the encoder's time](precision-time.svg)",
    ]
    failed = [row for row in rows if "agreement" not in row]
    if failed:
        reasons = ((row["name"], row.get("error") or row.get("skipped", "")) for row in failed)
        parts += ["## Not measured", markdown(["bundle", "why"], reasons)]
    return "\n\n".join(filter(None, parts)) + "\n"


def _heading(results: Data, rows: Sequence[Row]) -> str:
    machine = results["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    stale = sum(row["stale"] for row in results["rows"])
    masks, scenes = (max((row[name] for row in rows), default=0) for name in ("masks", "scenes"))
    lines = [
        "# What each precision keeps, and what it saves",
        "",
        f"The embedded demo model on {scenes} scenes that it was neither trained nor calibrated "
        f"on, {masks} masks: every object by box, deepest point, any point, three points, and its "
        "mask fed back with a background point. Whole bundles, as an app runs them: the decoder is "
        "in the precision that `sam-export` gives it.",
        "",
        "- mean IoU, 1st percentile, worst mask, another mask chosen: against the float32 masks of "
        "the ONNX bundle; points of mIoU lost: hundredths of the mean IoU with the objects, which "
        "are known, under the reference's; mIoU: that mean",
        "- the encoder's size and time are over those of the same target in fp32: **below 1 is "
        "smaller, faster**. Times are medians of the ratios of calls in turns, in one process. "
        "**Host timings, not phone timings**, beside whatever else ran there; Core ML's graphs run "
        "in an interpreter here, whose time means nothing",
        "",
        f"- {len(results['rows'])} of {results['planned']} rows are measured; {stale} of them are "
        "stale: measured before the last change of their sources or tools",
        f"- command of the last run: `{results['command']}`, {results['date']} (UTC)",
        f"- machine: {machine['cpu']}, {machine['cores']} cores, {machine['system']}",
        f"- versions: {versions}",
    ]
    return "\n".join(lines)


def _goals() -> str:
    titles = {column.name: column for column in COLUMNS}
    body = [
        [precision, *(_bound(titles[name], goals[name]) for name in titles if name in goals)]
        for precision, goals in GOALS.items()
    ]
    head = ["precision", *(titles[name].title for name in titles if name in GOALS["int8"])]
    note = f"A time that is longer by at most {NOISE - 1:.0%} is as long: the machine's noise."
    return f"{markdown(head, body)}\n\n{note}"


def _bound(column: Column, goal: Any) -> str:
    word = "at least" if goal.better == "higher" else "at most"
    return f"{word} {column.form.format(goal.bound)}"


def _cells(row: Row) -> list[str]:
    judged = verdicts(row)
    sizes = " + ".join(number(size / 1e6) for size in row["bytes"].values())
    cells = [_cell(column, row, judged.get(column.name)) for column in COLUMNS]
    share = f"{sum(judged.values())} of {len(judged)} met" if judged else ""
    stale = " (stale)" if row["stale"] else ""
    mean = f"{row['truth_iou']:.4f}"
    return [row["target"] + stale, row["precision"], sizes, *cells, mean, share]


def _cell(column: Column, row: Row, met: bool | None) -> str:  # noqa: FBT001
    value = column.value_of(row)
    if value is None:
        return ""
    shown = column.form.format(value)
    return shown if met is None else f"{shown} {RIGHT[met]}"


def _missed(rows: Sequence[Row]) -> str:
    titles = {column.name: column.title for column in COLUMNS}
    under = {
        row["name"]: [titles[name] for name, met in verdicts(row).items() if not met]
        for row in rows
    }
    missed = [f"- {name}: {', '.join(those)}" for name, those in under.items() if those]
    return "\n".join(["Missed:", "", *missed]) if missed else "Every goal is met."


def drawings(results: Data) -> dict[str, str]:
    """Draw mean IoU against the encoder's size and time: file name -> SVG."""
    rows = [row for row in results["rows"] if row.get("agreement")]
    timed = [row for row in rows if row["ratios"]]
    sizes = _draw(rows, "encoder's size, of fp32's", encoder_share)
    times = _draw(timed, "encoder's time on this host with 1 thread, of fp32's", _one_thread)
    return {DRAWINGS["size"]: sizes, DRAWINGS["time"]: times}


def _one_thread(row: Row) -> float:
    return float(row["ratios"]["1"]["image_encoder"])


def _draw(rows: Sequence[Row], across: str, value_of: Callable[[Row], float]) -> str:
    marks = [
        Mark(
            row["name"].removeprefix("demo-"),
            row["target"],
            "",
            f"{value_of(row):.3f}, IoU {row['agreement']['mean_iou']:.4f}",
            (value_of(row), row["agreement"]["mean_iou"]),
        )
        for row in rows
    ]
    low = min((mark.at[1] for mark in marks), default=0.99)
    most = max((mark.at[0] for mark in marks), default=1.0)
    up = Side("mean IoU with float32", low - 0.1 * (1 - low) - 1e-4, 1.0)
    return alone(plot(marks, f"mean IoU against {across}", Side(across, 0, 1.1 * most), up))


def alone(svg: Markup) -> str:
    """Make a file of a drawing: it brings the page's colours along."""
    style = element("style", Markup(STYLE))
    head, _, rest = svg.partition(">")
    return f'{head} xmlns="http://www.w3.org/2000/svg">{style}{rest}\n'
