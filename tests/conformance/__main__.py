"""Published cases through the public commands: export, run, compare. Minutes a variant.

    python -m tests.conformance efficienttam_ti_512x512 edgetam --target onnx

writes the checkpoint with the case's values and the frames as PNGs into --folder, runs `sam-export
--video` and `sam-run BUNDLE FRAMES --point ... --arrays`, and prints a table. Status 1 if a figure
is outside the case's tolerance. A case without frames, or any with `--case picture`, is asked of
its picture: see `tests.conformance.pictures`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from exporter import cli as export_cli
from runtimes import cli as run_cli
from tests.conformance import fill, pictures, published_case
from tests.conformance.published_case import PublishedCase

VIDEOS = ("video", "video_absent")
MASKS, PIXELS = 5e-3, 0.999
HEAD = "| variant | case | frames | masks' logits | score | pixels |\n|" + " --- |" * 6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("variants", nargs="+")
    parser.add_argument("--target", default="onnx")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument(
        "--case", choices=("picture", *VIDEOS), help="default: both videos where there are any"
    )
    parser.add_argument("--folder", type=Path, default=Path("build/videos"))
    arguments = parser.parse_args()
    of_pictures = [name for name in arguments.variants if not _is_video(name, arguments.case)]
    if len(of_pictures) < len(arguments.variants):
        print(HEAD)
    elif of_pictures:
        print(pictures.HEAD)
    good = True
    for name in arguments.variants:
        case = published_case.load(name)
        if name in of_pictures:
            good &= _pictures(case, arguments)
            continue
        cases = [arguments.case] if arguments.case else VIDEOS
        for key in (key for key in cases if key in case.facts):
            worst = follow(case, key, arguments)
            print(row(case, key, worst), flush=True)
            good &= worst["low_res_masks"] <= MASKS and worst["object_score_logits"] <= MASKS
            good &= worst["mask"] >= PIXELS
    return 0 if good else 1


def _is_video(name: str, wanted: str | None) -> bool:
    """Tell whether the case's frames are followed, not its picture."""
    has = any(key in published_case.facts(name) for key in VIDEOS)
    return has and wanted != "picture"


def _pictures(case: PublishedCase, arguments: argparse.Namespace) -> bool:
    good = True
    for found in pictures.follow(case, arguments):
        print(found.line(case.name), flush=True)
        good &= found.is_good(*pictures.tolerances(case, arguments.precision))
    return good


def follow(case: PublishedCase, key: str, arguments: argparse.Namespace) -> dict[str, float]:
    facts = case.facts[key]
    folder = arguments.folder / f"{case.name}-{key}"
    frames = folder / "frames"
    frames.mkdir(parents=True, exist_ok=True)
    for at, seed in enumerate(facts["seeds"]):
        picture = fill.picture(seed, facts["height"], facts["width"])
        Image.fromarray(picture).save(frames / f"{at:05d}.png")
    words = ["--variant", case.name, "--checkpoint", str(_checkpoint(case, facts, folder))]
    words += ["--video", "--target", arguments.target, "--precision", arguments.precision]
    status = export_cli.main([*words, "--output", str(folder), "--force", "--quiet"])
    if status:
        raise SystemExit(status)
    (bundle,) = folder.glob(f"*-{arguments.target}-{arguments.precision}")
    ((x, y),) = facts["prompt"]["points"]
    arrays = folder / "arrays.npz"
    status = run_cli.main(
        [str(bundle), str(frames), "--point", f"{x},{y}", "--arrays", str(arrays), "--json"]
    )
    if status:
        raise SystemExit(status)
    return compare(case, key, arrays)


def compare(case: PublishedCase, key: str, path: Path) -> dict[str, float]:
    """The worst figure of each output over the frames."""
    worst = {"low_res_masks": 0.0, "object_score_logits": 0.0, "mask": 1.0}
    with np.load(path) as arrays:
        for frame in range(len(case.facts[key]["seeds"])):
            found = {
                "low_res_masks": arrays["low_res_masks"][frame][:, None],
                "object_score_logits": arrays["object_score_logits"][frame][:, None],
                "mask": arrays["masks"][frame][:, None] > 0,
            }
            for output, ours in found.items():
                stored, part, most = case.stored(f"{key}.frame{frame}.{output}", ours)
                if output == "mask":
                    worst[output] = min(worst[output], float(np.mean(stored == part)))
                else:
                    error = float(np.abs(stored - part).max() / most)
                    worst[output] = max(worst[output], error)
    return worst


def row(case: PublishedCase, key: str, worst: dict[str, float]) -> str:
    frames = len(case.facts[key]["seeds"])
    logits, score = worst["low_res_masks"], worst["object_score_logits"]
    return f"| {case.name} | {key} | {frames} | {logits:.1e} | {score:.1e} | {worst['mask']:.2%} |"


def _checkpoint(case: PublishedCase, facts: dict, folder: Path) -> Path:
    salt = facts.get("fill", case.facts["fill"])["salt"]
    filled = PublishedCase(case.name, case.facts | {"fill": {"salt": salt}}, case.outputs)
    tensors, layout = dict(filled.checkpoint().tensors), case.facts["checkpoint"]["layout"]
    path = folder / f"{case.name}.pt"
    torch.save(tensors if layout == "flat" else {layout: tensors}, path)
    return path


if __name__ == "__main__":
    sys.exit(main())
