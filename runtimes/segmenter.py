"""Run a bundle as an app does: one image once, then as many prompts as one likes.

The host twin of the generated Swift and Kotlin. numpy, Pillow and the bundle's engine; no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from exporter.bundle.folder import Bundle
from exporter.bundle.manifest import Manifest
from exporter.bundle.preprocess import (
    Bools,
    Bytes,
    Floats,
    Frame,
    binarise,
    image_input,
    mask_scores,
    upscale,
)
from exporter.bundle.prompts import Prompts, pack
from exporter.bundle.rules import MaskRule
from exporter.bundle.tensors import GraphSpec
from exporter.errors import BundleError, PromptError, RequestError
from runtimes.engines import Array, open_session, run_canonical

ENCODER = "image_encoder"
DECODER = "mask_decoder"


@dataclass(frozen=True)
class Masks:
    """What one prompt set gave; K is 1, or with `multimask` the number of the rule's `multi`.

    Attributes:
        masks: (K, H, W) at the size of the original image.
        iou_predictions: (K,) the network's own estimate of each mask's quality.
        low_res_masks: (K, h, w) logits; one of them may be a later `mask_input`.
        stability: (K,) where the bundle ranks masks by that; see `exporter.bundle.rules.MaskRule`.
    """

    masks: Bools
    iou_predictions: Floats
    low_res_masks: Floats
    stability: Floats | None = None

    @property
    def scores(self) -> Floats:
        """(K,) what ranks the masks."""
        return self.iou_predictions if self.stability is None else self.stability

    @property
    def word(self) -> str:
        """What to call the scores in a few letters."""
        return "iou" if self.stability is None else "stability"

    @property
    def best(self) -> int:
        """The mask with the highest score."""
        return int(np.argmax(self.scores))


class Segmenter:
    """Both graphs of a bundle, loaded.

    Args:
        bundle: opened.
        engine: a name, or None for the first that can run here.
        threads: for engines that take a number.

    Raises:
        RequestError: no engine here can run the bundle.
        BundleError: the bundle has not the two graphs, or the engine cannot load one.
    """

    def __init__(self, bundle: Bundle, engine: str | None = None, threads: int = 2) -> None:
        names = {graph.spec.name for graph in bundle.manifest.graphs}
        rule = bundle.manifest.prompts
        if not {ENCODER, DECODER} <= names or rule is None:
            raise BundleError(f"{bundle.path} has no {ENCODER} and {DECODER}: it takes no prompts")
        self.manifest = bundle.manifest
        self._rule = rule
        self._encoder = open_session(bundle, ENCODER, engine, threads)
        self._decoder = open_session(bundle, DECODER, engine, threads)
        self._embedded: dict[str, Array] | None = None
        self._frame = Frame((0, 0), (0, 0), 0)

    def set_image(self, rgb: Bytes) -> None:
        """Run the image encoder and keep its float32 outputs.

        Args:
            rgb: (H, W, 3) uint8.

        Raises:
            ImageError: not such an array.
        """
        image, frame = image_input(rgb, self.manifest.preprocess)
        self._embedded = run_canonical(self._encoder, self._spec(ENCODER), {"image": image})
        self._frame = frame

    def predict(
        self,
        points: npt.ArrayLike | None = None,
        labels: npt.ArrayLike | None = None,
        box: npt.ArrayLike | None = None,
        mask_input: Floats | None = None,
        *,
        multimask: bool = False,
    ) -> Masks:
        """Masks of one prompt set on the image that was set.

        Args:
            points: (n, 2) x, y in pixels of the original image.
            labels: (n,) 1 foreground, 0 background.
            box: (4,) x0, y0, x1, y1 in pixels of the original image.
            mask_input: (1, h, w) or (h, w): logits of an earlier `low_res_masks`.
            multimask: every mask of the rule's `multi`, in token order, instead of one.

        Raises:
            RequestError: no image was set.
            PromptError: prompts that the bundle cannot take, or a mask where it takes none.
        """
        if mask_input is not None:
            require_mask_input(self.manifest)
        prompts = as_prompts(points, labels, box)
        return self._decode([prompts], mask_input, multimask=multimask)[0]

    def predict_many(
        self, sets: Sequence[Prompts], *, multimask: bool = False
    ) -> tuple[Masks, ...]:
        """Masks of up to B prompt sets in one call of the decoder, B being the bundle's batch."""
        return self._decode(sets, None, multimask=multimask)

    def _decode(
        self, sets: Sequence[Prompts], mask_input: Floats | None, *, multimask: bool
    ) -> tuple[Masks, ...]:
        if self._embedded is None:
            raise RequestError("no image: call set_image before predict")
        rule, spec = self._rule, self._spec(DECODER)
        if not 1 <= len(sets) <= rule.batch:
            raise PromptError(f"{len(sets)} prompt sets; this bundle takes 1 to {rule.batch}")
        packed = [pack(prompts, self._frame, rule) for prompts in sets]
        # A static batch is always full: the last set is repeated, and its repeats are not read.
        packed += [packed[-1]] * (rule.batch - len(packed))
        inputs: dict[str, Array] = {
            "point_coords": np.concatenate([coords for coords, _ in packed]),
            "point_labels": np.concatenate([labels for _, labels in packed]),
            **mask_inputs(mask_input, self.manifest.mask.low_res_size, rule.batch),
            **self._embedded,
        }
        wanted = {tensor.name: inputs[tensor.name] for tensor in spec.inputs}
        outputs = run_canonical(self._decoder, spec, wanted)
        logits, iou = outputs["low_res_masks"], outputs["iou_predictions"]
        asked = (self._frame, self.manifest.mask)
        return tuple(
            masks_of(logits[i], iou[i], *asked, multimask=multimask) for i in range(len(sets))
        )

    def _spec(self, name: str) -> GraphSpec:
        return self.manifest.graph(name).spec


