"""A bundle's masks for all pictures and prompts, packed: a bit a pixel."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from exporter.bundle.folder import Bundle
from exporter.bundle.manifest import Manifest
from exporter.bundle.masks import Masks
from exporter.bundle.preprocess import Bools, Floats, fit
from exporter.errors import PromptError
from exporter.progress import Progress
from profiles.accuracy.cases import Case, Shot, Shots
from runtimes.gate import iou
from runtimes.segmenters import Request, Segmenter, open_segmenter, validate

EVERY = 10
"""Pictures between two lines of progress."""


@dataclass(frozen=True)
class Answer:
    """The best mask of one case.

    Attributes:
        bits: of the mask, row by row, packed.
        shape: (H, W) of it.
        best: which of the bundle's masks it is.
        score: the network's own estimate of it.
        truth_iou: its IoU with the object that is meant; None if nobody knows that.
        finite: whether no number of the masks is NaN or infinite.
    """

    bits: npt.NDArray[np.uint8]
    shape: tuple[int, int]
    best: int
    score: float
    truth_iou: float | None
    finite: bool

    @property
    def mask(self) -> Bools:
        """(H, W)."""
        height, width = self.shape
        flat = np.unpackbits(self.bits, count=height * width)
        return flat.reshape(height, width).astype(np.bool_)


Answers = Sequence[Mapping[int, Answer]]
"""For each picture: place of a case -> its answer."""


def refused_kinds(manifest: Manifest, shot: Shot) -> dict[str, str]:
    """Find the kinds of prompts that a bundle cannot take, with the reason."""
    frame = fit(*shot.picture.size, manifest.preprocess)
    refused: dict[str, str] = {}
    for case in shot.cases:
        try:
            validate(manifest, Request((case.prompts,), chooses(manifest)), frame)
        except PromptError as error:
            refused[case.kind] = str(error)
        if case.refines is not None and not takes_masks(manifest):
            refused[case.kind] = f"{manifest.variant} takes no earlier mask"
    return refused


def chooses(manifest: Manifest) -> bool:
    """Tell whether a bundle gives several masks for a prompt, of which one is chosen."""
    return manifest.detections is None


def takes_masks(manifest: Manifest) -> bool:
    """Tell whether a bundle refines an earlier mask."""
    return any(t.name == "mask_input" for graph in manifest.graphs for t in graph.spec.inputs)


def answer(
    bundle: Bundle, shots: Shots, kinds: Iterable[str], threads: int, report: Progress
) -> Answers:
    """Run every picture and prompt.

    Args:
        bundle: opened.
        shots: pictures with their cases.
        kinds: of the cases that are asked; a case whose earlier mask is not among them is left out.
        threads: for engines that take a number.
        report: called every few pictures.

    Raises:
        RequestError: no engine here can run the bundle.
        BundleError: its graphs cannot be loaded.
    """
    segmenter, asked = open_segmenter(bundle, threads=threads), frozenset(kinds)
    multimask = chooses(bundle.manifest)
    found = []
    for number, make in enumerate(shots):
        if number % EVERY == 0:
            report(f"{bundle.path.name}: picture {number + 1} of {len(shots)}")
        found.append(_answer_shot(segmenter, make(), asked, multimask=multimask))
    return found


def _answer_shot(
    segmenter: Segmenter, shot: Shot, asked: frozenset[str], *, multimask: bool
) -> dict[int, Answer]:
    segmenter.set_picture(shot.picture)
    answers: dict[int, Answer] = {}
    logits: dict[int, Floats] = {}
    for place, case in enumerate(shot.cases):
        if case.kind not in asked or case.refines not in (None, *logits):
            continue
        earlier = None if case.refines is None else np.nan_to_num(logits[case.refines])
        masks = segmenter.predict_prompts(case.prompts, earlier, multimask=multimask)
        answers[place] = _pack(masks, case)
        if len(masks.low_res_masks):
            logits[place] = masks.low_res_masks[masks.best]
    return answers


def _pack(masks: Masks, case: Case) -> Answer:
    best = masks.best
    mask = masks.masks[best]
    numbers = (masks.low_res_masks, masks.iou_predictions)
    return Answer(
        bits=np.packbits(mask),
        shape=(mask.shape[0], mask.shape[1]),
        best=best,
        score=float(masks.iou_predictions[best]),
        truth_iou=None if case.truth is None else iou(mask, case.truth),
        finite=all(bool(np.isfinite(each).all()) for each in numbers),
    )
