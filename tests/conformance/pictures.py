"""A published case of points, boxes and panoptic masks through the public commands, with numpy.

See `tests.conformance.__main__`. The size is the one that the published code gives the case's
picture, and the tolerances are the case's.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
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
from tests.conformance.published_case import PublishedCase

HEAD = "| variant | case | logits | IoU | pixels |\n|" + " --- |" * 5
LOGITS, PIXELS = 3e-3, 0.998


@dataclass(frozen=True)
class Row:
    """The worst figures of one prompt, or of everything."""

    case: str
    logits: float
    iou: float
    pixels: float

    @property
    def good(self) -> bool:
        return max(self.logits, self.iou) <= LOGITS and self.pixels >= PIXELS

    def line(self, variant: str) -> str:
        shown = f"{self.logits:.1e} | {self.iou:.1e} | {self.pixels:.3%}"
        return f"| {variant} | {self.case} | {shown} |"


def follow(case: PublishedCase, arguments: argparse.Namespace) -> Iterator[Row]:
    """Export the case's checkpoint and classifier, and ask every prompt of the bundle."""
    folder = arguments.folder / case.name
    folder.mkdir(parents=True, exist_ok=True)
    picture, bundle = folder / "picture.png", _export(case, folder, arguments)
    Image.fromarray(case.picture()).save(picture)
    for name, prompt in case.facts["prompts"].items():
        asked = [_ask(bundle, picture, folder, option) for option in _options(prompt)]
        found = {key: np.stack([each[key] for each in asked]) for key in asked[0]}
        logits = _error(case, f"{name}.low_res_masks", found["logits"])
        stored, part, _ = case.stored(f"{name}.iou", found["iou"])
        masks, ours, _ = case.stored(f"{name}.mask", found["mask"])
        yield Row(name, logits, float(np.abs(stored - part).max()), float((masks == ours).mean()))
    yield _everything(case, bundle, picture, folder)


def _export(case: PublishedCase, folder: Path, arguments: argparse.Namespace) -> Path:
    checkpoint, classifier = folder / f"{case.name}.pth", folder / "classifier.pth"
    torch.save({"state_dict": dict(case.checkpoint().tensors)}, checkpoint)
    torch.save(case.classifier(), classifier)
    height, width = case.facts["arch"]["input_size"]
    words = ["--checkpoint", str(checkpoint), "--classifier", str(classifier)]
    words += ["--target", arguments.target, "--precision", arguments.precision]
    words += ["--input-size", f"{height}x{width}", "--output", str(folder), "--quiet", "--force"]
    with contextlib.redirect_stdout(io.StringIO()):
        status = export_cli.main(words)
    if status:
        raise SystemExit(status)
    (bundle,) = folder.glob(f"*-{arguments.target}-{arguments.precision}-*")
    return bundle


def _options(prompt: dict[str, Any]) -> list[list[str]]:
    if "box" in prompt:
        return [["--box", ",".join(map(str, prompt["box"]))]]
    return [["--point", f"{x},{y}"] for x, y in prompt["points"]]


def _ask(bundle: Path, picture: Path, folder: Path, option: list[str]) -> dict[str, Any]:
    mask, logits, said = folder / "mask.png", folder / "logits.npy", io.StringIO()
    words = [str(bundle), str(picture), *option, "--mask", str(mask)]
    with contextlib.redirect_stdout(said):
        status = run_cli.main([*words, "--save-logits", str(logits), "--json"])
    if status:
        raise SystemExit(status)
    with Image.open(mask) as image:
        pixels = np.asarray(image) > 0
    iou = json.loads(said.getvalue())["masks"][0]["iou_prediction"]
    return {"logits": np.load(logits)[0], "iou": np.float32(iou), "mask": pixels}


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
