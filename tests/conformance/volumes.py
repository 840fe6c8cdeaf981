"""A published volume through the public commands: export, click, compare. Minutes a form.

    python -m tests.conformance.volumes --target onnx tflite coreml coreai --precision fp32 fp16

writes both checkpoints with the case's values and the volume into --folder, runs `sam-export` and,
for every prompt case, `sam-run BUNDLE volume.npy --point ... --mask --save-logits`, and prints a
table. Status 1 if a float32 figure is outside the case's tolerance. `--write` stores the table.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch

from exporter import cli as export_cli
from exporter.bundle.folder import open_bundle
from runtimes import cli as run_cli
from tests.conformance import published_case
from tests.conformance.published_case import PublishedCase

CASE = "fastsam3d"
RELATIVE, IOU, VOXELS = 1e-4, 1e-4, 0.999
RESULTS = Path(__file__).parents[2] / "profiles" / "results" / "fastsam3d.md"
HEAD = (
    "| bundle | logits, of the largest | predicted IoU | voxels that agree, worst case | MB |\n"
    "|" + " --- |" * 5
)
TITLE = """\
# FastSAM3D's published case, through the bundles

Five prompt cases (three clicks one after another, three points and three masks at once, no mask) of
`tests/conformance/cases/fastsam3d`, untrained weights: `{command}`. Worst of the cases.

"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", nargs="+", default=["onnx"])
    parser.add_argument("--precision", nargs="+", default=["fp32"])
    parser.add_argument("--folder", type=Path, default=Path("build/volumes"))
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    case = published_case.load(CASE)
    files = write_files(case, arguments.folder)
    lines, good = [HEAD], True
    sys.stdout.write(f"{HEAD}\n")
    for precision in arguments.precision:
        for target in arguments.target:
            bundle = export(files, target, precision, arguments.folder)
            worst = follow(case, bundle, arguments.folder)
            lines.append(row(bundle, worst))
            sys.stdout.write(f"{lines[-1]}\n")
            sys.stdout.flush()
            exact = worst["logits"] <= RELATIVE and worst["iou"] <= IOU
            good &= worst["voxels"] >= VOXELS and (exact or precision != "fp32")
    if arguments.write:
        options = [f"--{n} {' '.join(getattr(arguments, n))}" for n in ("target", "precision")]
        command = " ".join(["python -m tests.conformance.volumes", *options])
        text = TITLE.format(command=command) + "\n".join(lines) + "\n"
        RESULTS.write_text(text, encoding="utf-8")
    return 0 if good else 1


def write_files(case: PublishedCase, folder: Path) -> tuple[Path, Path]:
    """The student's and the teacher's file, as they are published, and the volume."""
    folder.mkdir(parents=True, exist_ok=True)
    files = folder / "student.pth", folder / "sam_med3d_turbo.pth"
    for path, made in zip(files, (case.checkpoint(), case.decoder_checkpoint()), strict=True):
        torch.save({"model_state_dict": dict(made.tensors)}, path)
    np.save(folder / "volume.npy", case.volume())
    return files


def export(files: tuple[Path, Path], target: str, precision: str, folder: Path) -> Path:
    bundle = folder / f"{CASE}-{target}-{precision}"
    if not bundle.exists():
        words = ["--checkpoint", str(files[0]), "--decoder-checkpoint", str(files[1])]
        words += ["--target", target, "--precision", precision, "--output", str(folder)]
        status = export_cli.main(words)
        if status:
            raise SystemExit(status)
    return bundle


def follow(case: PublishedCase, bundle: Path, folder: Path) -> dict[str, float]:
    """The worst figure of each output over the prompt cases."""
    worst = {"logits": 0.0, "iou": 0.0, "voxels": 1.0}
    for name, prompt in case.facts["prompts"].items():
        found = ask(name, prompt, bundle, folder)
        for output, ours in found.items():
            stored, part, most = case.stored(f"{name}.{output}", ours)
            if output == "mask":
                worst["voxels"] = min(worst["voxels"], float(np.mean(stored == part)))
            elif output == "iou":
                worst["iou"] = max(worst["iou"], float(np.abs(stored - part).max()))
            else:
                error = float(np.abs(stored - part).max() / most)
                worst["logits"] = max(worst["logits"], error)
    return worst


def ask(name: str, prompt: dict[str, Any], bundle: Path, folder: Path) -> dict[str, Any]:
    """`sam-run` on one prompt case."""
    logits, mask = folder / f"{name}.logits.npy", folder / f"{name}.mask.npy"
    points = zip(prompt["points"], prompt["labels"], strict=True)
    words = [str(bundle), str(folder / "volume.npy")]
    for place, label in points:
        words += ["--point", ",".join(map(str, (*place, label)))]
    if "mask_from" in prompt:
        words += ["--mask-input", str(folder / f"{prompt['mask_from']}.logits.npy")]
    elif "mask_input" not in prompt:
        words += ["--no-mask"]
    words += ["--multimask"] if prompt["multimask"] else []
    words += ["--save-logits", str(logits), "--mask", str(mask), "--json"]
    with redirect_stdout(io.StringIO()) as said:
        if run_cli.main(words):
            raise SystemExit(1)
    count = len(np.load(logits))
    paths = [mask] if count == 1 else [mask.with_name(f"{name}.mask_{i}.npy") for i in range(count)]
    scores = [each["iou_prediction"] for each in json.loads(said.getvalue())["masks"]]
    return {
        "low_res_masks": np.load(logits),
        "mask": np.stack([np.load(path) for path in paths]),
        "iou": np.array(scores, np.float32),
    }


def row(bundle: Path, worst: dict[str, float]) -> str:
    size = sum(graph.bytes for graph in open_bundle(bundle).manifest.graphs) / 1e6
    figures = f"{worst['logits']:.1e} | {worst['iou']:.1e} | {worst['voxels']:.2%}"
    return f"| {bundle.name.removeprefix(f'{CASE}-')} | {figures} | {size:.1f} |"


if __name__ == "__main__":
    sys.exit(main())
