"""A bundle on this machine as a `Predictor`, or as a `Finder` if it finds objects by itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from exporter.bundle.agreement import POINT_SCORES
from exporter.bundle.manifest import Manifest
from exporter.bundle.masks import choose_tokens
from exporter.bundle.pieces import Piece
from exporter.bundle.preprocess import Bytes, Floats, fit, upscaling
from exporter.bundle.prompts import Prompts
from exporter.errors import ExportError, PromptError, RequestError
from runtimes.everything.predictor import Generator, Passing
from runtimes.everything.steps.grids import Points
from runtimes.everything.steps.interpolation import Upscaler
from runtimes.everything.steps.peaks import peaks_in_picture
from runtimes.segmenters import Segmenter
from runtimes.segmenters.detections import DetectionSegmenter
from runtimes.segmenters.slots import SlotSegmenter

NO_PROPOSER = (
    "{} has no head that proposes points: use the demo's bundle of --everything, or another method"
)

_CURE = "use another method, engine or precision"


def has_proposer(manifest: Manifest) -> bool:
    """Whether a bundle has a graph that proposes points."""
    outputs = (tensor for graph in manifest.graphs for tensor in graph.spec.outputs)
    return any(tensor.name == POINT_SCORES for tensor in outputs)


def rules_of(manifest: Manifest) -> Generator:
    """Find whose generator a bundle is for."""
    rule = manifest.prompts
    # SAM 2's predictor is the one that pads a box as well.
    return "sam2" if rule is not None and rule.pad_with_box else "sam"


def require_refinable(manifest: Manifest) -> None:
    """PromptError if a bundle's decoder cannot be asked again with its own masks."""
    names = {tensor.name for graph in manifest.graphs for tensor in graph.spec.inputs}
    if "mask_input" in names:
        return
    cut = any(graph.spec.name == "token_decoder" for graph in manifest.graphs)
    other = ", or use an ordinary bundle: sam-export without --everything" if cut else ""
    raise PromptError(
        f"{manifest.variant} takes no earlier mask, which use_m2m gives it: leave out "
        f"use_m2m{other}"
    )


