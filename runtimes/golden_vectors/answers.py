"""Outputs of the graphs -> masks, scores, boxes, polygons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from exporter.bundle.detections import choose_pieces, find_pieces
from exporter.bundle.masks import Masks, masks_of
from exporter.bundle.pieces import Piece
from exporter.bundle.polygons import polygon
from exporter.bundle.preprocess import Bools, Floats, fit
from exporter.bundle.prompts import Prompts
from exporter.bundle.rules import DetectionRule, MaskRule, Preprocess, Stability
from runtimes.golden_vectors.pixels import FRAMED, LETTERBOX, LONGEST, STRETCH, TRUNCATED, frame_of
from runtimes.golden_vectors.seeds import MARGIN, first_clear, logits
from runtimes.golden_vectors.store import Array, Topic
from runtimes.outputs import bounding_box

TOKENS, LOW = 4, 20
SAM = MaskRule(threshold=0.0, single=0, multi=(1, 2, 3), upscale="bilinear", low_res_size=LOW)
BY_STABILITY = replace(SAM, single=-1, multi=(0, 1, 2, 3), score="stability")
SAM2 = replace(
    SAM, upscale="bilinear_once", stability=Stability(delta=4.0, least=0.9), logit_limit=12.0
)
MEDSAM = replace(SAM, upscale="sigmoid_bilinear_once")
EFFICIENT_SAM = replace(SAM, single=-1, upscale="bicubic_once")
NANO_SAM = replace(SAM, upscale="crop_bilinear")
RULES: dict[str, tuple[Preprocess, MaskRule]] = {
    "sam": (LONGEST, SAM),
    "by stability": (LONGEST, BY_STABILITY),
    "sam2": (STRETCH, SAM2),
    "efficient_sam": (STRETCH, EFFICIENT_SAM),
    "nano_sam": (TRUNCATED, NANO_SAM),
    "framed": (FRAMED, replace(SAM, threshold=0.5)),
    "one token": (LONGEST, replace(SAM, multi=(0,))),
    "two tokens": (STRETCH, replace(SAM2, multi=(1,))),
    "nine tokens": (LONGEST, replace(BY_STABILITY, multi=tuple(range(9)))),
    "medsam": (STRETCH, MEDSAM),
}
SIZES = ((1, 1), (90, 61), (37, 53), (70, 1))
FEW, FEW_SIZES = ("medsam", "one token", "two tokens", "nine tokens"), 2
"""Rules that share their upscaling with others, and how many of the sizes they are tried with."""
TOLERANCES = (0.0, 1.0, 2.5)
CELLS = 16


@dataclass(frozen=True)
class Outputs:
    """Of a decoder, for one prompt set: (M, h, w) and (M,)."""

    logits: Floats
    iou: Floats


def masks() -> Topic:
    """Every mask rule: which tokens are taken, their scores, and masks at the picture's size."""
    topic = Topic("masks")
    for at, (rule_name, (preprocess, rule)) in enumerate(RULES.items()):
        for step, size in enumerate(SIZES[:FEW_SIZES] if rule_name in FEW else SIZES):
            outputs = _clear(preprocess, rule, size, 100 * at + 10 * step)
            for multimask in (False, True):
                name = f"{rule_name} {size[0]}x{size[1]}{' multimask' if multimask else ''}"
                _add_masks(topic, name, (preprocess, rule), size, (outputs, multimask))
    _add_extremes(topic)
    return topic


def _add_extremes(topic: Topic) -> None:
    """Masks without a pixel and with all, and a single mask that is not stable."""
    level = np.full((TOKENS, LOW, LOW), -8.0, np.float32)
    iou = np.array([0.25, 0.5, 0.75, 0.125], np.float32)
    _add_masks(topic, "empty", (LONGEST, SAM), (9, 4), (Outputs(level, iou), False))
    _add_masks(topic, "full", (LONGEST, SAM), (9, 4), (Outputs(-level, iou), False))
    _add_masks(topic, "none by stability", (LONGEST, BY_STABILITY), (9, 4),
               (Outputs(level, iou), False))  # fmt: skip
    shaky = level.copy()
    shaky[0, :10] = 2.0
    shaky[2, :, :10] = 8.0
    _add_masks(topic, "unstable", (STRETCH, SAM2), (9, 4), (Outputs(shaky, iou), False))
    steady = level.copy()
    steady[0, 5:] = 8.0
    _add_masks(topic, "stable", (STRETCH, SAM2), (9, 4), (Outputs(steady, iou), False))


