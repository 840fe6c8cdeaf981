"""The published cases through Core AI's files, computed by Apple's reference runtime.

    python -m tests.parity.core_ai_cases --write                     every case and precision
    python -m tests.parity.core_ai_cases --only mobile_sam --precision fp32
    python -m tests.parity.core_ai_cases --largest 50e9 --write      encoders of at most 50 GMACs

Each row is a process of its own, and is kept as soon as it is done: a second run goes on, and
--again computes what is there anew. Exit status 1 if a row misses its goal: 99.9 % of the published
mask's pixels in fp32, 99 % in fp16.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from exporter.bundle.masks import choose_tokens
from exporter.bundle.preprocess import upscale
from exporter.listing import read_counts
from profiles.lab.steps import RESULTS
from tests.conformance import published_case
from tests.conformance import test_published_numbers as published

GOALS = {"fp32": 0.999, "fp16": 0.99}
"""Share of the pixels of the published mask."""
PAGE = RESULTS / "core-ai-cases.json"
HEAD = (
    "case",
    "precision",
    "pixels of the masks that agree",
    "their goal",
    "encoder: worst error over the largest value",
    "low-resolution masks: the same",
    "predicted IoU: worst error",
)


def measure(name: str, precision: str) -> dict[str, Any]:
    """One case through the lowered graphs: shares and errors."""
    from tests.parity.test_core_ai import Lowered

    ran = published.run_case(name)
    exact = dict(ran.features)
    with tempfile.TemporaryDirectory() as folder:
        encoder = Lowered(ran.encoder, precision, Path(folder))
        names = [tensor.name for tensor in ran.encoder.spec.outputs]
        ran.features.update(zip(names, encoder(ran.image), strict=True))
        del encoder
        ran.decoder = SimpleNamespace(module=Lowered(ran.decoder, precision, Path(folder)))
        found = _prompts(ran)
    errors = [float((ran.features[n] - exact[n]).abs().max() / exact[n].abs().max()) for n in names]
    return {"case": name, "precision": precision, "encoder": max(errors), **found}


def _prompts(ran: published.Ran) -> dict[str, float]:
    """Every prompt of a case: the least share of pixels, the worst errors."""
    fed: dict[str, np.ndarray[Any, Any]] = {}
    pixels, logits, scored = [], [], []
    for name, prompt in ran.case.facts["prompts"].items():
        every, scores = published._decode(ran, prompt, fed)
        single = published.SINGLE.get(ran.variant.family, ran.variant.mask.single)
        rule = dataclasses.replace(ran.variant.mask, single=single)
        tokens = list(choose_tokens(rule, every, scores, multimask=prompt["multimask"]))
        masks, iou = every[tokens], scores[tokens]
        fed[name] = masks[int(iou.argmax())]
        expected, ours, most = ran.case.stored(f"{name}.low_res_masks", masks)
        logits.append(float(np.abs(ours - expected).max() / most))
        expected, ours, _ = ran.case.stored(f"{name}.iou", iou)
        scored.append(float(np.abs(ours - expected).max()))
        final = upscale(masks, ran.frame, rule.upscale) > rule.threshold
        expected, ours, _ = ran.case.stored(f"{name}.mask", final)
        pixels.append(float((ours == expected).mean()))
    return {"pixels": min(pixels), "masks": max(logits), "iou": max(scored)}


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The page, as Markdown."""
    lines = [
        "# The published cases through Core AI",
        "",
        "Each case's weights, picture and prompts through the `.aimodel` files, computed by",
        "Apple's runtime for reference (on Linux), against what the published code computed.",
        "fp16 as `sam-run` computes it: decoders in literal half arithmetic outside the float32",
        "islands, encoders of more than 2 GMAC in float32 on the weights in half. The untrained",
        "weights of a case may leave half's range (nan), which says nothing of trained ones.",
        "",
        "Command: `python -m tests.parity.core_ai_cases --write` (`make coreai-cases`).",
        "",
        "| " + " | ".join(HEAD) + " |",
        "|" + " --- |" * len(HEAD),
    ]
    for row in sorted(rows, key=lambda row: (row["case"], row["precision"])):
        if "error" in row:
            cells = [row["case"], row["precision"], row["error"], *[""] * (len(HEAD) - 3)]
        else:
            goal = GOALS[row["precision"]]
            met = "met" if row["pixels"] >= goal else "**missed**"
            cells = [
                row["case"],
                row["precision"],
                f"{100 * row['pixels']:.3f} %",
                met,
                *(f"{row[key]:.1e}" for key in ("encoder", "masks", "iou")),
            ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _in_a_process(name: str, precision: str) -> dict[str, Any]:
    command = [sys.executable, "-m", __spec__.name, "--only", name, "--precision", precision]
    ran = subprocess.run([*command, "--here"], capture_output=True, text=True, check=False)
    if ran.returncode == 0:
        row: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
        return row
    said = (ran.stderr.strip().splitlines() or [f"status {ran.returncode}"])[-1]
    return {"case": name, "precision": precision, "error": said[:200]}


def _gmacs(name: str) -> float:
    variant = published.VARIANT_OF.get(name, name)
    every = read_counts().get(variant, {}).get("multiply_accumulates", {})
    return float(sum(every.values()))


def main() -> int:
    """Compute the rows that are lacking; returns the exit status."""
    names = published_case.names()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="CASE")
    parser.add_argument("--precision", nargs="+", choices=tuple(GOALS), default=list(GOALS))
    parser.add_argument("--largest", type=float, default=float("inf"), metavar="MACS")
    parser.add_argument("--again", action="store_true", help="compute rows that are there too")
    parser.add_argument("--write", action="store_true", help="keep the rows and the page")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.here:
        sys.stdout.write(json.dumps(measure(asked.only[0], asked.precision[0])) + "\n")
        return 0
    rows = json.loads(PAGE.read_text()) if PAGE.is_file() else []
    known = {(row["case"], row["precision"]) for row in rows if "error" not in row}
    for name in sorted(asked.only, key=_gmacs):
        for precision in asked.precision:
            if _gmacs(name) > asked.largest or ((name, precision) in known and not asked.again):
                continue
            row = _in_a_process(name, precision)
            sys.stdout.write(json.dumps(row) + "\n")
            sys.stdout.flush()
            rows = [r for r in rows if (r["case"], r["precision"]) != (name, precision)] + [row]
            if asked.write:
                PAGE.write_text(json.dumps(rows, indent=1) + "\n")
                PAGE.with_suffix(".md").write_text(table(rows))
    missed = [r for r in rows if "error" in r or r["pixels"] < GOALS[r["precision"]]]
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
