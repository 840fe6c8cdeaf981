"""Recall of every way to segment everything, on scenes whose objects are known.

    python -m profiles.lab.everything --scenes 100 --write

Each scene and way is a line of `build/everything.jsonl`; what is there is not run again. The demo's
logits are a fifth of SAM's, so its stability is measured at 0.2 instead of 1 and a pixel is covered
at 1.7 instead of 8.5; the rest are published defaults, and the same ways again with looser
thresholds. Eight minutes of a core for 100 scenes.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from exporter.bundle.folder import open_bundle
from exporter.scenes.scene import HELD_OUT, box_around, scene
from profiles.lab.everything.curves import DRAWINGS, draw
from profiles.lab.everything.table import Row, table
from runtimes.everything import everything
from runtimes.everything.predictor import Predictor
from runtimes.segmenters import Segmenter, open_segmenter

SIZE = (240, 320)
SOFT = {"stability_score_offset": 0.2}
COVERED = {"high_score_thresh": 1.7}
LOOSE = {"pred_iou_thresh": 0.7, "stability_score_thresh": 0.85}
RESULTS = Path("profiles/results/everything.md")
STORE = Path("build/everything.jsonl")
GRIDS, COARSE, SCORES = (32, 16, 8, 4), (32, 16, 8), (0.03, 0.1, 0.3, 0.5)
BOXES = "object-aware, the objects' own boxes"
Way = tuple[str, dict[str, Any]]


def _ways(thresholds: dict[str, float], word: str) -> dict[str, Way]:
    """List every way that clicks, at several numbers of prompts, with the same thresholds."""
    given = {**SOFT, **thresholds}
    found: dict[str, Way] = {}
    for side in GRIDS:
        found[f"grid, {side} a side{word}"] = ("grid", {"points_per_side": side, **given})
    for side in COARSE:
        options = {"points_per_side": side, **given, **COVERED}
        found[f"hierarchical, {side} a side{word}"] = ("hierarchical", options)
    for least in SCORES:
        options = {"proposal_thresh": least, **given}
        found[f"proposed, score above {least:g}{word}"] = ("proposed", options)
    return found


PUBLISHED = {
    **_ways({}, ""),
    "grid, 16 a side, fast": ("grid", {"points_per_side": 16, "fast": True, **SOFT}),
    BOXES: ("object_aware", {}),
}
LOOSER = _ways(LOOSE, ", looser")
WAYS = PUBLISHED | {way: LOOSER[way] for way in LOOSER if "32 a side" not in way}


def ious(found: Sequence[npt.NDArray[np.bool_]], truth: npt.NDArray[np.bool_]) -> list[float]:
    """Find for each true object (K, H, W) the best IoU of a found mask."""
    best = []
    for mask in truth:
        shared = [
            (np.logical_and(mask, each).sum(), np.logical_or(mask, each).sum()) for each in found
        ]
        best.append(max((float(both / either) for both, either in shared), default=0.0))
    return best


def run(segmenter: Predictor | Segmenter, way: str, seed: int) -> Row:
    """Segment everything of one scene."""
    shown = scene(seed, *SIZE)
    method, options = WAYS[way]
    if method == "object_aware":
        options = {"boxes": [box_around(mask) for mask in shown.instances]}
    start = time.process_time()
    found = everything(segmenter, shown.image, method, **options)
    spent = time.process_time() - start
    best = ious([each.mask for each in found], shown.instances)
    return Row(way, seed, found.asked.prompts, len(found), spent, best)


def rows(store: Path, bundle: Path, seeds: Sequence[int], minutes: float) -> list[Row]:
    """Give every scene's row of the ways that are complete, from the store or measured now.

    Args:
        store: lines of rows; what is measured is added.
        bundle: of the demo, for everything.
        seeds: of the scenes.
        minutes: after which no further row is measured; the cheapest ways come first.
    """
    known = {}
    if store.exists():
        lines = [Row(**json.loads(line)) for line in store.read_text().splitlines()]
        known = {(row.way, row.seed): row for row in lines}
    segmenter = open_segmenter(open_bundle(bundle), threads=1)
    store.parent.mkdir(exist_ok=True)
    end = time.monotonic() + 60 * minutes
    with store.open("a") as stream:
        for way, seed in product(sorted(WAYS, key=_cost), seeds):
            if (way, seed) not in known and time.monotonic() < end:
                known[way, seed] = run(segmenter, way, seed)
                stream.write(json.dumps(vars(known[way, seed])) + "\n")
                stream.flush()
    complete = [way for way in WAYS if all((way, seed) in known for seed in seeds)]
    return [known[way, seed] for way in complete for seed in seeds]


def _cost(way: str) -> int:
    """Prompts of a way, roughly."""
    return int(WAYS[way][1].get("points_per_side", 0)) ** 2


def main() -> int:
    """Measure, print the table, and write it if that is asked for."""
    parser = argparse.ArgumentParser("python -m profiles.lab.everything", description=__doc__)
    parser.add_argument("--bundle", type=Path, default=Path("build/demo-onnx-fp32-everything"))
    parser.add_argument("--scenes", type=int, default=100)
    parser.add_argument("--store", type=Path, default=STORE)
    parser.add_argument("--minutes", type=float, default=math.inf, help="for a part of the ways")
    parser.add_argument("--write", action="store_true", help=f"the table to {RESULTS}")
    arguments = parser.parse_args()
    seeds = range(HELD_OUT, HELD_OUT + arguments.scenes)
    found = rows(arguments.store, arguments.bundle, seeds, arguments.minutes)
    measured = {row.way for row in found}
    published = [way for way in PUBLISHED if way in measured]
    looser = [way for way in WAYS if way in measured - {*PUBLISHED}]
    made = table(found, published, looser)
    print(made)
    missing = [way for way in WAYS if way not in measured]
    if missing:
        print(f"not yet on all scenes: {'; '.join(missing)}", file=sys.stderr)
    if arguments.write:
        RESULTS.write_text(made)
        for (name, thresholds), ways in zip(DRAWINGS.items(), (published, looser), strict=True):
            if ways:
                RESULTS.with_name(name).write_text(draw(found, ways, thresholds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
