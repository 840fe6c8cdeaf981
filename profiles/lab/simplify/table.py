"""Rows -> Markdown. Plain data only, so that a stored onnxsim.json can be rendered again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from exporter.listing import three_digits
from profiles.lab.bench.speed import THREADS
from profiles.lab.bench.table import markdown
from profiles.lab.simplify.measure import CONTROL, FEWEST, HEAVY, MOST, RAW, SIMPLIFIED

Data = Mapping[str, Any]

HEAD = (
    "variant",
    "precision",
    "graph",
    "nodes",
    "nodes once loaded",
    "MB",
    "rounds",
    "fastest call, ms",
    "latency: minimum",
    "latency: median",
    "control: minimum",
    "control: median",
    "difference",
    "PSNR dB",
)
SUMMARY = (
    "graph",
    "graphs timed",
    "latency: minimum",
    "latency: median",
    "control: minimum",
    "control: median",
    "nodes",
    "bytes",
    "largest difference",
)


def render(results: Data) -> str:
    """Render the whole page."""
    graphs = [(row, graph) for row in results["rows"] for graph in row.get("graphs", ())]
    whole = [(row, graph) for row, graph in graphs if "parity" in graph]
    parts = [
        _heading(results),
        "## By kind of graph",
        markdown(SUMMARY, _summary([graph for _, graph in whole])),
        "Median over the graphs, and in brackets the least and the largest.",
        "## Every graph",
        markdown(HEAD, (_cells(row, graph) for row, graph in whole)),
        "## Operations that onnxsim adds and removes",
        "An operation with a dot in its name is not a standard one: only ONNX Runtime has it.",
        _changes(whole),
        "## Not measured",
        _failures(results["rows"]),
    ]
    return "\n\n".join(parts) + "\n"


def ratios(samples: Mapping[str, Sequence[float]], contender: str) -> tuple[float, float] | None:
    """Divide a contender's time by the raw file's: below 1 is faster. None if it was not timed.

    Returns:
        Ratio of the fastest calls, and median of the rounds' ratios: load that slows a whole round
        cancels out of the median.
    """
    if contender not in samples:
        return None
    own, raw = samples[contender], samples[RAW]
    return min(own) / min(raw), median(a / b for a, b in zip(own, raw, strict=True))


def _heading(results: Data) -> str:
    rows, machine = results["rows"], results["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    stale = sum(row["stale"] for row in rows)
    lines = [
        "# What onnxsim does to the ONNX files",
        "",
        "Every variant's ONNX graphs as `sam-export` writes them, beside the same graphs after "
        "`onnxsim.simplify` with its defaults; nothing that is exported goes through it. Weights "
        "are filled, not trained (`profiles/lab/matrix/fill.py`); neither nodes nor times depend "
        "on them.",
        "",
        "- nodes, MB: before and after. *Once loaded*: nodes that ONNX Runtime runs after its own "
        "optimisation; empty for files above 2 GB",
        "- latency: time of the simplified graph over the raw one, **below 1 is faster**; minimum: "
        "fastest call over fastest call; median: of the ratio in each round",
        "- control: the same ratios for a second session of the *raw* file, so what this machine's "
        f"noise alone gives; empty if a graph takes more than {HEAVY / 1e9:g} GB, and there memory "
        "is given back after each call",
        f"- a round is one call of each, in turn, in one process with {THREADS} threads; {FEWEST} "
        f"to {MOST} rounds, as the time allows. **Host timings, not phone timings**, beside "
        "whatever else ran there",
        "- difference: largest |simplified - raw| over the largest |raw|, worst output and golden "
        "case; PSNR: of each file against float32 torch, worst output and case",
        "",
        f"- {len(rows)} of {results['planned']} rows are measured; {stale} of them are stale: "
        "measured before the last change of their sources or tools",
        f"- command of the last run: `{results['command']}`, {results['date']} (UTC)",
        f"- machine: {machine['cpu']}, {machine['cores']} cores, {machine['system']}; a step that "
        f"holds more than {results['limit_gb']:g} GB is stopped",
        f"- versions: {versions}",
    ]
    return "\n".join(lines)


def _cells(row: Data, graph: Data) -> list[str]:
    samples = graph.get("samples_ms", {})
    return [
        row["variant"] + (" (stale)" if row["stale"] else ""),
        row["precision"],
        graph["name"],
        _both(_nodes(graph["operations"]), str),
        _both(_nodes(graph["loaded"]), str),
        _both({file: size / 1e6 for file, size in graph["bytes"].items()}, three_digits),
        str(len(samples[RAW])) if samples else "",
        three_digits(min(samples[RAW])) if samples else "",
        *_shown(ratios(samples, SIMPLIFIED)),
        *_shown(ratios(samples, CONTROL)),
        f"{_difference(graph):.1e}",
        _both(_psnr(graph), "{:.1f}".format),
    ]


def _nodes(operations: Mapping[str, Mapping[str, int] | None]) -> dict[str, int]:
    """Count nodes by file; without files whose nodes are unknown."""
    return {file: sum(types.values()) for file, types in operations.items() if types is not None}


def _both(values: Mapping[str, Any], form: Any) -> str:
    return f"{form(values[RAW])}, {form(values[SIMPLIFIED])}" if len(values) == 2 else ""


def _shown(pair: tuple[float, float] | None) -> list[str]:
    return ["", ""] if pair is None else [f"{ratio:.3f}" for ratio in pair]


def _difference(graph: Data) -> float:
    worst: float = max(figures["difference"] for figures in graph["parity"].values())
    return worst


def _psnr(graph: Data) -> dict[str, float]:
    """Worst output's decibels by file."""
    every = [figures["psnr_db"] for figures in graph["parity"].values()]
    return {file: min(one[file] for one in every) for file in (RAW, SIMPLIFIED)}


