"""A bundle that finds everything in an image by itself; prompts choose among its detections.

These functions are the host's steps of `exporter.bundle.rules.DetectionRule`. numpy only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from exporter.bundle.folder import Bundle
from exporter.bundle.manifest import Manifest
from exporter.bundle.preprocess import Floats, Frame, image_input, resampling
from exporter.bundle.prompts import Prompts, place
from exporter.bundle.rules import DetectionRule
from exporter.errors import BundleError, PromptError, RequestError
from runtimes.engines import Array, load_graph, run_canonical
from runtimes.mask_prompts import MaskPrompt
from runtimes.masks import Masks
from runtimes.pictures import Picture
from runtimes.pieces import Piece, at_points, in_box
from runtimes.segmenters import Request, Segmenter

GRAPH = "segmenter"
Size = tuple[int, int]


@dataclass(frozen=True)
class Found:
    """Detections, the highest score first.

    Attributes:
        boxes: (K, 4) x0, y0, x1, y1.
        scores: (K,)
        coefficients: (K, C) of the prototypes.
    """

    boxes: Floats
    scores: Floats
    coefficients: Floats


def detect(outputs: Mapping[str, Array], rule: DetectionRule, size: Size) -> Found:
    """Do steps 1 to 4 of the rule.

    Args:
        outputs: `boxes` (1, N, 4), `scores` (1, N), `coefficients` (1, N, C).
        rule: the manifest's.
        size: width and height of the input.

    Returns:
        boxes in pixels of the input.
    """
    scores = outputs["scores"][0]
    above = np.flatnonzero(scores > rule.confidence)
    order = above[np.argsort(-scores[above], kind="stable")]
    boxes: Floats = outputs["boxes"][0][order]
    kept = suppress(boxes, rule)
    order = order[kept]
    return Found(
        snap_boxes(boxes[kept], rule, size), scores[order], outputs["coefficients"][0][order]
    )


def suppress(boxes: Floats, rule: DetectionRule) -> npt.NDArray[np.int64]:
    """Suppress non-maxima of boxes (K, 4), best first; returns the indices that stay."""
    kept: list[int] = []
    left = np.arange(len(boxes))
    while len(left) and len(kept) < rule.max_detections:
        best, left = left[0], left[1:]
        kept.append(int(best))
        left = left[iou(boxes[best], boxes[left]) <= np.float32(rule.nms_iou)]
    return np.array(kept, np.int64)


def iou(box: Floats, boxes: Floats) -> Floats:
    """Intersection over union of (4,) and (K, 4): (K,)."""
    low = np.maximum(box[:2], boxes[:, :2])
    high = np.minimum(box[2:], boxes[:, 2:])
    both = np.prod(np.clip(high - low, 0, None), axis=1)
    either = np.prod(box[2:] - box[:2]) + np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) - both
    return np.asarray(both / np.where(either == 0, 1, either), np.float32)


def snap_boxes(boxes: Floats, rule: DetectionRule, size: Size) -> Floats:
    """Move edges near the input's border onto it; a box that nearly fills the input becomes it."""
    whole = np.array([0, 0, *size], np.float32)
    moved = boxes.copy()
    moved[:, :2][boxes[:, :2] < rule.border] = 0
    far = boxes[:, 2:] > whole[2:] - np.float32(rule.border)
    moved[:, 2:] = np.where(far, whole[2:], boxes[:, 2:])
    moved[iou(whole, moved) > np.float32(rule.full_box_iou)] = whole
    return moved


def to_original(boxes: Floats, size: Size, original: Size) -> Floats:
    """Map boxes (K, 4) from pixels of the input to pixels of the original image, clipped to it."""
    gain = min(size[0] / original[0], size[1] / original[1])
    pads = [round((side - old * gain) / 2 - 0.1) for side, old in zip(size, original, strict=True)]
    mapped = (boxes - np.array(pads * 2, np.float32)) / np.float32(gain)
    return np.clip(mapped, 0, np.array(original * 2, np.float32))


def pieces_of(
    found: Found, prototypes: Floats, threshold: float, original: Size
) -> tuple[Piece, ...]:
    """Do step 6: make every detection's mask within its box.

    Args:
        found: boxes in pixels of the original image.
        prototypes: (C, h, w), the letterbox included.
        threshold: of the logits.
        original: width and height of the image.
    """
    cells = (prototypes.shape[2], prototypes.shape[1])
    gain = min(cells[0] / original[0], cells[1] / original[1])
    (left, right), (top, bottom) = (
        (int(pad), int(side - pad))
        for side, pad in ((s, (s - old * gain) / 2) for s, old in zip(cells, original, strict=True))
    )
    kept = prototypes[:, top:bottom, left:right]
    tall = resampling(bottom - top, original[1])
    wide = resampling(right - left, original[0])
    pieces = []
    for box, score, row in zip(found.boxes, found.scores, found.coefficients, strict=True):
        # A pixel counts if x0 <= x < x1: from the first whole number up to before the last.
        x0, y0, x1, y1 = (int(edge) for edge in np.ceil(box))
        logits = np.tensordot(row, kept, axes=1)
        mask = tall[y0:y1] @ logits @ wide[x0:x1].T > threshold
        pieces.append(Piece(float(score), x0, y0, mask, int(np.count_nonzero(mask))))
    return tuple(pieces)