def masks_of(
    logits: Floats, iou: Floats, frame: Frame, rule: MaskRule, *, multimask: bool
) -> Masks:
    """(M, h, w) `low_res_masks` and (M,) of one prompt set -> what its caller asked for."""
    tokens = list(chosen_tokens(rule, logits, iou, multimask=multimask))
    full = upscale(logits[tokens], frame, rule.upscale)
    scores = mask_scores(logits[tokens], iou[tokens], rule)
    return Masks(
        binarise(full, rule),
        iou[tokens],
        limited(logits[tokens], rule),
        None if rule.score == "iou_predictions" else scores,
    )


def chosen_tokens(
    rule: MaskRule, logits: Floats, iou: Floats, *, multimask: bool
) -> tuple[int, ...]:
    """The mask tokens a caller gets, as the variant's own code chooses them.

    Args:
        rule: the manifest's.
        logits: (M, h, w) `low_res_masks` of one prompt set.
        iou: (M,) its `iou_predictions`.
        multimask: what the caller asked for.
    """
    if multimask:
        return rule.multi
    if rule.single >= 0 and stable(rule, logits[rule.single]):
        return (rule.single,)
    scores = mask_scores(logits, iou, rule)
    return (max(rule.multi, key=lambda token: float(scores[token])),)


def stable(rule: MaskRule, logits: Floats) -> bool:
    """Whether a mask (h, w) is as stable as the rule wants it; always, where it wants nothing."""
    if rule.stability is None:
        return True
    delta = rule.stability.delta
    strict, loose = (int(np.count_nonzero(logits > edge)) for edge in (delta, -delta))
    return loose == 0 or strict / loose >= rule.stability.least


def limited(logits: Floats, rule: MaskRule) -> Floats:
    """Logits as the caller gets them."""
    if rule.logit_limit is None:
        return logits
    return np.clip(logits, -rule.logit_limit, rule.logit_limit)


def as_prompts(
    points: npt.ArrayLike | None, labels: npt.ArrayLike | None, box: npt.ArrayLike | None
) -> Prompts:
    """Arrays or lists as users have them -> one prompt set. PromptError names a wrong shape."""
    xy = _numbers([] if points is None else points, "points", (-1, 2))
    kinds = _numbers([] if labels is None else labels, "labels", (-1,))
    odd = [label for label in kinds.tolist() if label not in (0.0, 1.0)]
    if odd:
        raise PromptError(f"a point's label is 1 (foreground) or 0 (background), not {odd[0]:g}")
    corners = None if box is None else tuple(_numbers(box, "box", (4,)).tolist())
    return Prompts(
        points=tuple((float(x), float(y)) for x, y in xy),
        labels=tuple(int(label) for label in kinds),
        box=None if corners is None else (corners[0], corners[1], corners[2], corners[3]),
    )


def require_mask_input(manifest: Manifest) -> None:
    """PromptError if the bundle's decoder takes no earlier mask."""
    if all(tensor.name != "mask_input" for tensor in manifest.graph(DECODER).spec.inputs):
        raise PromptError(f"{manifest.variant} takes no earlier mask: leave out the mask input")


def mask_inputs(mask_input: Floats | None, side: int, batch: int) -> dict[str, Array]:
    """`mask_input` (B, 1, side, side) and `has_mask_input` (B,); zeros where there is none."""
    full = np.zeros((batch, 1, side, side), np.float32)
    if mask_input is None:
        return {"mask_input": full, "has_mask_input": np.zeros(batch, np.float32)}
    logits = np.asarray(mask_input)
    if logits.shape not in ((side, side), (1, side, side)) or logits.dtype.kind != "f":
        raise PromptError(
            f"mask_input is one of an earlier result's low_res_masks, floats of ({side}, {side}), "
            f"not {logits.dtype} of {logits.shape}"
        )
    if not np.isfinite(logits).all():
        raise PromptError("mask_input holds values that are not finite")
    full[:] = logits
    return {"mask_input": full, "has_mask_input": np.ones(batch, np.float32)}


def _numbers(values: npt.ArrayLike, name: str, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    try:
        array = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        raise PromptError(f"{name} are not numbers: {values!r}") from None
    if array.size == 0 and -1 in shape:
        return array.reshape([0 if n == -1 else n for n in shape])
    fits = len(array.shape) == len(shape) and all(
        want in (-1, have) for want, have in zip(shape, array.shape, strict=True)
    )
    if not fits:
        wanted = " x ".join("n" if n == -1 else str(n) for n in shape)
        raise PromptError(f"{name} should be {wanted} numbers, not an array of {array.shape}")
    return array
