"""An image encoder and a mask decoder whose static slots hold the prompts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from exporter.bundle.flow import order_graphs
from exporter.bundle.folder import Bundle
from exporter.bundle.layouts import Array
from exporter.bundle.manifest import Manifest
from exporter.bundle.masks import Masks, masks_of
from exporter.bundle.preprocess import Floats, Frame, image_input, resized_size
from exporter.bundle.prompts import Prompts, check, pack
from exporter.bundle.rules import PromptRule
from exporter.bundle.tensors import GraphSpec
from exporter.errors import BundleError, PromptError, RequestError
from runtimes.engines import Load, loader, run_canonical
from runtimes.mask_prompts import MaskPrompt, as_logits, read_mask_prompt
from runtimes.pictures import Picture
from runtimes.segmenters import Request, Segmenter

MASKS, IOU = "low_res_masks", "iou_predictions"
Wanted = Callable[[Floats], bool]
"""Predicted IoUs (B, M) -> whether the masks are wanted as well."""


class SlotSegmenter(Segmenter):
    """See `Segmenter`. The encoder runs once an image, the decoder once a prompt.

    Both may be several graphs. `rates_first` tells whether predicted IoUs come from a graph before
    the one that makes the masks. A graph of the image that no prompt needs runs when `beside` asks.
    """

    def __init__(
        self,
        bundle: Bundle,
        engine: str | None = None,
        threads: int = 2,
        load: Load | None = None,
    ) -> None:
        self.manifest = bundle.manifest
        ordered = [graph.spec for graph in order_graphs(bundle.manifest.graphs)]
        self._each = [spec for spec in ordered if spec.runs == "prompt"]
        once = [spec for spec in ordered if spec.runs == "image"]
        self._once = [spec for spec in once if _feeds_any(spec, ordered)]
        self._beside = [spec for spec in once if spec not in self._once]
        if not self._once or not self._each:
            raise BundleError(
                f"{bundle.path} has no graph for an image and one for prompts: it takes no prompts"
            )
        self._rule = slot_rule(bundle.manifest)
        self.rates_first = not any(tensor.name == IOU for tensor in self._each[-1].outputs)
        self._load = load or loader(bundle, engine, threads)
        self._loaded = {spec.name: self._load(spec.name) for spec in (*self._once, *self._each)}
        self._embedded: dict[str, Array] | None = None
        self._frame = Frame((0, 0), (0, 0), 0)

    def set_picture(self, picture: Picture) -> None:
        """Run the image encoder and keep its float32 outputs."""
        image, frame = image_input(picture.rgb, self.manifest.preprocess, picture.size)
        given: dict[str, Array] = {"image": image, "resized_size": resized_size(frame)}
        for spec in self._once:
            given |= run_canonical(self._loaded[spec.name], spec, taken(spec, given))
        self._embedded = given
        self._frame = frame

    def beside(self, output: str) -> tuple[Floats, Frame]:
        """Compute what no prompt needs of the image that was set, such as `point_scores`.

        Returns:
            The output, and where the image lies in the network's input.

        Raises:
            RequestError: no image was set, or the bundle has no such output.
        """
        spec = next((s for s in self._beside if output in (t.name for t in s.outputs)), None)
        if spec is None:
            raise RequestError(f"this bundle has no graph that gives {output}")
        if self._embedded is None:
            raise RequestError(f"no image: call set_image before {output} is asked for")
        if spec.name not in self._loaded:
            self._loaded[spec.name] = self._load(spec.name)
        found = run_canonical(self._loaded[spec.name], spec, taken(spec, self._embedded))
        return _floats(found[output]), self._frame

    def predict_prompts(
        self, prompts: Prompts, mask_input: Floats | None = None, *, multimask: bool = False
    ) -> Masks:
        """See `Segmenter.predict`."""
        return self._masks([prompts], mask_input, multimask=multimask)[0]

    def predict_sets(self, sets: Sequence[Prompts], *, multimask: bool) -> tuple[Masks, ...]:
        """See `Segmenter.predict_sets`: B sets in one call of the decoder, B the bundle's batch."""
        batch = self._rule.batch
        parts = (sets[first : first + batch] for first in range(0, len(sets), batch))
        return tuple(
            masks for part in parts for masks in self._masks(part, None, multimask=multimask)
        )

    @staticmethod
    def validate(manifest: Manifest, request: Request, frame: Frame) -> MaskPrompt | None:
        """See `Segmenter.validate`."""
        rule = slot_rule(manifest)
        for prompts in request.sets:
            check(prompts, frame, rule)
        if request.mask_input is None:
            return None
        require_mask_input(manifest)
        if len(request.sets) > 1:
            raise PromptError("a mask to refine belongs to one object: give the prompts of one")
        given = read_mask_prompt(request.mask_input, frame, manifest.mask)
        as_logits(given.logits, manifest.mask.low_res_size)
        return given

    def _masks(
        self, sets: Sequence[Prompts], mask_input: Floats | None, *, multimask: bool
    ) -> tuple[Masks, ...]:
        logits, iou = self.decode(sets, mask_input)
        if logits is None:
            raise RequestError("the bundle made no masks")
        asked = (self._frame, self.manifest.mask)
        return tuple(
            masks_of(logits[i], iou[i], *asked, multimask=multimask) for i in range(len(sets))
        )

    def decode(
        self,
        sets: Sequence[Prompts],
        mask_input: Floats | None = None,
        wanted: Wanted | None = None,
    ) -> tuple[Floats | None, Floats]:
        """Run the decoder once on up to B prompt sets, B the bundle's batch.

        Args:
            sets: on the image that was set.
            mask_input: logits (1, h, w) or (h, w) for all sets, or (len(sets), h, w).
            wanted: asked between the graph that rates masks and the one that makes them, if these
                are two.

        Returns:
            `low_res_masks` (B, M, h, w), None if they were not wanted, and `iou_predictions`
            (B, M); rows beyond the sets repeat.

        Raises:
            RequestError: no image was set.
            PromptError: prompts that the bundle cannot take, or a mask if it takes none.
        """
        if self._embedded is None:
            raise RequestError("no image: call set_image before predict")
        if mask_input is not None:
            require_mask_input(self.manifest)
        rule = self._rule
        packed = [pack(prompts, self._frame, rule) for prompts in sets]
        # A static batch is always full: the last set is repeated, and its repeats are not read.
        packed += [packed[-1]] * (rule.batch - len(packed))
        given: dict[str, Array] = {
            "point_coords": np.concatenate([coords for coords, _ in packed]),
            "point_labels": np.concatenate([labels for _, labels in packed]),
            **mask_inputs(mask_input, self.manifest.mask.low_res_size, rule.batch),
            **self._embedded,
        }
        for spec in self._each:
            if wanted is not None and IOU in given and not wanted(_floats(given[IOU])):
                return None, _floats(given[IOU])
            given |= run_canonical(self._loaded[spec.name], spec, taken(spec, given))
        return _floats(given[MASKS]), _floats(given[IOU])