def _clear(preprocess: Preprocess, rule: MaskRule, size: tuple[int, int], seed: int) -> Outputs:
    tokens = max(*rule.multi, rule.single) + 1

    def make(seed: int) -> tuple[Outputs, bool]:
        iou = np.random.default_rng(seed).integers(0, 1025, tokens) / np.float32(1024)
        outputs = Outputs(logits(seed, tokens, LOW), iou.astype(np.float32))
        low, high = (
            masks_of(outputs.logits, outputs.iou, fit(*size, preprocess), near, multimask=True)
            for near in _nearby(rule)
        )
        return outputs, np.array_equal(low.masks, high.masks)

    return first_clear(make, seed)


def _nearby(rule: MaskRule) -> tuple[MaskRule, MaskRule]:
    """The rule with thresholds a little lower and higher, and every token."""
    every = replace(rule, multi=tuple(range(max(*rule.multi, rule.single) + 1)))
    return (
        replace(every, threshold=rule.threshold - MARGIN),
        replace(every, threshold=rule.threshold + MARGIN),
    )


def _add_masks(
    topic: Topic,
    name: str,
    rules: tuple[Preprocess, MaskRule],
    size: tuple[int, int],
    asked: tuple[Outputs, bool],
) -> None:
    (preprocess, rule), (outputs, multimask) = rules, asked
    frame = fit(*size, preprocess)
    found = masks_of(outputs.logits, outputs.iou, frame, rule, multimask=multimask)
    topic.add(
        name,
        **frame_of(preprocess, size),
        mask=asdict(rule),
        low_res_masks=outputs.logits,
        iou_predictions=outputs.iou,
        multimask=multimask,
        expected=_described(found)
        | {
            "low_res_masks": found.low_res_masks,
            "stability": None if found.stability is None else found.stability,
        },
    )


def _described(found: Masks) -> dict[str, object]:
    return {
        "masks": found.masks,
        "iou_predictions": found.iou_predictions,
        "best": found.best if len(found.masks) else -1,
        "boxes": [bounding_box(mask) for mask in found.masks],
        "areas": [int(mask.sum()) for mask in found.masks],
    }


def polygons() -> Topic:
    """Outlines: single pixels, holes, corners that touch, and smooth masks."""
    topic = Topic("polygons")
    for name, mask in _shapes().items():
        for tolerance in TOLERANCES:
            rings = [[list(corner) for corner in ring] for ring in polygon(mask, tolerance)]
            topic.add(f"{name}, tolerance {tolerance:g}", mask=mask, tolerance=tolerance,
                      rings=rings)  # fmt: skip
    return topic


def _shapes() -> dict[str, Bools]:
    ring = np.ones((7, 9), np.bool_)
    ring[2:5, 2:6] = False
    ring[3, 4] = True
    corners = np.eye(6, dtype=np.bool_) | np.eye(6, k=2, dtype=np.bool_)
    smooth = logits(77, 1, 40)[0] > 0
    return {
        "one pixel": np.ones((1, 1), np.bool_),
        "nothing": np.zeros((3, 4), np.bool_),
        "a hole with an island": ring,
        "touching corners": corners,
        "anti-diagonal": corners[:, ::-1].copy(),
        "smooth": smooth,
        "noise": np.random.default_rng(5).integers(0, 2, (13, 11)).astype(np.bool_),
    }


DETECTION = DetectionRule(
    confidence=0.4,
    nms_iou=0.7,
    max_detections=9,
    border=3.0,
    full_box_iou=0.9,
    strides=(4, 8, 16),
    prototypes=4,
)
FOUND = MaskRule(
    threshold=0.0, single=-1, multi=(), upscale="letterbox_bilinear", low_res_size=CELLS
)


