"""Rows -> Markdown. Plain data only, so that a stored matrix.json can be rendered again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from exporter.listing import three_digits
from exporter.precision import load_precision
from profiles.lab.bench.table import markdown
from profiles.lab.matrix.goals import GOALS, PARITY, misses
from profiles.lab.matrix.jobs import FILLED
from runtimes.measures import LAST_IOU, MEMORY_SENSITIVITY

Data = Mapping[str, Any]

FIGURES = (
    ("PSNR dB", "psnr_db", "{:.1f}"),
    ("worst error", "worst_error", "{:.1e}"),
    ("mask IoU", "mask_iou", "{:.4f}"),
    ("prompt sensitivity", "prompt_sensitivity", "{:.3f}"),
)
UNEXPLAINED = "not explained"
HEAD = (
    "variant",
    "target",
    "precision",
    "elapsed s",
    "processor s",
    "peak GB",
    "MB by graph",
    "operations",
    "highest rank",
    "whole in Core ML",
    *(title for title, _, _ in FIGURES),
    "goals",
)


def render(results: Data) -> str:
    """Render the whole page."""
    rows = results["rows"]
    parts = [_heading(results), "## Exports", markdown(HEAD, map(_cells, rows)), _notes(rows)]
    return "\n\n".join([*parts, "## Missed goals", _miss_lines(rows), _operations(rows)]) + "\n"


def _heading(results: Data) -> str:
    rows, machine = results["rows"], results["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    stale = sum(row["stale"] for row in rows)
    goals = "\n".join(f"- {goal.name}: {goal.text}" for goal in GOALS)
    lines = [
        "# Every variant in every format and precision",
        "",
        "**Weights are filled, not trained**, unless the row says otherwise: random numbers of "
        "plausible size, with batch norms that magnify no rounding "
        "(`profiles/lab/matrix/fill.py`). So fp32 figures prove the lowering, and fp16 figures "
        "that float16 holds where activations are of size 1, but **fp16 figures say nothing of "
        "trained weights**, whose activations are of other sizes, and in **fewer bits all figures "
        "say nothing of accuracy**: masks of filled weights are noise, so no floor of masks is "
        "judged there. That everything lowers, runs, follows its prompts and stays finite is. "
        "Sizes, operations, ranks and memory do not depend on the weights.",
        "",
        "**Host timings, not phone timings**: what an export takes on the machine below, from "
        "weights in memory to a checked bundle, beside whatever else ran there. Processor time and "
        "memory are the whole process's, with its filling and its check; what torch gives for a "
        "picture is run once for all rows of a variant, and its time counts in each.",
        "",
        f"- {len(rows)} of {results['planned']} exports are measured; {stale} of them are stale: "
        "measured before the last change of their sources or tools",
        f"- command of the last run: `{results['command']}`, {results['date']} (UTC)",
        f"- machine: {machine['cpu']}, {machine['cores']} cores, {machine['system']}; an export "
        f"that holds more than {results['limit_gb']:g} GB is stopped",
        f"- versions: {versions}",
        "",
        "Goals of every graph:",
        "",
        goals,
        f"- {PARITY}: every figure reaches the floor that `sam-export` holds it to",
    ]
    return "\n".join(lines)


def _cells(row: Data) -> list[str]:
    graphs = row.get("graphs", [])
    facts = [graph.get("facts", {}) for graph in graphs]
    figures = _figures(row)
    return [
        _name(row) + (" (stale)" if row["stale"] else ""),
        row["target"],
        row["precision"] + _mark(row),
        _number(row.get("seconds"), "{:.0f}"),
        _number(row.get("cpu_s"), "{:.0f}"),
        _number(row.get("peak_gb"), "{:.1f}"),
        " + ".join(three_digits(graph["bytes"] / 1e6) for graph in graphs),
        " + ".join(str(sum(f["operations"].values())) for f in facts if f),
        ", ".join(str(f["max_rank"]) for f in facts if f),
        _whole(facts),
        *(_number(figures.get(name), form) for _, name, form in FIGURES),
        _verdict(row),
    ]


def _name(row: Data) -> str:
    return f"{row['variant']}, video" if row.get("video") else str(row["variant"])


def _mark(row: Data) -> str:
    judged = load_precision(row["precision"]).judged
    return " (filled)" if judged and row.get("weights", FILLED) == FILLED else ""


def _figures(row: Data) -> dict[str, float]:
    """Pick the worst figures of the last graph's first output: its masks, if it gives masks.

    Of a bundle that follows objects, those of the masks of its chain of frames.
    """
    parity = row.get("parity", ())
    if not parity:
        return {}
    if row.get("video"):
        chain = {f["measure"]: f["value"] for f in parity if f["graph"] == "video"}
        known = {name: chain[name] for name in ("psnr_db", "worst_error") if name in chain}
        return known | {
            "mask_iou": chain[LAST_IOU],
            "prompt_sensitivity": chain[MEMORY_SENSITIVITY],
        }
    graph = row["graphs"][-1]["spec"]
    output = graph["outputs"][0]["name"]
    chosen = [f for f in parity if (f["graph"], f["output"]) == (graph["name"], output)]
    return {figure["measure"]: figure["value"] for figure in chosen}


def _number(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)


def _whole(facts: Sequence[Data]) -> str:
    found: dict[str, int] = {}
    for one in facts:
        for name, number in one.get("whole", {}).items():
            found[name] = found.get(name, 0) + number
    return ", ".join(f"{name} {number}" for name, number in found.items())


def _verdict(row: Data) -> str:
    for kind in ("error", "skipped"):
        if kind in row:
            return kind if kind == "skipped" else "FAILED"
    missed = sorted({miss.goal for miss in misses(row)})
    return f"misses {', '.join(missed)}" if missed else "met"


def _notes(rows: Sequence[Data]) -> str:
    weights = {row["variant"]: row.get("weights", FILLED) for row in rows}
    others = {f"{name}: {kind}" for name, kind in weights.items() if kind != FILLED}
    lines = [
        "PSNR, worst error and mask IoU are of the last graph's first output (`low_res_masks` of a "
        "mask decoder) against float32 torch, the worst golden case; all others are in "
        "matrix.json. Of a bundle that follows objects, they are of its chain of ten frames: the "
        "masks' PSNR, the worst error of the object's score, the mask's IoU in the last frame, and "
        "whether another bank moves the mask as far as in torch. `scaled_dot_product_attention` "
        "is an operation of iOS 18; these packages are "
        "for iOS 16 and later, so it is taken apart in them.",
        *(f"Other weights: {line}." for line in sorted(others)),
    ]
    return "\n\n".join(lines)


def _miss_lines(rows: Sequence[Data]) -> str:
    """Write one line for all exports that miss the same goal in the same way and for one reason."""
    lines: dict[tuple[str, str, str, str], list[str]] = {}
    for row in rows:
        for kind in ("error", "skipped"):
            if kind in row:
                lines.setdefault((kind, "", row[kind], row[kind]), []).append(row["name"])
        for miss in misses(row):
            key = (miss.goal, miss.graph, miss.what, miss.why or UNEXPLAINED)
            lines.setdefault(key, []).append(row["name"])
    if not lines:
        return "None."
    body = [
        [", ".join(names), goal, graph, what, "" if why == what else why]
        for (goal, graph, what, why), names in lines.items()
    ]
    return markdown(["export", "goal", "graph", "what", "why"], body)


def _operations(rows: Sequence[Data]) -> str:
    """Write counts by type; exports with the same counts share a line."""
    lines: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        for graph in row.get("graphs", ()):
            if "facts" in graph:
                counts = json.dumps(graph["facts"]["operations"])
                lines.setdefault((graph["spec"]["name"], counts), []).append(row["name"])
    body = [
        [", ".join(names), graph, _by_type(json.loads(counts))]
        for (graph, counts), names in lines.items()
    ]
    head = "## Operations by type\n\nAs the files state them; constants are not counted.\n\n"
    return head + markdown(["export", "graph", "operations"], body)


def _by_type(counts: Mapping[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{name} {number}" for name, number in ordered)
