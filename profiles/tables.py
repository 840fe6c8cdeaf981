"""Plain text tables, for a terminal. Every time stands beside the class of its device."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from exporter.printable import one_line, printable
from profiles.numbers.budget import Judged
from profiles.numbers.compare import Comparison
from profiles.numbers.statistics import Spread
from profiles.numbers.summary import Summary
from profiles.numbers.verdicts import HEAD, Verdict, verdicts
from profiles.schema import Profile
from runtimes.device import UNKNOWN, DeviceFacts, Listed

NOTHING = "-"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns as wide as their longest cell; what came from a device or a file, on one line."""
    lines = [tuple(head), *(tuple(map(printable, row)) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    padded = ("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) for line in lines)
    return "\n".join(line.rstrip() for line in padded)


def measured(summaries: Sequence[Summary]) -> str:
    """Show what a measurement found, by device: graphs, what a user feels, remarks."""
    devices = dict.fromkeys(f"{s.device} ({s.device_name})" for s in summaries)
    parts = []
    for device in devices:
        own = [s for s in summaries if f"{s.device} ({s.device_name})" == device]
        marks = [
            one_line(f"{s.called}: {mark}") for s in own for mark in (*s.marks, *cold_loads(s))
        ]
        parts += [
            one_line(f"{device}:"),
            _timed(own),
            felt(own),
            *(["\n".join(marks)] if marks else []),
        ]
    return "\n\n".join(parts)


def placements(profiles: Sequence[Profile]) -> str:
    """Show what computes each bundle on each device: parity, times, and why one is refused."""
    devices = dict.fromkeys(p.device.device for p in profiles)
    parts = []
    for device in devices:
        rows = [
            placement_cells(v) for v in verdicts([p for p in profiles if p.device.device == device])
        ]
        parts += [one_line(f"{device}: placements"), table(HEAD, rows)] if rows else []
    return "\n\n".join(parts)


def placement_cells(v: Verdict) -> tuple[str, ...]:
    """Write a verdict's row, as `HEAD` names the columns."""
    mark = f" {v.device_class}" if v.graphs else ""
    graphs = ", ".join(f"{name} {with_interval(ms)}" for name, ms in v.graphs.items())
    return (
        v.bundle,
        f"{v.placement}{' (fastest)' if v.fastest else ''}",
        v.parity,
        f"{graphs or NOTHING}{mark}",
        with_interval(v.click_ms),
        with_interval(v.first_mask_ms),
        v.refused or NOTHING,
    )


def _timed(summaries: Sequence[Summary]) -> str:
    head = ("bundle", "class", "delegate", "graph", "p50 ms (95 %)", "p90", "p99", "first", "load")
    rows = []
    for s in summaries:
        for graph in s.graphs:
            cells = _graph_cells(graph.ms, graph.first_ms, graph.load_ms)
            rows.append((s.bundle, s.device_class, s.delegate, graph.graph, *cells))
    return table(head, rows)


def cold_loads(s: Summary) -> Iterable[str]:
    """Say what the first load of each graph took, where the device compiles it."""
    for graph in s.graphs:
        if graph.cold_load_ms is not None:
            yield (
                f"the first load of {graph.graph} on the device, which compiles it, took "
                f"{number(graph.cold_load_ms)} ms; later ones {number(graph.load_ms)}"
            )


def felt(summaries: Sequence[Summary]) -> str:
    """First mask, click and memory of each bundle on one device."""
    head = (
        "id",
        "bundle",
        "class",
        "delegate",
        "first mask ms",
        "click ms",
        "peak MB",
        "bundle MB",
    )
    rows = [
        (
            s.id,
            s.bundle,
            s.device_class,
            s.delegate,
            with_interval(s.first_mask_ms),
            with_interval(s.click_ms),
            number(s.peak_mb),
            number(s.bundle_mb),
        )
        for s in summaries
    ]
    return table(head, rows)


def listing(profiles: Sequence[Profile]) -> str:
    """`sam-bench list`."""
    head = ("id", "created", "class", "device", "model", "bundle", "delegate", "repeats", "label")
    return table(
        head,
        [
            (
                p.id,
                p.created.replace("+00:00", "Z"),
                p.device.device_class,
                p.device.device,
                p.device.model or p.device.soc or NOTHING,
                p.bundle.name,
                p.method.delegate,
                str(len(p.repeats)),
                p.label or NOTHING,
            )
            for p in profiles
        ],
    )


def reclassed(changed: Sequence[tuple[Profile, Profile]]) -> str:
    """`sam-bench reclass`: what was of which class, is of which now, and why."""
    rows = [tuple(reclassed_data(pair).values()) for pair in changed]
    return table(("id", "device", "model", "bundle", "was", "is", "because"), rows)


def reclassed_data(pair: tuple[Profile, Profile]) -> dict[str, str]:
    """Collect one reclassed profile as plain data."""
    before, after = pair
    device = after.device
    return {
        "id": after.id,
        "device": device.device,
        "model": f"{device.manufacturer} {device.model}".strip() or NOTHING,
        "bundle": after.bundle.name,
        "was": before.device.device_class,
        "is": device.device_class,
        "because": device.class_reason,
    }


def comparison(found: Comparison) -> str:
    """`sam-bench compare`."""
    a, b = found.a, found.b
    title = (
        f"A {a.id} {a.bundle.name}, B {b.id} {b.bundle.name}; on {printable(b.device.device)} "
        f"({b.device.device_class})"
    )
    head = ("what", "unit", "A", "B", "B / A", "95 % interval", "effect", "repeats", "verdict")
    rows = [
        (
            c.what,
            c.unit,
            number(c.before),
            number(c.after),
            f"{c.ratio:.3f}",
            f"{c.low:.3f}..{c.high:.3f}" if c.delta is not None else "exact",
            f"{c.delta:+.2f}" if c.delta is not None else NOTHING,
            str(c.repeats) if c.repeats else NOTHING,
            c.verdict,
        )
        for c in found.changes
    ]
    flags = (one_line(f"note: {flag}") for flag in found.flags)
    return "\n".join([one_line(title), table(head, rows), *flags])


def budget(rows: Sequence[Judged]) -> str:
    """`sam-bench check`."""
    head = ("bundle", "delegate", "device", "class", "limit", "measured", "at most", "verdict")
    return table(
        head,
        [
            (
                row.bundle,
                row.delegate,
                row.device,
                row.device_class,
                row.measure,
                number(row.value),
                f"{row.at_most:g}",
                row.verdict,
            )
            for row in rows
        ],
    )


def devices(rows: Sequence[Listed]) -> str:
    """`sam-bench devices`."""
    head = ("device", "class", "model", "chip", "system", "ABI", "cores", "state", "problem")
    return table(head, [_device(row) for row in rows])


def _device(row: Listed) -> tuple[str, ...]:
    facts = row.facts
    if facts is None:
        return (row.device, *[NOTHING] * 7, row.problem or NOTHING)
    return (
        row.device,
        facts.device_class,
        f"{facts.manufacturer} {facts.model}".strip() or NOTHING,
        facts.soc or NOTHING,
        facts.system,
        facts.abi,
        " + ".join(cluster(len(c.cores), c.max_khz) for c in facts.clusters) or NOTHING,
        _state(row),
        row.problem or NOTHING,
    )


def facts_line(device: DeviceFacts) -> str:
    """Join the known facts of a device in one line."""
    cores = " + ".join(cluster(len(c.cores), c.max_khz) for c in device.clusters)
    parts = (
        device.device,
        device.soc,
        device.system,
        f"build {device.build}" if device.build else "",
        device.abi,
        f"cores {cores}" if cores else "",
        f"{device.memory_mb} MB of memory" if device.memory_mb else "",
    )
    return "; ".join(printable(part) for part in parts if part)


def cluster(cores: int, max_khz: int | None) -> str:
    """`4 x 1.80 GHz`, or the number of cores alone."""
    return f"{cores} x {max_khz / 1e6:.2f} GHz" if max_khz else str(cores)


def _state(row: Listed) -> str:
    now = row.condition
    if now is None:
        return NOTHING
    parts = []
    if row.facts is not None and row.facts.device_class == UNKNOWN:
        parts.append(f"unknown: {row.facts.class_reason}")
    if now.thermal_status is not None:
        parts.append(f"thermal {now.thermal_status.word}")
    if now.temperatures:
        parts.append(f"{max(t.celsius for t in now.temperatures):.0f} C")
    if now.battery_percent is not None:
        parts.append(f"battery {now.battery_percent} %")
    if now.load is not None:
        parts.append(f"load {now.load:.1f}")
    return ", ".join([*parts, *now.notes]) or NOTHING


def _graph_cells(ms: Spread | None, first: float | None, load: float | None) -> tuple[str, ...]:
    if ms is None:
        return ("not timed", *[NOTHING] * 4)
    return (with_interval(ms), number(ms.p90), number(ms.p99), number(first), number(load))


def with_interval(spread: Spread | None) -> str:
    """Format the median with its 95 % interval, which one repeat does not have."""
    if spread is None:
        return NOTHING
    if spread.repeats < 2:
        return number(spread.p50)
    return f"{number(spread.p50)} ({number(spread.low)}..{number(spread.high)})"


def number(value: float | None) -> str:
    """Three digits that count."""
    if value is None:
        return NOTHING
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
