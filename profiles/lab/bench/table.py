"""Results -> Markdown. Reads plain data only, so that a stored bench.json can be rendered again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from profiles.lab.bench.rows import FRAME, LOWERINGS, NEXT, NEXT_SHARE, OURS, PLAIN, PUBLISHED
from profiles.lab.bench.speed import TurnPlan, ratios

TITLES = {
    PUBLISHED: "published code, torch eager",
    OURS: "ours, torch eager",
    "onnx": "ours, ONNX Runtime",
    "tflite": "ours, LiteRT",
    PLAIN["onnx"]: "plain export, ONNX Runtime",
    PLAIN["tflite"]: "plain export, LiteRT",
}
LARGEST = 8
"""Operations that a breakdown names one by one."""
BUSY = 1.0
"""Load average at the start above which other work may have disturbed the times."""

FRAMES = (
    " A tracked frame is the five graphs of a bundle as one, with a full bank and one object; of "
    "the published side, the image encoder is our modules before anything is folded, in eager "
    "torch, and the two heads that read a few tokens are left out."
)

RIGHT = {True: "met", False: "MISSED"}
Data = Mapping[str, Any]


def render(results: Data) -> str:
    """Render the whole page."""
    parts = [_heading(results)]
    parts += [f"**Failed**: {line}" for line in results.get("failed", ())]
    if results.get("speed"):
        rows = results["speed"]
        parts += [_speed(rows), _times(rows), _plain(rows), *_next(rows)]
    if results.get("memory"):
        parts.append(_memory(results["memory"]))
    if results.get("operations"):
        parts.append(_operations(results["operations"]))
    parts += [_breakdown(row) for row in results.get("breakdown", ())]
    if results.get("export"):
        parts.append(_export(results["export"]))
    if results.get("startup"):
        parts.append(_startup(results["startup"]))
    return "\n\n".join(parts) + "\n"


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Format a table; a bar in a cell is escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(c.replace('|', chr(92) + '|') for c in r)} |" for r in lines)


def verdict(ratio: float, goal: float | None) -> str:
    """Format a ratio: `2.91x (goal 2.7x: met)`, judged before rounding."""
    shown = f"{ratio:.2f}x"
    return shown if goal is None else f"{shown} (goal {goal:g}x: {RIGHT[ratio >= goal]})"


def _heading(results: Data) -> str:
    machine = results["machine"]
    load = machine["load_average"]
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    lines = [
        "# Measured speed, operations and cost of exports",
        "",
        "**Host timings, not phone timings**: a desktop or server processor ran everything here.",
        "",
        f"- command: `{results['command']}`",
        f"- date: {results['date']} (UTC)",
        f"- machine: {machine['cpu']}, {machine['cores']} cores, {machine['system']}; "
        f"load average at the start {', '.join(f'{v:.2f}' for v in load)}",
        f"- versions: {versions}",
    ]
    if load[0] > BUSY and any(row.get("clock") == "processor" for row in results.get("speed", ())):
        lines += [
            "",
            f"Other work had the machine too (load average {load[0]:.2f}), so times are processor "
            "time of one thread, which that disturbs the least: ratios of elapsed time with two "
            "threads on an idle machine may differ.",
        ]
    elif load[0] > BUSY:
        lines += [
            "",
            f"**Warning: the machine was busy (load average {load[0]:.2f}, above {BUSY:g}) when "
            "this began. Take the figures again on an idle one before you quote them.**",
        ]
    return "\n".join(lines)


def _cell(row: Data, ratio: Mapping[str, float], key: str) -> str:
    if key in ratio:
        return verdict(ratio[key], row["goals"].get(key))
    return "does not lower" if key in row["notes"] else ""


def _speed(rows: Sequence[Data]) -> str:
    pause_s = rows[0].get("pause_s", TurnPlan.pause_s)
    body = []
    for row in rows:
        ratio = ratios(row["samples_ms"])
        body.append([row["row"], *(_cell(row, ratio, key) for key in TITLES)])
    notes = [f"- {r['row']}, {TITLES[k]}: `{why}`" for r in rows for k, why in r["notes"].items()]
    opset = next((r["plain_opset"] for r in rows if r["plain_opset"]), None)
    text = [
        "## Speed",
        "",
        "Times the speed of the published code (higher is faster): float32, the same random "
        f"weights, {_clock(rows[0])}, all contenders of a graph in one process and in turns, "
        f"{1e3 * pause_s:.0f} ms apart, the minimum of each divided by the minimum of each. Both "
        'sides normalise the image. The decoder has 3 points and SAM\'s "not a point" token: the '
        "published call takes these 4, ours has 8 static slots."
        + (FRAMES if any(row["row"].endswith(FRAME) for row in rows) else ""),
        "",
        markdown(["graph", *TITLES.values()], body),
        "",
        "A plain export is `torch.onnx.export(dynamo=True)` in its default opset"
        f"{f' ({opset})' if opset else ''} or litert_torch's conversion of the published code, "
        "with nothing changed.",
    ]
    return "\n".join([*text, *(["", "What does not lower:", "", *notes] if notes else [])])


def _times(rows: Sequence[Data]) -> str:
    def show(row: Data, key: str) -> str:
        values = row["samples_ms"].get(key)
        return f"{min(values):.1f}" if values else ""

    body = [
        [row["row"], f"{row['rounds']} x {row['calls']}", *(show(row, key) for key in TITLES)]
        for row in rows
    ]
    head = ["graph", "rounds x calls", *TITLES.values()]
    return "Minimum of all calls, ms (lower is faster):\n\n" + markdown(head, body)


def _plain(rows: Sequence[Data]) -> str:
    body = []
    for row in rows:
        for ours in LOWERINGS:
            plain = PLAIN[ours]
            if plain in row["samples_ms"]:
                ratio = ratios(row["samples_ms"], against=plain)[ours]
                body.append([row["row"], TITLES[ours], verdict(ratio, 1.0)])
            elif plain in row["notes"]:
                body.append([row["row"], TITLES[ours], "the published code does not lower"])
    text = "Against the plain export in the same runtime (higher is faster):\n\n"
    return text + markdown(["graph", "contender", "times the plain export's speed"], body)


def _clock(row: Data) -> str:
    processor = row.get("clock") == "processor"
    return "processor time of one thread" if processor else f"{row['threads']} threads"


def _next(rows: Sequence[Data]) -> list[str]:
    """Show what a frame's second object costs; empty if no row has one."""
    body = []
    for row in rows:
        for first, following in NEXT.items():
            if following in row["samples_ms"]:
                # Both are times: the next object's over the first one's.
                share = ratios(row["samples_ms"], against=following)[first]
                cell = f"{share:.2f} (goal {NEXT_SHARE:g}: {RIGHT[share <= NEXT_SHARE]})"
                body.append([row["row"], TITLES[first], cell])
    if not body:
        return []
    text = (
        "A frame's second object takes the first one's `query`; its memory attention costs, of "
        "the first one's (lower is better):\n\n"
    )
    return [text + markdown(["graph", "contender", "share"], body)]


