"""`sam-bench --mode everything`: everything of one picture, timed on this host."""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import median
from typing import Any

import exporter
from exporter import child
from exporter.arguments import Parser, whole_number
from exporter.bundle.folder import Bundle
from exporter.errors import RequestError
from profiles.tables import table
from runtimes.device import HOST
from runtimes.segmenters import segmenter_type
from runtimes.segmenters.detections import DetectionSegmenter

GRAPHS, EVERYTHING = "graphs", "everything"
PICTURE = Path(exporter.__file__).parent / "demo" / "sample.png"
POINTS, REPEATS = 16, 3


def add_mode(parser: Parser) -> None:
    """Add the options of the mode."""
    add = parser.add_argument_group("what is measured").add_argument
    add(
        "--mode",
        choices=(GRAPHS, EVERYTHING),
        default=GRAPHS,
        help="each graph and a session (default), or everything of a picture, on the host alone: "
        "prompts a second, seconds by stage, peak memory; nothing is stored",
    )
    add("--picture", type=Path, default=PICTURE, metavar="FILE", help="(default: the demo's)")
    add(
        "--points-per-side",
        type=whole_number(4, 256),
        default=POINTS,
        metavar="N",
        help=f"of everything's grid (default: {POINTS})",
    )


def measure(arguments: argparse.Namespace, bundles: tuple[Bundle, ...]) -> list[dict[str, Any]]:
    """Time everything on each bundle, in a process for each.

    Raises:
        RequestError: another device than the host is asked for, or there is no such picture.
    """
    if any(name != HOST for name in arguments.device):
        raise RequestError("--mode everything is measured on the host alone: leave out --device")
    if not arguments.picture.is_file():
        raise RequestError(f"there is no picture {arguments.picture}")
    return [_measured(arguments, bundle) for bundle in bundles]


def _measured(arguments: argparse.Namespace, bundle: Bundle) -> dict[str, Any]:
    finds = issubclass(segmenter_type(bundle.manifest), DetectionSegmenter)
    repeats = arguments.repeats if "--repeats" in arguments.given else REPEATS
    job = {
        "folder": str(bundle.path.resolve()),
        "picture": str(arguments.picture.resolve()),
        "method": "detector" if finds else "grid",
        "points_per_side": None if finds else arguments.points_per_side,
        "threads": arguments.threads,
        "repeats": repeats,
    }
    found = child.call(["runtimes.everything.timing"], job, what=f"timing {bundle.path.name}")
    total = median(found["total"])
    return {
        "bundle": bundle.path.name,
        "device": HOST,
        **found,
        "median_total_s": total,
        "prompts_per_s": found["prompts"] / total,
    }


def shown(rows: list[dict[str, Any]]) -> str:
    """Make the table: medians, and the peak of the whole process beside that of loading alone."""
    stages = list(dict.fromkeys(stage for row in rows for stage in row["stages"]))
    timed = (f"{stage.replace('_', ' ')} s" for stage in stages)
    head = ("bundle", "prompts", "masks", "prompts/s", "total s", *timed, "peak MB", "loaded MB")
    return "this host:\n" + table(head, (_cells(row, stages) for row in rows))


def _cells(row: dict[str, Any], stages: list[str]) -> tuple[str, ...]:
    spent = (row["stages"].get(stage) for stage in stages)
    return (
        row["bundle"],
        str(row["prompts"]),
        str(row["masks"]),
        f"{row['prompts_per_s']:.1f}",
        f"{row['median_total_s']:.2f}",
        *("-" if times is None else f"{median(times):.3f}" for times in spent),
        f"{row['peak_mb']:.0f}",
        f"{row['loaded_mb']:.0f}",
    )