def check_prompts(prompts: Prompts, frame: Frame) -> Prompts:
    """Check a prompt set and `place` it; an empty one asks for everything.

    Raises:
        PromptError: the bundle cannot take it.
    """
    if prompts.points and prompts.box is not None:
        raise PromptError("this bundle takes points or a box, not both")
    return place(prompts, frame)


class DetectionSegmenter(Segmenter):
    """See `Segmenter`. The network runs once an image; a prompt chooses among its detections.

    `predict` takes points or a box and gives one mask, empty with score 0 if nothing was found
    there; without a prompt it gives every object's. `iou_predictions` are detection scores, and
    there are no logits, no earlier mask to refine and no multimask.
    """

    def __init__(self, bundle: Bundle, engine: str | None = None, threads: int = 2) -> None:
        if bundle.manifest.detections is None:
            raise BundleError(f"{bundle.path} finds no objects by itself: it takes prompts")
        self.manifest = bundle.manifest
        self.rule = bundle.manifest.detections
        self._graph = load_graph(bundle, GRAPH, engine, threads)
        self._frame: Frame | None = None
        self._pieces: tuple[Piece, ...] = ()

    def set_picture(self, picture: Picture) -> None:
        """Find every object."""
        spec = self.manifest.graph(GRAPH).spec
        image, frame = image_input(picture.rgb, self.manifest.preprocess, picture.size)
        outputs = run_canonical(self._graph, spec, {"image": image})
        size = (frame.size, frame.size)
        found = detect(outputs, self.rule, size)
        boxes = to_original(found.boxes, size, frame.original)
        found = Found(boxes, found.scores, found.coefficients)
        threshold = self.manifest.mask.threshold
        self._pieces = pieces_of(found, outputs["prototypes"][0], threshold, frame.original)
        self._frame = frame

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """Every object of the image, the highest score first."""
        return self._pieces

    def predict_prompts(
        self, prompts: Prompts, mask_input: Floats | None = None, *, multimask: bool = False
    ) -> Masks:
        """See the class and `Segmenter.predict`."""
        if self._frame is None:
            raise RequestError("no image: call set_image before predict")
        refuse_refinement(mask_input is not None, multimask=multimask)
        prompts = check_prompts(prompts, self._frame)
        size = self._frame.original
        if prompts.points:
            merged, score = at_points(self._pieces, prompts.points, prompts.labels, size)
            return _masks([merged], [score], size)
        if prompts.box is None:
            return _masks(
                [_whole(piece, size) for piece in self._pieces],
                [piece.score for piece in self._pieces],
                size,
            )
        best = in_box(self._pieces, prompts.box, size)
        return _masks([_whole(best, size)], [best.score if best else 0.0], size)

    @staticmethod
    def validate(manifest: Manifest, request: Request, frame: Frame) -> MaskPrompt | None:
        """See `Segmenter.validate`."""
        del manifest
        refuse_refinement(request.mask_input is not None, multimask=request.multimask)
        if request.logits:
            raise PromptError("this bundle gives no logits: leave out --save-logits")
        for prompts in request.sets:
            check_prompts(prompts, frame)
        return None


def refuse_refinement(mask_input: bool, *, multimask: bool) -> None:  # noqa: FBT001
    """Refuse requests that only a mask decoder can do. PromptError names the option."""
    if mask_input:
        raise PromptError("this bundle cannot refine a mask: leave out the mask input")
    if multimask:
        raise PromptError("this bundle has one mask an object: leave out multimask")


def _whole(piece: Piece | None, size: Size) -> npt.NDArray[np.bool_]:
    picture = np.zeros((size[1], size[0]), np.bool_)
    if piece is not None:
        piece.put(picture, value=True)
    return picture


def _masks(masks: Sequence[npt.NDArray[np.bool_]], scores: Sequence[float], size: Size) -> Masks:
    stacked = np.stack(masks) if masks else np.zeros((0, size[1], size[0]), np.bool_)
    return Masks(stacked, np.array(scores, np.float32), np.zeros((0, 0, 0), np.float32))


SEGMENTER = DetectionSegmenter