def _summary(graphs: Sequence[Data]) -> Iterator[list[str]]:
    for name in sorted({graph["name"] for graph in graphs}):
        own = [graph for graph in graphs if graph["name"] == name]
        timed = [graph["samples_ms"] for graph in own if "samples_ms" in graph]
        latency = [ratios(samples, SIMPLIFIED) for samples in timed]
        control = [ratios(samples, CONTROL) for samples in timed]
        nodes = [_nodes(graph["operations"]) for graph in own]
        yield [
            name,
            str(len(timed)),
            *(_spread(pair[i] for pair in latency if pair) for i in (0, 1)),
            *(_spread(pair[i] for pair in control if pair) for i in (0, 1)),
            _spread(one[SIMPLIFIED] / one[RAW] for one in nodes),
            _spread(graph["bytes"][SIMPLIFIED] / graph["bytes"][RAW] for graph in own),
            f"{max(map(_difference, own)):.1e}",
        ]


def _spread(values: Iterable[float]) -> str:
    """Write a median with its range: `0.998 (0.971 to 1.024)`."""
    every = list(values)
    if not every:
        return ""
    return f"{median(every):.3f} ({min(every):.3f} to {max(every):.3f})"


def _changes(graphs: Iterable[tuple[Data, Data]]) -> str:
    """Write the changes; graphs with the same ones share a line."""
    lines: dict[tuple[str, str], list[str]] = {}
    for row, graph in graphs:
        before, after = graph["operations"][RAW], graph["operations"][SIMPLIFIED]
        changed = {
            name: after.get(name, 0) - before.get(name, 0)
            for name in sorted({*before, *after})
            if after.get(name, 0) != before.get(name, 0)
        }
        key = (graph["name"], json.dumps(changed))
        lines.setdefault(key, []).append(row["name"].replace("-onnx-", " "))
    body = [
        [", ".join(names), graph, ", ".join(f"{k} {v:+d}" for k, v in json.loads(changed).items())]
        for (graph, changed), names in lines.items()
    ]
    return markdown(["export", "graph", "operations"], body)


def _failures(rows: Iterable[Data]) -> str:
    lines = [
        f"- {' '.join(dict.fromkeys([row['name'], one['name']]))}: {one[kind]}"
        for row in rows
        for one in (row, *row.get("graphs", ()))
        for kind in ("error", "skipped")
        if kind in one
    ]
    return "\n".join(lines) or "Nothing failed, and nothing needed too much memory."
