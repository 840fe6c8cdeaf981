"""Everything of one picture: the published generator in torch beside ours on an exported bundle.

    python -m profiles.lab.everything.speed --write

MobileSAM with filled weights (`profiles.lab.matrix.fill`), the demo's picture, 1,024 clicks, one
thread each, processor time; ours runs before and after the published one, each run in a process of
its own, whose peak memory is its own. Filled weights pass no published threshold, so thresholds are
set for a fixed share of the masks: `SHARES`. 5 minutes of a core.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from exporter import child
from exporter.bundle.folder import Bundle, open_bundle
from exporter.bundle.manifest import Source
from exporter.job import Job, Place, settle
from exporter.pipeline import export_network
from exporter.variants import load_variant
from profiles.everything import PICTURE
from runtimes.everything.bundles import SlotPredictor, predictor_of
from runtimes.everything.predictor import upscaler_of
from runtimes.everything.steps.grids import point_grid
from runtimes.everything.steps.runs import mask_of
from runtimes.pictures.reading import read_picture
from runtimes.segmenters import open_segmenter

VARIANT = "mobile_sam"
SIDE = 32
NMS = 0.7
_SAME = 1e-4
SHARES = {"predicted IoU": 0.3, "stability": 0.5}
"""Of all masks, those whose predicted IoU passes; of these, those that are stable."""
COVERED = 0.7
"""Share of the pixels that the coarse pass of the hierarchical grid covers: as of TinySAM, which
saved 65 to 70 % of the prompts in four scenes (a grid of 8 first, of 1,024)."""
RESULTS = Path("profiles/results/everything-speed.md")
SIDES = "profiles.lab.everything.sides"
"""The child's module."""


def bundle_of(folder: Path, *, everything: bool) -> Bundle:
    """Open MobileSAM's ONNX bundle with filled weights; make it if it is not there."""
    from profiles.lab.matrix.fill import fill

    variant = load_variant(VARIANT)
    job = Job(("onnx",), "fp32", VARIANT, everything=everything)
    order = settle(job, variant)
    made = folder / order.bundle_name(order.targets[0])
    if made.is_dir():
        return open_bundle(made)
    source = Source(variant.repository, variant.paper, "filled", "", variant.layouts[0].name)
    missed: list[str] = []
    place = Place(folder, force=True)
    (bundle,) = export_network(order, fill(variant), source, place, on_miss=missed.append)
    return bundle


