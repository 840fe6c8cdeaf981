"""`python -m profiles.lab.input_size`: the demo model at several input sizes."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

from exporter.bundle.folder import Bundle
from exporter.progress import Progress, on_stderr
from exporter.variants import DEFAULT, load_variant
from profiles.accuracy.answers import answer
from profiles.accuracy.cases import KINDS, Shots, scene_shots
from profiles.accuracy.latency import prepare, take_turns
from profiles.lab import steps
from profiles.lab.bench.machine import circumstances
from profiles.lab.input_size import table
from profiles.lab.steps import count, positive

SIDES = (96, 128, 160, 192, 256)
SCENES, SECONDS = 200, 4.0
NAME = "input-size"


def main(argv: Sequence[str] | None = None) -> int:
    """Export, ask and time every size, and print the table."""
    given = list(sys.argv[1:] if argv is None else argv)
    arguments = _parser().parse_args(given)
    report = on_stderr()
    about = circumstances(f"python -m profiles.lab.input_size {shlex.join(given)}".strip())
    results = about | measure(arguments.side, arguments.scenes, arguments.seconds, report)
    text = table.render(results)
    sys.stdout.write(text)
    if arguments.write:
        for name, content in (
            (f"{NAME}.json", json.dumps(results, indent=1) + "\n"),
            (f"{NAME}.md", text),
            (table.DRAWING, table.draw(results)),
        ):
            (steps.RESULTS / name).write_text(content, encoding="utf-8")
    return 0


def measure(sides: Sequence[int], scenes: int, seconds: float, report: Progress) -> dict[str, Any]:
    """Measure the sizes.

    Args:
        sides: of the input, in pixels; the published one is measured in any case.
        scenes: held out of the demo's training.
        seconds: of timing for a graph, about.
        report: called with each stage.
    """
    published = load_variant(DEFAULT).preprocess.size
    shots = scene_shots(scenes)
    with tempfile.TemporaryDirectory(prefix="sam-export-") as folder:
        every = sorted({*sides, published})
        bundles = {side: _export(side, Path(folder), report) for side in every}
        rows = []
        for side, bundle in bundles.items():
            report(f"asking at {side} pixels")
            row = {"side": side, **_ask(bundle, shots, report)}
            rows.append(row | {"ratios": _ratios(bundle, bundles[published], seconds)})
    masks = rows[0].pop("masks")
    for row in rows[1:]:
        row.pop("masks")
    return {
        "published": published,
        "scenes": scenes,
        "masks": masks,
        "kinds": list(rows[0]["kinds"]),
        "rows": rows,
    }


def _export(side: int, folder: Path, report: Progress) -> Bundle:
    from exporter.job import Job, Place
    from exporter.pipeline import export

    job = Job(targets=("onnx",), precision="fp32", variant=DEFAULT, input_size=side)
    (bundle,) = export(job, Place(folder, glue=False), report)
    return bundle


def _ask(bundle: Bundle, shots: Shots, report: Progress) -> dict[str, Any]:
    """Ask every prompt, and compare with the objects that are known."""
    answers = answer(bundle, shots, KINDS, 2, report)
    kinds: dict[str, list[float]] = {}
    for number, shot in enumerate(answers):
        cases = shots[number]().cases
        for place, each in shot.items():
            if each.truth_iou is not None:
                kinds.setdefault(cases[place].kind, []).append(each.truth_iou)
    every = [value for values in kinds.values() for value in values]
    return {
        "multiply_accumulates": {
            graph.spec.name: graph.multiply_accumulates for graph in bundle.manifest.graphs
        },
        "iou": mean(every),
        "kinds": {kind: mean(values) for kind, values in kinds.items()},
        "masks": len(every),
    }


def _ratios(bundle: Bundle, plain: Bundle, seconds: float) -> dict[str, float]:
    """Time a bundle's graphs and the published size's in turns: the median of the ratios."""
    ratios = {}
    for graph in bundle.manifest.graphs:
        name = graph.spec.name
        calls = {"plain": prepare(plain, name, 1), "own": prepare(bundle, name, 1)}
        times = take_turns(calls, seconds)
        pairs = zip(times["own"], times["plain"], strict=True)
        ratios[name] = median(own / other for own, other in pairs)
    return ratios


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m profiles.lab.input_size",
        description="Measure the demo model at other input sizes. Host timings, not a phone's.",
    )
    add = parser.add_argument
    add("--side", type=count, nargs="+", default=list(SIDES), metavar="N", help="pixels")
    add("--scenes", type=count, default=SCENES, metavar="N", help="(default: %(default)s)")
    add("--seconds", type=positive, default=SECONDS, help="to time a graph (default: %(default)g)")
    add("--write", action="store_true", help=f"write profiles/results/{NAME}.md and the drawing")
    return parser


if __name__ == "__main__":
    sys.exit(main())