def _feeds_any(spec: GraphSpec, others: Sequence[GraphSpec]) -> bool:
    """Whether another graph takes an output of this one."""
    given = {tensor.name for tensor in spec.outputs}
    return any(tensor.name in given for other in others for tensor in other.inputs)


def taken(spec: GraphSpec, given: Mapping[str, Array]) -> dict[str, Array]:
    """Select the inputs of a graph."""
    return {tensor.name: given[tensor.name] for tensor in spec.inputs if tensor.name in given}


def _floats(array: Array) -> Floats:
    return np.asarray(array, np.float32)


def slot_rule(manifest: Manifest) -> PromptRule:
    """Return how prompts fill the slots. BundleError if the bundle has none."""
    if manifest.prompts is None:
        raise BundleError(f"{manifest.variant} has no prompt slots")
    return manifest.prompts


def require_mask_input(manifest: Manifest) -> None:
    """PromptError if the bundle's decoder takes no earlier mask."""
    names = {tensor.name for graph in manifest.graphs for tensor in graph.spec.inputs}
    if "mask_input" not in names:
        raise PromptError(f"{manifest.variant} takes no earlier mask: leave out the mask input")


def mask_inputs(mask_input: Floats | None, side: int, batch: int) -> dict[str, Array]:
    """`mask_input` (B, 1, side, side) and `has_mask_input` (B,); zeros where there is none."""
    full = np.zeros((batch, 1, side, side), np.float32)
    if mask_input is None:
        return {"mask_input": full, "has_mask_input": np.zeros(batch, np.float32)}
    if mask_input.ndim == 3 and 1 < len(mask_input) <= batch:
        full[: len(mask_input), 0] = mask_input
    else:
        full[:] = as_logits(mask_input, side)
    return {"mask_input": full, "has_mask_input": np.ones(batch, np.float32)}


SEGMENTER = SlotSegmenter
