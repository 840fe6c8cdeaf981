"""`sam-bench --mode tracked-frame`: a video bundle's frames alone, by graph; nothing is stored."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

from exporter.bundle.folder import Bundle
from exporter.errors import RequestError
from exporter.progress import Progress
from profiles import kinds
from profiles.collect import UNTRACKED, demand_memory, demand_reached
from profiles.method import EACH, read_method
from profiles.tables import NOTHING, number, table
from runtimes.device import HOST, PHONE, RESIDENT, Device, DeviceFacts, GraphRun, Method
from runtimes.frames import OBJECTS, TracksFrames, graph_in_frame

TRACKED_FRAME = "tracked-frame"
_NS_IN_MS = 1e6
_MB = 2**20
_USELESS = frozenset(
    {"--picture", "--points-per-side", "--repeats", "--cool-limit", "--label", "--store"}
)


def measure(
    arguments: argparse.Namespace, bundles: tuple[Bundle, ...], say: Progress
) -> list[dict[str, Any]]:
    """Time tracked frames of each bundle on each device: a row for each number of objects.

    Raises:
        RequestError: an option has no use here, a bundle has no memory, or a device or a way to it
            times no frames.
        SamExportError: see `runtimes.device.Device.open` and `Bench`.
    """
    odd = sorted(arguments.given & _USELESS)
    if odd:
        raise RequestError(
            f"--mode {TRACKED_FRAME} takes no {odd[0]}: one process for each number of objects, "
            "and nothing is stored; without --mode all of a video bundle is measured and kept"
        )
    if arguments.delegate == EACH:
        raise RequestError(f"--mode {TRACKED_FRAME} takes one delegate at a time")
    for bundle in bundles:
        demand_memory(bundle, f"--mode {TRACKED_FRAME}")
    names = arguments.device or [HOST]
    method = read_method(arguments, arguments.delegate or kinds.default_delegate(names))
    method = replace(method, objects=method.objects or OBJECTS)
    return [row for name in names for row in _on_device(kinds.find(name), method, bundles, say)]


def _on_device(
    device: Device, method: Method, bundles: tuple[Bundle, ...], say: Progress
) -> Iterator[dict[str, Any]]:
    facts = device.facts()
    with device.open(method) as bench:
        if not isinstance(bench, TracksFrames):
            raise RequestError(f"{facts.device} has no --mode {TRACKED_FRAME}: {UNTRACKED}")
        for bundle in bundles:
            title = f"{facts.device}: {bundle.path.name}"
            say(f"{title}: preparing")
            bench.prepare(bundle)
            if method.check:
                say(f"{title}: checking parity")
                demand_reached(bundle, bench.check(bundle))
            for objects in method.objects:
                say(f"{title}: frames, objects tracked: {objects}")
                runs = bench.run_frame(bundle, objects)
                yield _row(bundle, facts, objects, runs, checked=method.check)


def _row(
    bundle: Bundle, facts: DeviceFacts, objects: int, runs: Sequence[GraphRun], *, checked: bool
) -> dict[str, Any]:
    whole, *parts = runs
    notes = [note for note in whole.notes if not note.startswith(RESIDENT)]
    return {
        "bundle": bundle.path.name,
        "device": facts.device,
        "device_class": facts.device_class,
        "runtime": whole.runtime,
        "objects": objects,
        "frames": len(whole.samples_ns),
        "frame_ms": _median(whole),
        "graph_ms": {graph_in_frame(part.graph): _median(part) for part in parts},
        "first_ms": whole.first_ns / _NS_IN_MS if whole.timed else None,
        "load_ms": whole.load_ns / _NS_IN_MS if whole.timed else None,
        "peak_mb": None if whole.peak_bytes is None else whole.peak_bytes / _MB,
        "notes": notes if checked else [*notes, "parity was not checked"],
    }


def _median(run: GraphRun) -> float | None:
    return median(run.samples_ns) / _NS_IN_MS if run.samples_ns else None


def shown(rows: list[dict[str, Any]]) -> str:
    """Make a table for each device: medians in ms, each graph's for all objects together."""
    devices = dict.fromkeys(row["device"] for row in rows)
    return "\n\n".join(_of_device([r for r in rows if r["device"] == name]) for name in devices)


def _of_device(rows: list[dict[str, Any]]) -> str:
    graphs = list(dict.fromkeys(graph for row in rows for graph in row["graph_ms"]))
    head = ("bundle", "objects", "frames", "frame ms", *(f"{graph} ms" for graph in graphs))
    notes = dict.fromkeys(f"{row['bundle']}: {note}" for row in rows for note in row["notes"])
    return "\n".join(
        [_heading(rows[0]), table((*head, "peak MB"), (_cells(r, graphs) for r in rows)), *notes]
    )


def _heading(row: dict[str, Any]) -> str:
    mark = "" if row["device_class"] == PHONE else f" ({row['device_class']}: no phone's times)"
    return f"{row['device']}{mark}, {row['runtime']}:"


def _cells(row: dict[str, Any], graphs: list[str]) -> tuple[str, ...]:
    spent = (row["graph_ms"].get(graph) for graph in graphs)
    whole = NOTHING if row["frame_ms"] is None else number(row["frame_ms"])
    counts = str(row["objects"]), str(row["frames"])
    return row["bundle"], *counts, whole, *map(number, spent), number(row["peak_mb"])
