"""`sam-bench --mode everything`: everything of one picture, timed on this host or a device."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import exporter
from exporter import child
from exporter.arguments import Parser, whole_number
from exporter.bundle.folder import Bundle
from exporter.errors import RequestError
from exporter.progress import Progress
from profiles import kinds
from profiles.collect import demand_reached
from profiles.method import EACH, read_method
from profiles.tables import table
from profiles.tracked_frame import TRACKED_FRAME
from runtimes.device import HOST, PHONE, Device, DeviceFacts, Method
from runtimes.devices.host import HostDevice
from runtimes.everything.timing import MB
from runtimes.pictures.reading import read_picture
from runtimes.remote.everything import AsksEverything, click_rule
from runtimes.remote.report import EverythingRun
from runtimes.segmenters import segmenter_type
from runtimes.segmenters.detections import DetectionSegmenter

GRAPHS, EVERYTHING = "graphs", "everything"
PICTURE = Path(exporter.__file__).parent / "demo" / "sample.png"
POINTS, REPEATS = 16, 3
_OWN = frozenset({"--picture", "--points-per-side"})
_OF_GRAPHS = frozenset(
    {"--runs", "--seconds", "--warmup", "--cool-limit", "--label", "--store", "--objects"}
)
"""Options that only the mode of graphs has a use for."""
_OF_DEVICES = frozenset({"--cores", "--way", "--delegate", "--deadline", "--no-check"})


def add_mode(parser: Parser) -> None:
    """Add the options of the mode."""
    add = parser.add_argument_group("what is measured").add_argument
    add(
        "--mode",
        choices=(GRAPHS, EVERYTHING, TRACKED_FRAME),
        default=GRAPHS,
        help="each graph, a session and a video's tracked frames (default), or everything of a "
        "picture, on the host or an Android device: prompts a second, seconds by stage, peak "
        "memory; or a video's frames alone, ms by graph; of both nothing is stored",
    )
    add("--picture", type=Path, default=PICTURE, metavar="FILE", help="(default: the demo's)")
    add(
        "--points-per-side",
        type=whole_number(4, 256),
        default=POINTS,
        metavar="N",
        help=f"of everything's grid (default: {POINTS})",
    )


def refuse_without(given: frozenset[str]) -> None:
    """RequestError if an option of this mode was given without it."""
    odd = sorted(given & _OWN)
    if odd:
        raise RequestError(f"{odd[0]} goes with --mode everything")


def _refuse_others(given: frozenset[str], names: Sequence[str]) -> None:
    """RequestError if an option was given that this mode, or this host, has no use for."""
    odd = sorted(given & _OF_GRAPHS)
    if odd:
        raise RequestError(
            f"--mode everything takes no {odd[0]}: it does all of it --repeats times, and stores "
            "nothing"
        )
    modes = {f"--{mode.name}" for mode in kinds.modes()}
    odd = sorted(given & (_OF_DEVICES | modes))
    if odd and all(isinstance(kinds.find(name), HostDevice) for name in names):
        raise RequestError(
            f"{odd[0]} is for a device: --mode everything on this host takes --threads and "
            "--repeats"
        )


def measure(
    arguments: argparse.Namespace, bundles: tuple[Bundle, ...], say: Progress
) -> list[dict[str, Any]]:
    """Time everything on each bundle: here in a process for each, on a device by its runner.

    Raises:
        RequestError: there is no such picture, an option has no use here, or a device cannot be
            asked everything.
        SamExportError: see `runtimes.device.Device.open` and `Bench`.
    """
    if not arguments.picture.is_file():
        raise RequestError(f"there is no picture {arguments.picture}")
    if arguments.delegate == EACH:
        raise RequestError("--mode everything takes one delegate at a time")
    names = arguments.device or [HOST]
    _refuse_others(arguments.given, names)
    delegate = arguments.delegate or kinds.default_delegate(names)
    rows = []
    for name in names:
        device = kinds.find(name)
        if isinstance(device, HostDevice):
            rows += [_measured(arguments, bundle) for bundle in bundles]
        else:
            method = replace(read_method(arguments, delegate), runs=_repeats(arguments))
            rows += _on_device(arguments, device, method, bundles, say)
    return rows


def _repeats(arguments: argparse.Namespace) -> int:
    return arguments.repeats if "--repeats" in arguments.given else REPEATS


def _on_device(
    arguments: argparse.Namespace,
    device: Device,
    method: Method,
    bundles: tuple[Bundle, ...],
    say: Progress,
) -> list[dict[str, Any]]:
    facts, rows = device.facts(), []
    rgb, side = read_picture(arguments.picture).rgb, arguments.points_per_side
    for bundle in bundles:
        click_rule(bundle)
    with device.open(method) as bench:
        if not isinstance(bench, AsksEverything):
            raise RequestError(
                f"{facts.device} has no --mode everything: its runner calls graphs alone; measure "
                "them without --mode"
            )
        for bundle in bundles:
            say(f"{facts.device}: {bundle.path.name}: preparing")
            bench.prepare(bundle)
            if method.check:
                say(f"{facts.device}: {bundle.path.name}: checking parity")
                demand_reached(bundle, bench.check(bundle))
            say(f"{facts.device}: {bundle.path.name}: {side * side} prompts, {method.runs} times")
            run = bench.run_everything(bundle, rgb, side)
            rows.append(_row(bundle, facts, run, side * side, checked=method.check))
    return rows


def _row(
    bundle: Bundle, facts: DeviceFacts, run: EverythingRun, prompts: int, *, checked: bool
) -> dict[str, Any]:
    totals = [spent / 1e9 for spent in run.total_ns]
    unchecked = () if checked else ("parity was not checked",)
    return {
        "bundle": bundle.path.name,
        "device": facts.device,
        "device_class": facts.device_class,
        "runtime": run.runtime,
        "prompts": prompts,
        "total": totals,
        "stages": {name: [t / 1e9 for t in spent] for name, spent in run.graph_ns.items()},
        "calls": dict(run.calls),
        "peak_mb": _mb(run.peak_bytes),
        "loaded_mb": _mb(run.loaded_bytes),
        "median_total_s": median(totals),
        "prompts_per_s": prompts / median(totals),
        "notes": [*run.notes, *unchecked],
    }


def _mb(count: int | None) -> float | None:
    return None if count is None else count / MB


def _measured(arguments: argparse.Namespace, bundle: Bundle) -> dict[str, Any]:
    finds = issubclass(segmenter_type(bundle.manifest), DetectionSegmenter)
    job = {
        "folder": str(bundle.path.resolve()),
        "picture": str(arguments.picture.resolve()),
        "method": "detector" if finds else "grid",
        "points_per_side": None if finds else arguments.points_per_side,
        "threads": arguments.threads,
        "repeats": _repeats(arguments),
    }
    found = child.call(["runtimes.everything.timing"], job, what=f"timing {bundle.path.name}")
    total = median(found["total"])
    asked = {"prompts": found["prompts"], "prompts_per_s": found["prompts"] / total}
    if finds:  # nothing is asked of a network that finds objects by itself
        asked = dict.fromkeys(asked)
    return {
        "bundle": bundle.path.name,
        "device": HOST,
        **found,
        "median_total_s": total,
        **asked,
    }


def shown(rows: list[dict[str, Any]]) -> str:
    """Make a table for each device: medians, and the peak of the whole process beside loading's."""
    devices = dict.fromkeys(row["device"] for row in rows)
    return "\n\n".join(_of_device([r for r in rows if r["device"] == name]) for name in devices)


