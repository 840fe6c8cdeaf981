"""FastSAM against the published code: from the uint8 image to the masks that prompts choose.

`square_*` are the raw outputs of the unfused network in the letterbox our graph takes; ours is
fused. `gain.*` come from the published predictor, which pads to a multiple of 32 only: there our
network is built for that size, and the host's half is the one a bundle uses.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from exporter.bundle.detections import Found, detect, pieces_of, to_original
from exporter.bundle.pieces import Piece, at_points, in_box
from exporter.bundle.preprocess import Bools, image_input
from exporter.checkpoints.fit import load_strict
from exporter.models.layers import freeze
from exporter.models.yolov8_seg import Yolov8Seg
from exporter.variants import Variant, load_variant
from tests.conformance import published_case
from tests.conformance.published_case import PublishedCase
from tests.unit.small_networks import split

RELATIVE = 1e-4  # of the array's absolute maximum
PREPROCESSED = 1e-3  # absolute
ROUNDING = 2e-6  # absolute: by how much two implementations' scores differ
PIXELS = 0.999  # share of the stored mask pixels that agree
Arrays = dict[str, np.ndarray[Any, Any]]

pytestmark = pytest.mark.conformance


@dataclass
class Predicted:
    """The published predictor's path with the case's gain, through our modules."""

    case: PublishedCase
    image: np.ndarray[Any, Any]
    outputs: Arrays
    found: Found
    pieces: tuple[Piece, ...]
    size: tuple[int, int]


@pytest.fixture(scope="module", params=published_case.detector_names())
def case(request: pytest.FixtureRequest) -> PublishedCase:
    return published_case.load(request.param)


@pytest.fixture(scope="module")
def predicted(case: PublishedCase) -> Predicted:
    variant = load_variant(case.name)
    image, frame = image_input(case.picture(), variant.preprocess)
    (left, top), (width, height) = frame.offset, frame.resized
    assert width % 32 == height % 32 == 0, "the predictor would pad: crop less"
    image = image[:, :, top : top + height, left : left + width] / np.float32(255)
    outputs = _raw(_network(variant, case, (height, width), gain=True), image)
    rule = dataclasses.replace(variant.prompting.rule, confidence=case.facts["postprocess"]["conf"])
    found = detect(outputs, rule, (width, height))
    boxes = to_original(found.boxes, (width, height), frame.original)
    found = dataclasses.replace(found, boxes=boxes)
    pieces = pieces_of(found, outputs["prototypes"][0], variant.mask.threshold, frame.original)
    return Predicted(case, image, outputs, found, pieces, frame.original)


def _network(
    variant: Variant, case: PublishedCase, size: tuple[int, int], *, gain: bool
) -> Yolov8Seg:
    """The variant's network for another size of input, fused."""
    loaded, _ = load_strict(variant, case.checkpoint(gain=gain))
    network = Yolov8Seg(loaded.size, size)
    network.load_state_dict(loaded.state_dict())
    freeze(network)
    return network


def _raw(network: torch.nn.Module, image: np.ndarray[Any, Any]) -> Arrays:
    with torch.no_grad():
        outputs = network(torch.from_numpy(image))
    names = ("boxes", "scores", "coefficients", "prototypes")
    return {name: tensor.numpy() for name, tensor in zip(names, outputs, strict=True)}


def _as_published(outputs: Arrays) -> Arrays:
    """Channels first; boxes as centre and size; scores before their sigmoid too."""
    low, high = np.split(outputs["boxes"], 2, axis=2)
    boxes = np.concatenate([(low + high) / 2, high - low], axis=2)
    scores = outputs["scores"][:, None].astype(np.float64)
    return {
        "boxes": boxes.transpose(0, 2, 1),
        "scores": scores,
        "score_logits": np.log(scores / (1 - scores)),
        "coefficients": outputs["coefficients"].transpose(0, 2, 1),
        "prototypes": outputs["prototypes"],
    }


def _check_raw(case: PublishedCase, prefix: str, outputs: Arrays) -> None:
    for name, ours in _as_published(outputs).items():
        expected, part, most = case.stored(f"{prefix}.{name}", ours)
        assert np.abs(part - expected).max() <= RELATIVE * most, name


