"""What Core AI's fp16 leaves of each family's masks and scores, in literal half arithmetic.

    python -m profiles.lab.half_decoders --write
    python -m profiles.lab.half_decoders --only mobile_sam

One decoder a family: the variant with the smallest encoder, on all its goldens, computed by Apple's
reference runtime as the file says. Weights are filled, but for the demo's. Each row is a process of
its own. `--write` writes profiles/results/core-ai-half.md. Exit status 1 if a row misses its goals.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from exporter import child
from exporter.bundle.goldens import Goldens
from exporter.bundle.manifest import GraphFile
from exporter.checkpoints.obtain import Given, obtain
from exporter.graphs import Graph, graphs_of
from exporter.job import Job, settle
from exporter.listing import read_counts
from exporter.models.layers import freeze
from exporter.precision import load_precision
from exporter.progress import quiet, silent
from exporter.recording import record_goldens
from exporter.targets import Options, load_target
from exporter.variants import load_variant, variants
from profiles.lab.matrix.fill import fill
from profiles.lab.steps import write_page
from runtimes.engines import choose_engine, run_canonical
from runtimes.measures import HALF_GOALS, IOUS, MASKS, psnr_db

COMMAND, NAME = "python -m profiles.lab.half_decoders", "core-ai-half"
DECODER = "mask_decoder"


def families() -> Iterator[str]:
    """Name the variant with the smallest encoder of each family that has the decoder."""
    counts = read_counts()
    found: dict[str, list[str]] = {}
    for name, variant in variants().items():
        if DECODER in variant.prompting.graphs:
            found.setdefault(variant.family, []).append(name)
    for names in found.values():
        yield min(names, key=lambda name: counts[name]["multiply_accumulates"]["image_encoder"])


def measure(name: str) -> dict[str, Any]:
    """Lower a decoder and run its goldens: the worst decibels, and the largest score."""
    order = settle(Job(("coreai",), variant=name), load_variant(name))
    trained = not order.variant.published.url
    network = obtain(order.variant, Given(), silent)[0] if trained else fill(order.variant)
    graphs = graphs_of(freeze(network), order.variant, order.prompts)
    goldens = Goldens.of(record_goldens(order, graphs, silent))
    (decoder,) = (graph for graph in graphs if graph.spec.name == DECODER)
    worst, score = dict.fromkeys((MASKS, IOUS), float("inf")), 0.0
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        single = _lowered(decoder, "fp32", place).bytes
        file = _lowered(decoder, "fp16", place)
        loaded = choose_engine("coreai", "coreai-literal").open(place / file.file, file, 1)
        for case in goldens.cases(DECODER):
            got = run_canonical(loaded, decoder.spec, goldens.inputs(decoder.spec, case))
            for output in worst:
                expected = goldens.expected(decoder.spec, case, output)
                worst[output] = min(worst[output], psnr_db(expected, got[output]))
            score = max(score, float(abs(goldens.expected(decoder.spec, case, IOUS)).max()))
    facts = {"variant": name, "trained": trained, "cases": len(goldens.cases(DECODER))}
    return facts | worst | {"score": score, "fp32": single, "fp16": file.bytes}


def _lowered(graph: Graph, precision: str, folder: Path) -> GraphFile:
    with quiet(folder / "log"):
        return load_target("coreai").lower(graph, load_precision(precision), folder, Options())


def missed(row: Mapping[str, Any]) -> list[str]:
    """List the outputs of a row that do not reach their goals; a NaN does not."""
    return [output for output, goal in HALF_GOALS.items() if not row[output] >= goal]


def render(rows: Sequence[Mapping[str, Any]]) -> str:
    """Make the page."""
    goals = " and ".join(f"{goal:g} dB of {output}" for output, goal in HALF_GOALS.items())
    lines = [
        "# Decoders in Core AI's fp16",
        "",
        "The worst of each family's goldens against float32 torch, computed by Apple's reference",
        "runtime in literal half arithmetic outside the float32 islands. Filled weights are random",
        "numbers of plausible size, and say nothing of trained ones.",
        f"Goals: {goals}.",
        "",
        f"Command: `{COMMAND} --write`.",
        "",
        "| variant | weights | cases | masks, dB | scores, dB | largest score | MB, fp32, fp16 | |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        size = ", ".join(f"{row[each] / 1e6:.2f}" for each in ("fp32", "fp16"))
        said = ", ".join(f"{output} **missed**" for output in missed(row)) or "met"
        weights = "trained" if row["trained"] else "filled"
        figures = f"{row[MASKS]:.1f} | {row[IOUS]:.1f} | {row['score']:.2f}"
        head = f"{row['variant']} | {weights} | {row['cases']}"
        lines.append(f"| {head} | {figures} | {size} | {said} |")
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure; print the page, and write it if asked."""
    parser = argparse.ArgumentParser(COMMAND, description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", metavar="VARIANT", help="repeatable")
    parser.add_argument("--write", action="store_true", help=f"write profiles/results/{NAME}.md")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.serve:
        return child.serve(measure)
    rows = []
    for name in arguments.only or families():
        sys.stderr.write(f"{name}\n")
        row = child.call(["profiles.lab.half_decoders", "--serve"], name, what=name)
        rows.append(row)
    page = render(rows)
    print(page)
    if arguments.write:
        write_page(NAME, page, {"rows": rows})
    return 1 if any(map(missed, rows)) else 0


if __name__ == "__main__":
    sys.exit(main())
