"""A published case of one picture through the public commands: export, ask every prompt, compare.

See `tests.conformance.__main__`. With panoptic masks, the size is the one that the published code
gives the case's picture, and they are asked for as well.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from exporter import cli as export_cli
from exporter.bundle.folder import open_bundle
from runtimes import cli as run_cli
from runtimes.panoptic import PanopticSegmenter
from runtimes.pictures.arrays import as_picture
from tests.conformance.published_case import VARIANT_OF, PublishedCase

HEAD = "| variant | case | logits | IoU | pixels |\n|" + " --- |" * 5
FLOAT, PANOPTIC = (1e-4, 0.999), (3e-3, 0.998)
"""Most error of logits (of the largest) and of predicted IoUs, and least share of pixels that
agree: the cases' own, in float32."""
HALF, PANOPTIC_HALF = (0.05, 0.98), (0.1, 0.98)
"""In half precision as the export's floors; RAP-SAM makes masks hard three times on the way, and a
pixel at zero adds its features or does not."""


@dataclass(frozen=True)
class Row:
    """The worst figures of one prompt, or of everything."""

    case: str
    logits: float
    iou: float
    pixels: float

    def is_good(self, most: float, least: float) -> bool:
        """Tell whether it is within the tolerances."""
        return max(self.logits, self.iou) <= most and self.pixels >= least

    def line(self, variant: str) -> str:
        shown = f"{self.logits:.1e} | {self.iou:.1e} | {self.pixels:.3%}"
        return f"| {variant} | {self.case} | {shown} |"


def tolerances(case: PublishedCase, precision: str) -> tuple[float, float]:
    """Choose what a row is judged by; of few bits nothing is said."""
    hard = "classifier" in case.facts
    known = {"fp32": PANOPTIC if hard else FLOAT, "fp16": PANOPTIC_HALF if hard else HALF}
    return known.get(precision, (math.inf, 0.0))


def follow(case: PublishedCase, arguments: argparse.Namespace) -> Iterator[Row]:
    """Export the case's checkpoint, and its classifier, and ask every prompt of the bundle."""
    folder = arguments.folder / case.name
    folder.mkdir(parents=True, exist_ok=True)
    picture, bundle = folder / "picture.png", _export(case, folder, arguments)
    Image.fromarray(case.picture()).save(picture)
    for name, prompt in case.facts["prompts"].items():
        if "classifier" in case.facts:  # a prompt of two points is two objects there
            asked = [_ask(bundle, picture, folder, option) for option in _each(prompt)]
            found = {key: np.concatenate([each[key] for each in asked]) for key in asked[0]}
        else:
            found = _ask(bundle, picture, folder, _together(prompt, folder))
            np.save(folder / f"{name}.npy", found["logits"][int(found["iou"].argmax())])
        logits = _error(case, f"{name}.low_res_masks", found["logits"])
        stored, part, _ = case.stored(f"{name}.iou", found["iou"])
        masks, ours, _ = case.stored(f"{name}.mask", found["mask"])
        yield Row(name, logits, float(np.abs(stored - part).max()), float((masks == ours).mean()))
    if "classifier" in case.facts:
        yield _everything(case, bundle, picture, folder)


def _export(case: PublishedCase, folder: Path, arguments: argparse.Namespace) -> Path:
    checkpoint = folder / f"{case.name}.pth"
    wrapped = {"state_dict": dict(case.checkpoint().tensors)}
    torch.save(wrapped if "classifier" in case.facts else wrapped["state_dict"], checkpoint)
    words = ["--checkpoint", str(checkpoint), "--target", arguments.target]
    words += ["--precision", arguments.precision, "--output", str(folder), "--quiet", "--force"]
    if "classifier" in case.facts:
        torch.save(case.classifier(), folder / "classifier.pth")
        height, width = case.facts["arch"]["input_size"]
        words += ["--classifier", str(folder / "classifier.pth")]
        words += ["--input-size", f"{height}x{width}"]
    else:
        words += ["--variant", VARIANT_OF.get(case.name, case.name)]
    if decoder := case.decoder_checkpoint():
        torch.save(dict(decoder.tensors), folder / "decoder.pth")
        words += ["--decoder-checkpoint", str(folder / "decoder.pth")]
    with contextlib.redirect_stdout(io.StringIO()):
        status = export_cli.main(words)
    if status:
        raise SystemExit(status)
    (bundle,) = folder.glob(f"*-{arguments.target}-{arguments.precision}*/")
    return bundle


def _each(prompt: dict[str, Any]) -> list[list[str]]:
    """Options of each object's own prompt."""
    if "box" in prompt:
        return [["--box", ",".join(map(str, prompt["box"]))]]
    return [["--point", f"{x},{y}"] for x, y in prompt["points"]]


def _together(prompt: dict[str, Any], folder: Path) -> list[str]:
    """Options of one object's prompts; an earlier case's mask is where it was kept."""
    found = []
    for (x, y), label in zip(prompt.get("points", ()), prompt.get("labels", ()), strict=True):
        found += ["--point", f"{x},{y},{label}"]
    if "box" in prompt:
        found += ["--box", ",".join(map(str, prompt["box"]))]
    if "mask_from" in prompt:
        found += ["--mask-input", str(folder / f"{prompt['mask_from']}.npy")]
    return [*found, "--multimask"] if prompt["multimask"] else found


def _ask(bundle: Path, picture: Path, folder: Path, options: list[str]) -> dict[str, Any]:
    """Run `sam-run`; logits and masks (K, h, w), predicted IoUs (K,)."""
    for old in folder.glob("mask*.png"):
        old.unlink()
    mask, logits, said = folder / "mask.png", folder / "logits.npy", io.StringIO()
    words = [str(bundle), str(picture), *options, "--mask", str(mask)]
    with contextlib.redirect_stdout(said):
        status = run_cli.main([*words, "--save-logits", str(logits), "--json"])
    if status:
        raise SystemExit(status)
    masks = [np.asarray(Image.open(file)) > 0 for file in sorted(folder.glob("mask*.png"))]
    ious = [mask["iou_prediction"] for mask in json.loads(said.getvalue())["masks"]]
    return {"logits": np.load(logits), "iou": np.float32(ious), "mask": np.stack(masks)}


def _everything(case: PublishedCase, bundle: Path, picture: Path, folder: Path) -> Row:
    labels = folder / "labels.png"
    with contextlib.redirect_stdout(io.StringIO()):
        if status := run_cli.main([str(bundle), str(picture), "--panoptic", str(labels)]):
            raise SystemExit(status)
    masks, scores = PanopticSegmenter(open_bundle(bundle)).answer(as_picture(picture))[:2]
    logits = _error(case, "panoptic.low_res_masks", masks)
    stored, part, _ = case.stored("panoptic.low_res_masks", masks)
    agree = float(((stored > 0) == (part > 0)).mean())
    return Row("panoptic", max(logits, _error(case, "panoptic.cls_scores", scores)), 0.0, agree)


def _error(case: PublishedCase, name: str, ours: np.ndarray[Any, Any]) -> float:
    stored, part, most = case.stored(name, ours)
    return float(np.abs(stored - part).max() / most)