def test_another_square(case: PublishedCase) -> None:
    """640: here the image shrinks."""
    variant = load_variant(case.name)
    image = _square(case, variant, 640)
    network = _network(variant, case, (640, 640), gain=False)
    _check_raw(case, "square_640", _raw(network, image / np.float32(255)))


def _square(case: PublishedCase, variant: Variant, side: int) -> np.ndarray[Any, Any]:
    image, _ = image_input(case.picture(), dataclasses.replace(variant.preprocess, size=side))
    expected, ours, _ = case.stored(f"square_{side}.preprocessed", image / np.float32(255))
    np.testing.assert_allclose(ours, expected, atol=PREPROCESSED, rtol=0)
    return image


def test_the_exported_graph(case: PublishedCase) -> None:
    """With its own normalisation, at its own size, in the order of its spec."""
    variant = load_variant(case.name)
    network, _ = load_strict(variant, case.checkpoint())
    (graph,) = split(freeze(network), variant, batch=1, slots=8)
    image = _square(case, variant, 1024)
    with torch.no_grad():
        made = graph.module(torch.from_numpy(image))
    outputs = {t.name: o.numpy() for t, o in zip(graph.spec.outputs, made, strict=True)}
    assert [o.shape for o in outputs.values()] == [t.shape for t in graph.spec.outputs]
    _check_raw(case, "square_1024", outputs)


def test_parameters_are_as_listed(case: PublishedCase) -> None:
    """The published count, less the sixteen bins."""
    variant = load_variant(case.name)
    assert variant.parameters == case.facts["arch"]["parameters"] - 16


def test_the_predictors_input_and_raw_outputs(predicted: Predicted) -> None:
    expected, ours, _ = predicted.case.stored("gain.preprocessed", predicted.image)
    np.testing.assert_allclose(ours, expected, atol=PREPROCESSED, rtol=0)
    _check_raw(predicted.case, "gain", predicted.outputs)


def test_everything(predicted: Predicted) -> None:
    case, found = predicted.case, predicted.found
    classes = np.zeros((len(found.scores), 1), np.float32)
    boxes = np.concatenate([found.boxes, found.scores[:, None], classes], axis=1)
    order = _matched(boxes, case.outputs["gain.everything.boxes"])
    expected, ours, most = case.stored("gain.everything.boxes", boxes[order])
    assert np.abs(ours - expected).max() <= RELATIVE * most
    masks = np.stack([_picture(predicted.pieces[i], predicted.size) for i in order])
    expected, ours, _ = case.stored("gain.everything.mask", masks)
    agreeing = (ours == expected).mean(axis=(1, 2))
    assert agreeing.min() >= PIXELS
    assert len(masks) > 10


def _matched(ours: np.ndarray[Any, Any], theirs: np.ndarray[Any, Any]) -> list[int]:
    """Our rows in their order: scores that differ by rounding alone may have swapped places."""
    far = np.abs(ours[None] - theirs[:, None]).max(axis=2)
    order = [int(row.argmin()) for row in far]
    assert sorted(order) == list(range(len(ours)))
    scores = ours[:, 4]
    assert np.abs(scores[order] - np.sort(scores)[::-1]).max() <= ROUNDING
    return order


def test_every_prompt(predicted: Predicted) -> None:
    case, empty = predicted.case, []
    for name, prompt in case.facts["prompts"].items():
        mask = _prompted(predicted, prompt)
        expected, ours, _ = case.stored(f"gain.{name}.mask", mask[None])
        assert (ours == expected).mean() >= PIXELS, name
        if not expected.any():
            empty.append(name)
    assert set(case.facts["prompts"]) - set(empty) >= {"box", "hit", "hits"}


def _prompted(predicted: Predicted, prompt: dict[str, Any]) -> Bools:
    if "box" in prompt:
        best = in_box(predicted.pieces, tuple(prompt["box"]), predicted.size)
        assert best is not None
        return _picture(best, predicted.size)
    points = [(float(x), float(y)) for x, y in prompt["points"]]
    return at_points(predicted.pieces, points, prompt["labels"], predicted.size)[0]


def _picture(piece: Piece, size: tuple[int, int]) -> Bools:
    picture = np.zeros((size[1], size[0]), np.bool_)
    piece.put(picture, value=True)
    return picture