def detections() -> Topic:
    """What a detector finds, and what prompts choose of it."""
    topic = Topic("detections")
    for at, size in enumerate(((90, 61), (37, 53), (32, 32), (1, 1))):
        outputs = _clear_detections(size, 500 + at)
        _spoil(outputs["boxes"][0], outputs["scores"][0])
        frame = fit(*size, LETTERBOX)
        pieces = find_pieces(outputs, DETECTION, FOUND.threshold, frame)
        topic.add(
            f"{size[0]}x{size[1]}",
            **frame_of(LETTERBOX, size),
            detections=asdict(DETECTION),
            mask=asdict(FOUND),
            outputs=outputs,
            choices=[
                {"given": asdict(given), **_described(choose_pieces(pieces, given, size))}
                for given in _choosing(pieces, size)
            ],
        )
    return topic


def _spoil(boxes: Array, scores: Array) -> None:
    """Give the least promising rows the best scores, and boxes that nobody may take."""
    worst = np.argsort(scores, kind="stable")[:3]
    boxes[worst, 1], scores[worst] = (np.nan, np.inf, -np.inf), 1.0


def _choosing(pieces: Sequence[Piece], size: tuple[int, int]) -> Sequence[Prompts]:
    """Prompts that hit objects, and some that hit none."""
    w, h = map(float, size)
    inside = [_pixel(piece) for piece in pieces if piece.area][:3] or [(w / 2, h / 2)]
    return (
        Prompts(),
        Prompts((inside[0],), (1,)),
        Prompts((*inside, (w, h)), (1,) * len(inside) + (0,)),
        Prompts((inside[-1], inside[0]), (1, 0)),
        Prompts((inside[-1],), (0,)),
        Prompts((), (), (0.0, 0.0, w, h)),
        Prompts((), (), (w * 0.25, h * 0.125, w * 0.8, h * 0.7)),
    )


def _pixel(piece: Piece) -> tuple[float, float]:
    """The middle one of a mask's pixels, and a fraction within it."""
    pixels = np.argwhere(piece.mask)
    row, column = pixels[len(pixels) // 2].tolist()
    return piece.left + column + 0.25, piece.top + row + 0.5


def _detected(seed: int) -> dict[str, Array]:
    """Make outputs in eighths and sixteenths, which are exact."""
    rng = np.random.default_rng(seed)
    rows = sum((LETTERBOX.size // stride) ** 2 for stride in DETECTION.strides)
    centre = rng.integers(0, LETTERBOX.size * 8, (rows, 2)) / 8
    half = rng.integers(16, LETTERBOX.size * 5, (rows, 2)) / 8
    boxes = np.clip(np.concatenate([centre - half, centre + half], axis=1), 0, LETTERBOX.size)
    scores = rng.integers(0, 1 << 16, rows) / (1 << 16)
    scores[rng.integers(0, 8, rows) > 0] /= 4
    coefficients = rng.integers(-16, 17, (rows, DETECTION.prototypes)) / 16
    prototypes = logits(seed, DETECTION.prototypes, LOW)[:, :CELLS, :CELLS]
    made = {"boxes": boxes, "scores": scores, "coefficients": coefficients,
            "prototypes": prototypes}  # fmt: skip
    return {name: np.asarray(array[None], np.float32) for name, array in made.items()}


def _clear_detections(size: tuple[int, int], seed: int) -> dict[str, Array]:
    def make(seed: int) -> tuple[dict[str, Array], bool]:
        outputs = _detected(seed)
        frame = fit(*size, LETTERBOX)
        low, high = (
            find_pieces(outputs, DETECTION, FOUND.threshold + edge, frame)
            for edge in (-MARGIN, MARGIN)
        )
        same = all(np.array_equal(a.mask, b.mask) for a, b in zip(low, high, strict=True))
        return outputs, same and (len(low) > 3 or size == (1, 1))

    return first_clear(make, seed)
