"""Bundles of every kind and layout: the masks of `sam-segment` are those of the Python twin."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from exporter.bundle.folder import open_bundle
from runtimes.segmenters import open_segmenter
from tests.conformance import fill
from tests.unit.runtimes.segmenters.tiny_alone import build_detector, build_drawn
from tests.unit.runtimes.swift.swift_kit import compare
from tests.unit.tiny_bundle import Recipe, build

SIZE = (97, 61)
POINT: tuple[list[str], dict[str, Any]] = (
    ["--point", "40,30"],
    {"points": [(40, 30)], "labels": [1]},
)
BOX: tuple[list[str], dict[str, Any]] = (["--box", "20,10,80,50"], {"box": (20, 10, 80, 50)})
BOTH: tuple[list[str], dict[str, Any]] = (
    ["--point", "40,30", "--box", "20,10,80,50"],
    {"points": [(40, 30)], "labels": [1], "box": (20, 10, 80, 50)},
)
SEVERAL: tuple[list[str], dict[str, Any]] = (
    [*POINT[0], "--multimask"],
    {**POINT[1], "multimask": True},
)
NOTHING: tuple[list[str], dict[str, Any]] = ([], {})
SLOTS = (POINT, BOX, BOTH, SEVERAL)
Build = Callable[[Path], Any]
KINDS: dict[str, tuple[Build, tuple[tuple[list[str], dict[str, Any]], ...]]] = {
    "batch of three": (lambda folder: build(folder, Recipe(batch=3)), SLOTS),
    "no mask input": (lambda folder: build(folder, Recipe(takes_mask=False)), SLOTS),
    "ranked by stability": (
        lambda folder: build(folder, Recipe(single=-1, score="stability")),
        SLOTS,
    ),
    "channels last": (lambda folder: build(folder, Recipe(layout="NHWC")), SLOTS),
    "detections": (build_detector, (NOTHING, POINT, BOX)),
    "drawn": (build_drawn, (POINT, BOX)),
}


@pytest.mark.parametrize("name", KINDS)
def test_masks(built: Path, name: str, tmp_path: Path) -> None:
    make, asked = KINDS[name]
    make(tmp_path / "bundle")
    bundle = open_bundle(tmp_path / "bundle")
    twin = open_segmenter(bundle)
    rgb = fill.picture(3, SIZE[1], SIZE[0])
    Image.fromarray(rgb).save(tmp_path / "scene.png")
    twin.set_image(rgb)
    inside = 0
    for words, arguments in asked:
        expected = twin.predict(**arguments).masks
        inside += np.count_nonzero(expected)
        compare(built, bundle, [tmp_path / "scene.png", *words], expected)
    assert inside > 100