def thresholds(bundle: Bundle) -> dict[str, float]:
    """Find what passes `SHARES` of the masks of a grid of 8 a side, and covers `COVERED`."""
    rgb = read_picture(PICTURE).rgb
    predictor = predictor_of(open_segmenter(bundle, threads=1))
    if not isinstance(predictor, SlotPredictor):
        raise TypeError(f"{bundle.path.name} takes no clicks")
    predictor.set_image(rgb)
    points = point_grid(SIDE // 4) * np.array([rgb.shape[1], rgb.shape[0]])
    logits, ious = predictor.points(points)
    least = float(np.quantile(ious, 1 - SHARES["predicted IoU"]))
    passed = logits[ious > least]
    upscaler = upscaler_of(predictor, passed.shape[1:], rgb.shape[:2])
    stability = [float(upscaler.measure(mask, 0.0, 1.0).stability) for mask in passed]
    stable = float(np.quantile(stability, 1 - SHARES["stability"]))
    kept = passed[np.array(stability) >= stable]
    rows, columns = upscaler.covered
    high = float(np.quantile(kept.max(axis=0)[:rows, :columns], 1 - COVERED))
    return {"iou": least, "stability": stable, "high": high}


def measured(name: str, **job: Any) -> dict[str, Any]:
    """Run one side in a process of its own."""
    print(f"{name} ...", file=sys.stderr, flush=True)
    found: dict[str, Any] = child.call([SIDES], job, what=name)
    print(f"{name}: {found['cpu_s']:.1f} s, {found['peak_mb']:.0f} MB", file=sys.stderr, flush=True)
    return found


def rows_of(bundle: Bundle, passing: dict[str, float], side: int) -> dict[str, dict[str, Any]]:
    """Measure every row: ours, the published one, ours again, then the other ways."""
    asked = {"passing": passing, "points": side, "nms": NMS, "compared": False}
    ours = {**asked, "side": "ours", "bundle": str(bundle.path)}
    grid = {**ours, "method": "grid"}
    first = measured("ours, grid", **grid)
    theirs = measured("published, grid", **asked, side="published")
    again = measured("ours, grid, again", **grid)
    merged = {**first, "cpu_s": mean([first["cpu_s"], again["cpu_s"]])}
    merged["cpu_runs"] = [first["cpu_s"], again["cpu_s"]]
    merged["peak_mb"] = max(first["peak_mb"], again["peak_mb"])
    found = {"published code, torch": theirs, "grid": merged}
    for method in ("hierarchical", "object_aware"):
        found[method.replace("_", "-")] = measured(f"ours, {method}", **{**ours, "method": method})
    return found


def compared(bundle: Bundle, passing: dict[str, float], side: int) -> tuple[int, int, int]:
    """Compare all masks that pass the filters, with no suppression.

    Returns:
        Masks of the published code, how many of them ours has at the same place in the order, and
        the most pixels in which one of these differs.
    """
    asked = {"passing": passing, "points": side, "nms": 1.0, "compared": True}
    theirs = measured("published, to compare", **asked, side="published")["masks"]
    path = str(bundle.path)
    ours = measured("ours, to compare", **asked, side="ours", bundle=path, method="grid")["masks"]
    size = read_picture(PICTURE).rgb.shape[:2]
    apart = []
    for (iou, runs), (our_iou, our_runs) in zip(theirs, ours, strict=False):
        if abs(iou - our_iou) < _SAME:
            both = (mask_of(np.array(each), size) for each in (runs, our_runs))
            apart.append(int(np.logical_xor(*both).sum()))
    return max(len(theirs), len(ours)), len(apart), max(apart, default=0)


def page(rows: dict[str, dict[str, Any]], same: tuple[int, int, int]) -> str:
    """Make the page."""
    theirs, grid = rows["published code, torch"], rows["grid"]
    many, agreeing, apart = same
    head = ("way", "prompts", "masks kept", "processor s", "times faster", "peak MB", "of its peak")
    cells = [
        (
            name,
            str(row["prompts"]),
            str(row["kept"]),
            f"{row['cpu_s']:.1f}",
            f"{theirs['cpu_s'] / row['cpu_s']:.1f}",
            f"{row['peak_mb']:.0f}",
            f"{row['peak_mb'] / theirs['peak_mb']:.2f}",
        )
        for name, row in rows.items()
    ]
    passed = f"{SHARES['predicted IoU']:.0%}", f"{SHARES['stability']:.0%}"
    boxes = rows["object-aware"]["prompts"]
    runs = " and ".join(f"{seconds:.1f}" for seconds in grid["cpu_runs"])
    return (
        "# Everything: the published generator beside ours\n\n"
        "`python -m profiles.lab.everything.speed --write`: MobileSAM with filled weights, fp32, "
        "the demo's picture of 640 x 480 pixels, one thread each, each run in a process "
        "of its own. Processor time of the whole picture, encoder and host part included, without "
        "loading; peak memory of the whole process, engine and weights included. The published "
        "code is `profiles/lab/everything/published.py`: SAM's generator in torch, step by step "
        "(64 clicks a batch, all masks scaled to the picture before any filter), on the same "
        "network; ours runs on the ONNX bundle of `sam-export --everything`, before it and after "
        f"it ({runs} s).\n\n"
        f"Filled weights pass no published threshold: it is set so that {passed[0]} of a coarse "
        f"grid's masks pass by predicted IoU and {passed[1]} of these are stable. Their masks are "
        "noise all over the picture, so almost every pixel is near a threshold, where ours has to "
        "compute it. The hierarchical grid's coarse pass covers "
        f"{COVERED:.0%} of the pixels; object-aware has {boxes} boxes.\n\n"
        + _table(head, cells)
        + "\nSuppression leaves few of masks that are all over the picture. Without it, of a grid "
        f"of {SIDE // 4} a side, {agreeing} of {many} masks are the published code's, in its order "
        f"(predicted IoU within {_SAME}), and the one that differs most has {apart} other pixels "
        f"of {640 * 480}.\n"
    )


def _table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *body]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main() -> int:
    """Measure, print the page, and write it if that is asked for."""
    parser = argparse.ArgumentParser("python -m profiles.lab.everything.speed", description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("build"), help="of the bundle")
    parser.add_argument("--points-per-side", type=int, default=SIDE)
    parser.add_argument("--write", action="store_true", help=f"the page to {RESULTS}")
    arguments = parser.parse_args()
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")  # of the children
    bundle = bundle_of(arguments.folder, everything=True)
    passing = thresholds(bundle)
    same = compared(bundle, passing, SIDE // 4)
    made = page(rows_of(bundle, passing, arguments.points_per_side), same)
    print(made)
    if arguments.write:
        RESULTS.write_text(made)
    return 0


if __name__ == "__main__":
    sys.exit(main())
