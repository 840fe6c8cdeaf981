"""The committed files are what the Python twin makes, and reading them as other twins do agrees."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from PIL import Image

from exporter import errors
from exporter.bundle.detections import choose_pieces, find_pieces
from exporter.bundle.drawn_prompts import draw
from exporter.bundle.folder import open_bundle
from exporter.bundle.masks import Masks, masks_of
from exporter.bundle.polygons import polygon
from exporter.bundle.preprocess import fit, image_input
from exporter.bundle.prompts import Prompts, pack
from exporter.bundle.reading import parse
from exporter.bundle.rules import DetectionRule, DrawnPrompts, MaskRule, Preprocess, PromptRule
from runtimes.engines import choose_engine
from runtimes.golden_vectors.__main__ import CASES, write
from runtimes.golden_vectors.bundles import REFUSED
from runtimes.outputs import bounding_box
from runtimes.pictures.pixels import upright
from runtimes.segmenters.detections import check_prompts

T = TypeVar("T")


@functools.cache
def stored(topic: str) -> bytes:
    return (CASES / f"{topic}.bin").read_bytes()


class Case:
    """One case as a twin reads it: values by name, arrays from the binary file."""

    def __init__(self, topic: str, data: dict[str, Any]) -> None:
        self._topic, self.data = topic, data

    def rule(self, name: str, kind: type[T]) -> T:
        return parse(kind, self.data[name], name)

    def array(self, where: dict[str, Any]) -> np.ndarray:
        content = stored(self._topic)
        dtype = np.uint8 if where["dtype"] == "bits" else np.dtype(where["dtype"])
        count, offset = int(np.prod(where["shape"])), where["offset"]
        if where["dtype"] != "bits":
            return np.frombuffer(content, dtype, count, offset).reshape(where["shape"])
        packed = np.frombuffer(content, dtype, -(-count // 8), offset)
        return np.unpackbits(packed, count=count).reshape(where["shape"]).astype(np.bool_)

    def __getitem__(self, name: str) -> np.ndarray:
        return self.array(self.data[name])

    @property
    def frame(self):
        return fit(*self.data["size"], self.rule("preprocess", Preprocess))


def cases(topic: str) -> list[Any]:
    rows = json.loads((CASES / f"{topic}.json").read_text())
    return [pytest.param(Case(topic, row), id=row["name"]) for row in rows]


def prompts(given: dict[str, Any]) -> Prompts:
    """A coordinate that JSON cannot hold is a text."""
    points = tuple((float(x), float(y)) for x, y in given["points"])
    box = given["box"] and tuple(map(float, given["box"]))
    return Prompts(points, tuple(given["labels"]), box)


def check_masks(case: Case, expected: dict[str, Any], found: Masks) -> None:
    np.testing.assert_array_equal(found.masks, case.array(expected["masks"]))
    np.testing.assert_array_equal(
        found.iou_predictions, case.array(expected["iou_predictions"]), strict=True
    )
    assert expected["areas"] == [int(mask.sum()) for mask in found.masks]
    assert expected["boxes"] == [bounding_box(mask) for mask in found.masks]
    assert expected["best"] == (found.best if len(found.masks) else -1)


def test_the_committed_files_are_what_this_twin_makes(tmp_path: Path) -> None:
    write(tmp_path)
    made, kept = (
        {file.relative_to(root).as_posix(): file.read_bytes() for file in root.rglob("*.*")
         if file.is_file()}
        for root in (tmp_path, CASES)
    )  # fmt: skip
    assert sorted(made) == sorted(kept)
    changed = [name for name in made if made[name] != kept[name]]
    assert changed == [], "run `make golden-vectors` and look at what changed"
    assert sum(map(len, made.values())) < 2_200_000


@pytest.mark.parametrize("case", cases("preprocessing"))
def test_preprocessing(case: Case) -> None:
    image, frame = image_input(case["picture"], case.rule("preprocess", Preprocess))
    data = case.data
    assert (list(frame.resized), list(frame.offset)) == (data["resized"], data["offset"])
    given = image.transpose(0, 2, 3, 1) if data["layout"] == "NHWC" else image
    given = np.rint(given) if data["dtype"] == "uint8" else given
    np.testing.assert_allclose(given, case["image"], rtol=0, atol=data["tolerance"])


@pytest.mark.parametrize("case", cases("orientations"))
def test_orientations(case: Case) -> None:
    turned = upright(Image.fromarray(case["picture"]), case.data["orientation"])
    np.testing.assert_array_equal(np.asarray(turned), case["upright"])


@pytest.mark.parametrize("case", cases("slots"))
def test_slots(case: Case) -> None:
    coords, labels = pack(prompts(case.data["given"]), case.frame, case.rule("prompts", PromptRule))
    np.testing.assert_array_equal(coords, case["point_coords"], strict=True)
    np.testing.assert_array_equal(labels, case["point_labels"], strict=True)


@pytest.mark.parametrize("case", cases("drawn_prompts"))
def test_drawn_prompts(case: Case) -> None:
    rule = case.rule("drawn_prompts", DrawnPrompts)
    drawn = draw(prompts(case.data["given"]), case.frame, rule)
    np.testing.assert_array_equal(drawn, case["prompt_masks"])


@pytest.mark.parametrize("case", cases("masks"))
def test_masks(case: Case) -> None:
    logits, iou = case["low_res_masks"], case["iou_predictions"]
    asked = (case.frame, case.rule("mask", MaskRule))
    found = masks_of(logits, iou, *asked, multimask=case.data["multimask"])
    expected = case.data["expected"]
    check_masks(case, expected, found)
    np.testing.assert_array_equal(found.low_res_masks, case.array(expected["low_res_masks"]))
    if expected["stability"] is None:
        assert found.stability is None
    else:
        np.testing.assert_array_equal(found.stability, case.array(expected["stability"]))


@pytest.mark.parametrize("case", cases("polygons"))
def test_polygons(case: Case) -> None:
    rings = polygon(case["mask"], case.data["tolerance"])
    assert [[list(corner) for corner in ring] for ring in rings] == case.data["rings"]


@pytest.mark.parametrize("case", cases("detections"))
def test_detections(case: Case) -> None:
    rule, mask = case.rule("detections", DetectionRule), case.rule("mask", MaskRule)
    outputs = {name: case.array(where) for name, where in case.data["outputs"].items()}
    pieces = find_pieces(outputs, rule, mask.threshold, case.frame)
    for choice in case.data["choices"]:
        found = choose_pieces(pieces, prompts(choice["given"]), case.frame.original)
        check_masks(case, choice, found)


@pytest.mark.parametrize("case", cases("refusals"))
def test_refusals(case: Case) -> None:
    data = case.data
    twins_alone = data["name"] in REFUSED and REFUSED[data["name"]].opens_here
    if data["error"] is None or twins_alone:
        refuse(case)
        return
    with pytest.raises(getattr(errors, data["error"])) as caught:
        refuse(case)
    assert type(caught.value).__name__ == data["error"]
    assert [word for word in data["says"] if word not in str(caught.value)] == []
    assert "\n" not in str(caught.value)


def refuse(case: Case) -> None:
    """Do what the case asks for."""
    data = case.data
    if data["kind"] == "bundle":
        bundle = open_bundle(CASES / "bundles" / data["name"])
        # The engine of that target, asked to run this bundle.
        choose_engine(bundle.manifest.target, choose_engine(data["target"]).name)
    elif data["kind"] == "picture":
        width, height = data["size"]
        rule = Preprocess("stretch", 8, "pillow_bilinear", *[(0.0,) * 3] * 2, (1.0,) * 3)
        image_input(np.zeros((height, width, 3), np.uint8), rule)
    elif data["kind"] == "slots":
        pack(prompts(data["given"]), case.frame, case.rule("prompts", PromptRule))
    elif data["kind"] == "drawn":
        draw(prompts(data["given"]), case.frame, case.rule("drawn_prompts", DrawnPrompts))
    else:
        rule = Preprocess("stretch", 8, "pillow_bilinear", *[(0.0,) * 3] * 2, (1.0,) * 3)
        check_prompts(prompts(data["given"]), fit(*data["size"], rule))