def _memory(peaks: Sequence[Data]) -> str:
    body = []
    for peak in peaks:
        goal, found = peak["goals"].get(peak["contender"]), peak["peak_mb"]
        shown = f"{found:.0f} MB" if goal is None else _within(found, goal, "MB")
        body.append([peak["row"], TITLES[peak["contender"]], shown])
    text = (
        "## Memory\n\nWhat loading the graph and running it once adds at most to a process that "
        "has imported the runtime, two threads:\n\n"
    )
    return text + markdown(["graph", "contender", "peak"], body)


def _operations(counts: Sequence[Data]) -> str:
    body = []
    for count in counts:
        types = sorted(count["operations"].items(), key=lambda item: (-item[1], item[0]))
        outside = count["outside"]
        body.append(
            [
                count["row"],
                count["file"],
                str(sum(count["operations"].values())),
                str(count["max_rank"]),
                "" if count["partitions"] is None else str(count["partitions"]),
                "" if outside is None else _list(outside) or "0",
                ", ".join(f"{name} {number}" for name, number in types),
            ]
        )
    head = ["graph", "file", "operations", "highest rank", "XNNPACK partitions"]
    table = markdown([*head, "outside XNNPACK", "by type"], body)
    return (
        "## Operations\n\nAs the files state them; ONNX Runtime and XNNPACK fuse some when they "
        f"load one. Constants are not counted.\n\n{table}"
    )