class SlotPredictor:
    """An encoder and a decoder with prompt slots, asked as `runtimes.everything.predictor` says."""

    def __init__(self, segmenter: SlotSegmenter) -> None:
        self._segmenter = segmenter
        self._manifest = segmenter.manifest
        self.mask_threshold = self._manifest.mask.threshold
        rule = self._manifest.prompts
        self._batch = 1 if rule is None else rule.batch
        self.generator = rules_of(self._manifest)
        side = self._manifest.mask.low_res_size
        self._none = np.zeros((0, side, side), np.float32)
        self.passing_points = self._passing_points if segmenter.rates_first else None

    def set_image(self, image: Bytes, /) -> None:
        """Encode (H, W, 3)."""
        self._segmenter.set_image(image)

    def points(
        self,
        points: npt.NDArray[np.float64],
        multimask: bool = True,  # noqa: FBT001 - as published
        mask_input: Floats | None = None,
    ) -> tuple[Floats, Floats]:
        """See `Predictor.points`."""
        if mask_input is not None:
            require_refinable(self._manifest)
        sets = [Prompts(((x, y),), (1,)) for x, y in np.asarray(points, np.float64).tolist()]
        return self._answers(sets, mask_input, multimask=multimask and mask_input is None)

    def boxes(self, boxes: Floats) -> tuple[Floats, Floats]:
        """See `Predictor.boxes`."""
        corners = np.asarray(boxes, np.float64).tolist()
        sets = [Prompts(box=(x0, y0, x1, y1)) for x0, y0, x1, y1 in corners]
        return self._answers(sets, None, multimask=False)

    def upscaler(self, shape: tuple[int, int], size: tuple[int, int]) -> Upscaler:
        """Make the interpolation of the manifest's mask rule; see `upscaler_of`."""
        how = self._manifest.mask.upscale
        frame = fit(size[1], size[0], self._manifest.preprocess)
        return Upscaler(*upscaling(shape, frame, how), squashed=how == "sigmoid_bilinear_once")

    def proposals(self) -> tuple[Points, Floats]:
        """See `Predictor.proposals`.

        Raises:
            RequestError: the bundle has no head that proposes.
            ExportError: what its head gives are no numbers.
        """
        if not has_proposer(self._manifest):
            raise RequestError(NO_PROPOSER.format(self._manifest.variant))
        scores, frame = self._segmenter.beside(POINT_SCORES)
        if not np.isfinite(scores).any():
            raise ExportError(f"{self._manifest.variant}'s {POINT_SCORES} are not numbers: {_CURE}")
        return peaks_in_picture(scores[0, 0], frame)

    def _passing_points(
        self,
        points: npt.NDArray[np.float64],
        multimask: bool,  # noqa: FBT001 - as `points`
        passing: Passing,
    ) -> tuple[Floats, Floats]:
        """Answer clicks, and make the masks of those alone that have one that passes.

        Returns:
            Predicted IoUs (n, K), and the logits (P, h, w) of those that pass, in order.
        """
        if not multimask:
            logits, ious = self.points(points, multimask)
            return ious, logits[passing(ious)]
        rated: list[Floats] = []
        passed: list[Floats] = [self._none]
        for first in range(0, len(points), self._batch):
            ious, logits = self._passing_batch(points[first : first + self._batch], passing)
            rated.append(ious)
            passed.append(logits)
        return np.concatenate(rated), np.concatenate(passed)

    def _passing_batch(
        self, points: npt.NDArray[np.float64], passing: Passing
    ) -> tuple[Floats, Floats]:
        tokens, count = list(self._manifest.mask.multi), len(points)
        sets = [Prompts(((x, y),), (1,)) for x, y in np.asarray(points, np.float64).tolist()]

        def wanted(iou: Floats) -> bool:
            return bool(passing(iou[:count, tokens]).any())

        logits, iou = self._segmenter.decode(sets, wanted=wanted)
        ious = iou[:count, tokens]
        if logits is None:
            return ious, self._none
        return ious, logits[:count, tokens][passing(ious)]

    def _answers(
        self, sets: Sequence[Prompts], earlier: Floats | None, *, multimask: bool
    ) -> tuple[Floats, Floats]:
        """Decode as many sets a call as the bundle's batch has, and choose their masks."""
        rule = self._manifest.mask
        masks, ious = [], []
        for first in range(0, len(sets), self._batch):
            part = slice(first, first + self._batch)
            given = None if earlier is None else earlier[part]
            logits, iou = self._segmenter.decode(sets[part], given)
            if logits is None:
                raise RequestError("the bundle made no masks")
            asked = len(sets[part])  # the rows beyond repeat
            for mine, rated in zip(logits[:asked], iou[:asked], strict=True):
                tokens = list(choose_tokens(rule, mine, rated, multimask=multimask))
                masks.append(mine[tokens])
                ious.append(rated[tokens])
        return np.stack(masks), np.stack(ious)


class BundleFinder:
    """A bundle that finds objects by itself, such as FastSAM's."""

    def __init__(self, segmenter: DetectionSegmenter) -> None:
        self._segmenter = segmenter

    def set_image(self, image: Bytes, /) -> None:
        """Find the objects of (H, W, 3)."""
        self._segmenter.set_image(image)

    def points(self, *given: object) -> tuple[Floats, Floats]:
        """RequestError: it takes no prompts."""
        raise RequestError("this bundle finds objects by itself and takes no prompts: use detector")

    boxes = points

    def detections(self) -> tuple[tuple[Piece, ...], Floats]:
        """See `Finder.detections`; a box is the whole pixels that its mask may lie in."""
        pieces = [piece for piece in self._segmenter.pieces if piece.mask.size]
        corners = [
            (p.left, p.top, p.left + p.mask.shape[1], p.top + p.mask.shape[0]) for p in pieces
        ]
        return tuple(pieces), np.array(corners, np.float32).reshape(-1, 4)


def predictor_of(segmenter: Segmenter) -> SlotPredictor | BundleFinder:
    """Make everything's predictor of a bundle's segmenter.

    Raises:
        RequestError: each prompt takes a full run of its network.
    """
    if isinstance(segmenter, SlotSegmenter):
        return SlotPredictor(segmenter)
    if isinstance(segmenter, DetectionSegmenter):
        return BundleFinder(segmenter)
    raise RequestError("this bundle takes a full run of its network for each prompt: ask for one")
