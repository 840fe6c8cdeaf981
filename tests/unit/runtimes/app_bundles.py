"""Swift's and Kotlin's masks on any ONNX bundle beside `sam-run`'s: `make apps ARGS=BUNDLE...`.

    python -m tests.unit.runtimes.app_bundles bundles/mobile_sam-onnx-fp32 --write

Every kind of prompt that a bundle takes, on generated scenes of several forms: the share of pixels
on which the masks agree. Exit status 1 if one is under `AGREE`. `--write` renews the page.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from exporter.bundle.folder import Bundle, open_bundle
from exporter.printable import one_line
from exporter.scenes.scene import box_around, point_inside, scene
from runtimes.segmenters import Segmenter, open_segmenter
from tests.unit.runtimes.app_commands import build_commands
from tests.unit.runtimes.segment_kit import AGREE, ROOT, run

PAGE = ROOT / "profiles" / "results" / "apps.md"
FORMS = ((3_400_001, 480, 640), (3_400_002, 601, 337))
"""Seed, height and width of the scenes: one fills the input's width, one its height."""
KINDS = {
    "slots": ("point", "points", "box", "box and point", "multimask", "refined"),
    "detections": ("everything", "point", "box"),
    "drawn": ("point", "box"),
}
HEAD = """# Swift and Kotlin beside sam-run

Shares of pixels on which the app libraries, through ONNX Runtime, agree with `sam-run`, the least
of two scenes (weights of the conformance cases, which stand in for published ones).
At least {least:.2%} is asked for. Command: `make apps ARGS='{names} --write'`.

| bundle | prompt | masks | inside | Swift | Kotlin |
| --- | --- | --- | --- | --- | --- |
"""


def main() -> int:
    """Compare on every bundle given; returns the exit status."""
    parser = argparse.ArgumentParser(description="Swift's and Kotlin's masks beside sam-run's.")
    parser.add_argument("bundles", nargs="+", type=Path, metavar="BUNDLE")
    parser.add_argument("--write", action="store_true", help=f"renew {PAGE.name}")
    given = parser.parse_args()
    commands = build_commands()
    rows, least = [], 1.0
    for path in given.bundles:
        bundle = open_bundle(path)
        for kind in KINDS[bundle.manifest.kind]:
            if kind == "refined" and not _takes_masks(bundle):
                continue
            count, inside, shares = _compare(bundle, kind, commands)
            least = min(least, *shares.values())
            cells = [f"{share:.4%}" for share in shares.values()]
            rows.append(f"| {path.name} | {kind} | {count} | {inside:.1%} | {' | '.join(cells)} |")
            sys.stdout.write(one_line(rows[-1]) + "\n")
            sys.stdout.flush()
    if given.write:
        names = " ".join(path.name for path in given.bundles)
        PAGE.write_text(HEAD.format(least=AGREE, names=names) + "\n".join(rows) + "\n")
    return 0 if least >= AGREE else 1


def _takes_masks(bundle: Bundle) -> bool:
    inputs = [tensor.name for graph in bundle.manifest.graphs for tensor in graph.spec.inputs]
    return "mask_input" in inputs


def _compare(
    bundle: Bundle, kind: str, commands: Mapping[str, Path]
) -> tuple[int, float, dict[str, float]]:
    """Segment both scenes: masks of one, share of pixels inside, least agreement by language."""
    twin = open_segmenter(bundle)
    shares = dict.fromkeys(commands, 1.0)
    inside = []
    for form in FORMS:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            words, expected = _ask(twin, kind, form, folder)
            inside.append(float(expected.mean()))
            for language, command in commands.items():
                found = _segment(command, bundle, words, folder / language, len(expected))
                share = float(np.mean(found == expected))
                shares[language] = min(shares[language], share)
    return len(expected), float(np.mean(inside)), shares


def _ask(
    twin: Segmenter, kind: str, form: tuple[int, int, int], folder: Path
) -> tuple[list[str], Any]:
    """ObjectPrompt the twin on a scene; the same request in words, and its masks (K, H, W)."""
    made = scene(*form)
    picture = folder / "scene.png"
    Image.fromarray(made.image).save(picture)
    twin.set_image(made.image)
    (x, y), box = point_inside(made.instances[0]), box_around(made.instances[0])
    away = point_inside(made.instances[-1])
    point = ["--point", f"{x},{y}"]
    words = {
        "everything": [],
        "point": point,
        "points": [*point, "--point", f"{away[0]},{away[1]},0"],
        "box": ["--box", ",".join(map(str, box))],
        "box and point": ["--box", ",".join(map(str, box)), *point],
        "multimask": [*point, "--multimask"],
        "refined": point,
    }[kind]
    asked: dict[str, Any] = {}
    if "--point" in words:
        asked |= {"points": [(x, y)], "labels": [1]}
    if kind == "points":
        asked = {"points": [(x, y), away], "labels": [1, 0]}
    if "--box" in words:
        asked["box"] = box
    if kind == "multimask":
        asked["multimask"] = True
    if kind == "refined":
        first = twin.predict(**asked)
        np.save(folder / "first.npy", first.low_res_masks)
        words = [*words, "--mask-input", str(folder / "first.npy")]
        asked["mask_input"] = first.low_res_masks
    return [str(picture), *words], twin.predict(**asked).masks


def _segment(command: Path, bundle: Bundle, words: Sequence[str], folder: Path, count: int) -> Any:
    """Run `sam-segment`; its masks (K, H, W)."""
    folder.mkdir()
    ran = run(command, bundle.path, *words, "--mask", folder / "mask.png")
    assert ran.returncode == 0, ran.stderr
    files = [folder / f"mask_{i}.png" for i in range(count)] if count > 1 else [folder / "mask.png"]
    return np.stack([np.asarray(Image.open(file)) > 0 for file in files])


if __name__ == "__main__":
    sys.exit(main())