def _list(outside: Mapping[str, int]) -> str:
    types = ", ".join(f"{name} {number}" for name, number in outside.items())
    return f"{sum(outside.values())} ({types})" if outside else ""


def _breakdown(row: Data) -> str:
    """Show where the time goes: by kind of operation, then the largest kinds and shapes."""
    operations = row["operations"]
    total = sum(one["count"] * one["ms"] for one in operations)
    kinds: dict[str, list[Data]] = {}
    for one in operations:
        kinds.setdefault(one["kind"], []).append(one)
    body = sorted((_share(kind, ones, total) for kind, ones in kinds.items()), key=_by_time)
    largest = sorted(operations, key=lambda one: one["count"] * one["ms"], reverse=True)[:LARGEST]
    each = [
        [
            f"{one['kind']} {one['shapes']}",
            str(one["count"]),
            f"{one['ms']:.2f}",
            f"{one['gflop'] / one['ms'] * 1e3:.0f}" if one["gflop"] else "",
        ]
        for one in largest
    ]
    threads = f"{row['threads']} thread{'' if row['threads'] == 1 else 's'}"
    return "\n\n".join(
        [
            f"## Where the time goes: {row['row']}, LiteRT",
            f"float32, {threads}, each operation as a file of its own, processor time of its "
            f"fastest call. Together they take {total:.1f} ms, the whole graph "
            f"{row['whole_ms']:.1f} ms.",
            markdown(["operations", "number", "ms", "share", "GFLOP/s"], body),
            "The largest, with the shapes they read and write:",
            markdown(["operation", "number", "ms each", "GFLOP/s"], each),
        ]
    )


def _share(kind: str, ones: Sequence[Data], total: float) -> list[str]:
    ms = sum(one["count"] * one["ms"] for one in ones)
    gflop = sum(one["count"] * one["gflop"] for one in ones)
    rate = f"{gflop / ms * 1e3:.0f}" if gflop else ""
    number = str(sum(one["count"] for one in ones))
    return [kind, number, f"{ms:.2f}", f"{100 * ms / total:.1f} %", rate]


def _by_time(cells: Sequence[str]) -> float:
    return -float(cells[2])


def _export(costs: Sequence[Data]) -> str:
    body = [
        [
            f"`{cost['command']}`",
            _within(cost["cpu_s"], cost["cpu_s_limit"], "s"),
            _within(cost["peak_gb"], cost["peak_gb_limit"], "GB"),
            f"{cost['wall_s']:.1f} s",
        ]
        for cost in costs
    ]
    head = ["command", "processor time", "peak resident memory", "elapsed"]
    return (
        "## Cost of an export\n\nOf all three bundles with their parity checks, from a checkpoint "
        "with random weights. Processor time is user and system time of every process; memory is "
        f"the largest process's.\n\n{markdown(head, body)}"
    )


def _startup(costs: Sequence[Data]) -> str:
    body = []
    for cost in costs:
        middle = sorted(cost["wall_s"])[len(cost["wall_s"]) // 2]
        body.append([f"`{cost['command']}`", _within(middle, cost["wall_s_limit"], "s")])
    head = ["command", "elapsed, median"]
    return f"## Start-up\n\n{markdown(head, body)}"


def _within(value: float, limit: float, unit: str) -> str:
    return f"{value:.2f} {unit} (limit {limit:g} {unit}: {RIGHT[value <= limit]})"