def _of_device(rows: list[dict[str, Any]]) -> str:
    here = rows[0]["device"] == HOST
    stages = list(dict.fromkeys(stage for row in rows for stage in row["stages"]))
    timed = (f"{stage.replace('_', ' ')} s" for stage in stages)
    masks = ("masks",) if here else ()
    head = ("bundle", "prompts", *masks, "prompts/s", "total s", *timed, "peak MB", "loaded MB")
    made = table(head, (_cells(row, stages) for row in rows))
    return f"this host:\n{made}" if here else "\n".join([_heading(rows[0]), made, *_notes(rows)])


def _heading(row: dict[str, Any]) -> str:
    if row["device_class"] == PHONE:
        return f"{row['device']}, {row['runtime']}:"
    return f"{row['device']} ({row['device_class']}: no phone's times), {row['runtime']}:"


def _notes(rows: list[dict[str, Any]]) -> Iterator[str]:
    for row in rows:
        fewer = [
            f"{graph} for {calls} of them"
            for graph, calls in row["calls"].items()
            if 1 < calls < max(row["calls"].values())
        ]
        if fewer:
            yield f"{row['bundle']}: {', '.join(fewer)}, whose predicted IoU passes"
        yield from (f"{row['bundle']}: {note}" for note in row["notes"])
    yield "graphs alone: upscaling, filters and run lengths are the app's, and not in these times"


def _cells(row: dict[str, Any], stages: list[str]) -> tuple[str, ...]:
    spent = (row["stages"].get(stage) for stage in stages)
    masks = (str(row["masks"]),) if "masks" in row else ()
    peaks = (row["peak_mb"], row["loaded_mb"])
    return (
        row["bundle"],
        "-" if row["prompts"] is None else str(row["prompts"]),
        *masks,
        "-" if row["prompts_per_s"] is None else f"{row['prompts_per_s']:.1f}",
        f"{row['median_total_s']:.2f}",
        *("-" if times is None else f"{median(times):.3f}" for times in spent),
        *("-" if peak is None else f"{peak:.0f}" for peak in peaks),
    )
