"""What `sam-segment` of each app library is tried on: pictures, prompts, bundles, requests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from exporter.bundle.folder import Bundle, open_bundle
from exporter.demo import network
from runtimes.everything import everything
from runtimes.everything.bundles import predictor_of
from runtimes.pictures.reading import read_picture
from runtimes.segmenters import Segmenter, open_segmenter
from tests.conformance import fill
from tests.unit.runtimes.segment_kit import compare, expect_refusal
from tests.unit.runtimes.segmenters.tiny_alone import build_detector, build_drawn
from tests.unit.runtimes.segmenters.tiny_halves import build_halves
from tests.unit.tiny_bundle import Recipe, build

SAMPLE = Path(network.__file__).parent / "sample.png"
Asked = tuple[list[str], dict[str, Any]]


def _rgb(picture: Image.Image) -> Image.Image:
    return picture.convert("RGB")


def _scene(picture: Image.Image) -> Image.Image:
    return _rgb(picture).rotate(20).crop((60, 90, 590, 341))


PICTURES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "landscape.png": _rgb,
    "portrait.ppm": lambda picture: _scene(picture).resize((180, 301)),
    "grey.png": lambda picture: _scene(picture).convert("L"),
    "palette.png": lambda picture: _scene(picture).quantize(13),
    "transparent.png": lambda picture: _scene(picture).convert("RGBA"),
    "black_and_white.png": lambda picture: _scene(picture).convert("1"),
    "turned.png": _scene,
}
PROMPTS: dict[str, Asked] = {
    "point": (["--point", "60,80"], {"points": [(60, 80)], "labels": [1]}),
    "points": (
        ["--point", "60,80", "--point", "150,40.5,0"],
        {"points": [(60, 80), (150, 40.5)], "labels": [1, 0]},
    ),
    "box": (["--box", "20.5,30,170,170"], {"box": (20.5, 30, 170, 170)}),
    "box_and_point": (
        ["--box", "20.5,30,170,170", "--point", "100,100,0"],
        {"points": [(100, 100)], "labels": [0], "box": (20.5, 30, 170, 170)},
    ),
    "multimask": (
        ["--point", "90,90", "--multimask"],
        {"points": [(90, 90)], "labels": [1], "multimask": True},
    ),
    "refined": (["--point", "90,90"], {"points": [(90, 90)], "labels": [1]}),
}
REFUSED: tuple[tuple[list[str], str], ...] = (
    (["{picture}"], "no prompt: give a point or a box"),
    (["{picture}", "--point", "9999,5"], "the point 9999,5 is outside the image"),
    (["{picture}", "--point", "nan,5"], "nan,5 is not numbers"),
    (["{picture}", "--box", "9,9,5,5"], "the box 9,9,5,5 is empty"),
    (["{picture}", "--box", "1,2,3"], "a box is X0,Y0,X1,Y1"),
    (["{picture}", "--point", "5,5", "--mask-input", "{picture}"], "is no array of numpy"),
    (["{picture}", "--points", "5,5"], "there is no option --points"),
    (["{picture}", "--point", "5,5", "--times", "0"], "--times takes a number from 1 to 10000"),
    (["/nowhere.png", "--point", "5,5"], "/nowhere.png is missing"),
    ([], "give a BUNDLE and a PICTURE"),
    (["{picture}", "--onnxruntime", "/nowhere.so"], "cannot open ONNX Runtime"),
)


def try_picture(built: Path, bundle: Bundle, twin: Segmenter, picture: Path) -> None:
    """Save the sample picture in a way of `PICTURES`, and segment it."""
    exif = Image.Exif()
    exif[0x0112] = 6 if picture.name == "turned.png" else 1
    options = {} if picture.suffix == ".ppm" else {"exif": exif}
    PICTURES[picture.name](Image.open(SAMPLE)).save(picture, **options)
    twin.set_picture(read_picture(picture))
    words, asked = PROMPTS["point"]
    expected = twin.predict(**asked).masks
    assert 0 < expected.mean() < 1
    compare(built, bundle, [picture, *words], expected)


def try_prompt(built: Path, bundle: Bundle, twin: Segmenter, name: str, folder: Path) -> None:
    """Segment a scene by one of `PROMPTS`."""
    picture = folder / "scene.png"
    _scene(Image.open(SAMPLE)).save(picture)
    twin.set_picture(read_picture(picture))
    words, asked = PROMPTS[name]
    words = [str(picture), *words]
    if name == "refined":
        first = twin.predict(**asked)
        np.save(folder / "first.npy", first.low_res_masks)
        words += ["--mask-input", str(folder / "first.npy")]
        asked = {**asked, "mask_input": first.low_res_masks}
    compare(built, bundle, words, twin.predict(**asked).masks)


SIZE = (97, 61)
POINT: Asked = (["--point", "40,30"], {"points": [(40, 30)], "labels": [1]})
BOX: Asked = (["--box", "20,10,80,50"], {"box": (20, 10, 80, 50)})
BOTH: Asked = (
    ["--point", "40,30", "--box", "20,10,80,50"],
    {"points": [(40, 30)], "labels": [1], "box": (20, 10, 80, 50)},
)
SEVERAL: Asked = ([*POINT[0], "--multimask"], {**POINT[1], "multimask": True})
NOTHING: Asked = ([], {})
SLOTS = (POINT, BOX, BOTH, SEVERAL)
Build = Callable[[Path], Any]
KINDS: dict[str, tuple[Build, Sequence[Asked]]] = {
    "batch of three": (lambda folder: build(folder, Recipe(batch=3)), SLOTS),
    "no mask input": (lambda folder: build(folder, Recipe(takes_mask=False)), SLOTS),
    "ranked by stability": (
        lambda folder: build(folder, Recipe(single=-1, score="stability")),
        SLOTS,
    ),
    "channels last": (lambda folder: build(folder, Recipe(layout="NHWC")), SLOTS),
    "detections": (build_detector, (NOTHING, POINT, BOX)),
    "drawn": (build_drawn, (POINT, BOX)),
    "halved decoder": (build_halves, (POINT, BOX, SEVERAL)),
}
LOOSE = ["--pred-iou-thresh", "0.84", "--stability-score-thresh", "0.03"]
GRID = {"points_per_side": 5, "pred_iou_thresh": 0.84, "stability_score_thresh": 0.03}
EVERYTHING: dict[str, tuple[Build, list[str], dict[str, Any]]] = {
    "grid": (
        lambda folder: build(folder, Recipe(batch=3)),
        [
            "--points-per-side",
            "5",
            *LOOSE,
            "--stability-score-offset",
            "0.5",
            "--crop-n-layers",
            "1",
        ],
        {"method": "grid", **GRID, "stability_score_offset": 0.5, "crop_n_layers": 1},
    ),
    "halved decoder": (
        build_halves,
        ["grid", "--points-per-side", "5", *LOOSE],
        {"method": "grid", **GRID},
    ),
    "hierarchical": (
        build_halves,
        ["hierarchical", "--points-per-side", "8", *LOOSE],
        {"method": "hierarchical", **GRID, "points_per_side": 8},
    ),
    "object-aware": (
        build_halves,
        ["object-aware", "--box", "20,10,80,50"],
        {"method": "object_aware", "boxes": [(20, 10, 80, 50)]},
    ),
    "proposed and fast": (
        partial(build_halves, proposes=True),
        ["proposed", "--fast", *LOOSE],
        {
            "method": "proposed",
            "fast": True,
            "pred_iou_thresh": 0.84,
            "stability_score_thresh": 0.03,
        },
    ),
    "detector's boxes": (build, ["object-aware"], {"method": "object_aware"}),
    "detector": (build_detector, ["detector"], {"method": "detector"}),
}
NOTHING_TO_DO: tuple[tuple[list[str], str], ...] = (
    (["--everything", "all"], "is one of grid, hierarchical, object-aware, proposed, detector"),
    (["--everything", "proposed"], "has no head that proposes points"),
    (["--everything", "proposed", "--points-per-side", "9"], "takes no --points-per-side"),
    (["--everything", "detector", "--fast"], "takes no --fast"),
    (["--everything", "--leave-small-regions"], "goes with --min-mask-region-area"),
    (["--everything", "--multimask"], "leave out --multimask"),
    (["--fast", "--point", "5,5"], "--fast goes with --everything"),
    (["--everything", "grid", "--point", "5,5"], "leave out --point"),
    (
        ["--everything", "grid", "--points-per-side", "300"],
        "--points-per-side is a whole number from 1 to 256",
    ),
    (["--everything", "object-aware"], "one of the two, goes with --everything object-aware"),
    (["--everything", "detector"], "finds objects by itself, such as FastSAM's"),
)


def try_kind(built: Path, name: str, folder: Path) -> None:
    """Make a bundle of one of `KINDS`, and segment a picture by each of its prompts."""
    make, prompts = KINDS[name]
    make(folder / "bundle")
    bundle = open_bundle(folder / "bundle")
    twin = open_segmenter(bundle)
    rgb = fill.picture(3, SIZE[1], SIZE[0])
    Image.fromarray(rgb).save(folder / "scene.png")
    twin.set_image(rgb)
    inside = 0
    for words, asked in prompts:
        expected = twin.predict(**asked).masks
        inside += np.count_nonzero(expected)
        compare(built, bundle, [folder / "scene.png", *words], expected)
    assert inside > 100


def try_everything(built: Path, name: str, folder: Path) -> None:
    """Find everything by a case of `EVERYTHING`: the twin's masks in its order."""
    make, words, asked = EVERYTHING[name]
    make(folder / "bundle")
    bundle = open_bundle(folder / "bundle")
    asked = dict(asked)
    if words == ["object-aware"]:
        build_detector(folder / "finder")
        words = [*words, "--detector", str(folder / "finder")]
        asked["detector"] = predictor_of(open_segmenter(open_bundle(folder / "finder")))
    rgb = fill.picture(3, SIZE[1], SIZE[0])
    Image.fromarray(rgb).save(folder / "scene.png")
    found = everything(open_segmenter(bundle), rgb, **asked)
    assert len(found) > 0
    expected = np.stack([segment.mask for segment in found])
    compare(built, bundle, [folder / "scene.png", "--everything", *words], expected)


def try_refining(built: Path, folder: Path) -> None:
    """Ask a bundle that cannot to refine: the option and the remedy are named."""
    build_halves(folder / "bundle")
    words = [SAMPLE, "--everything", "--points-per-side", "1", "--refine"]
    says = "which --refine gives it: leave out --refine, or use an ordinary bundle"
    expect_refusal(built, folder / "bundle", words, says)
