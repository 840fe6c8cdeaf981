"""One graph that takes the image with the prompt drawn: every prompt is a full run."""

from __future__ import annotations

from exporter.bundle.drawn_prompts import check_drawable, draw
from exporter.bundle.folder import Bundle
from exporter.bundle.manifest import Manifest
from exporter.bundle.masks import Masks, masks_of
from exporter.bundle.preprocess import Floats, Frame, image_input
from exporter.bundle.prompts import Prompts
from exporter.bundle.rules import DrawnPrompts
from exporter.errors import BundleError, PromptError, RequestError
from runtimes.engines import Load, loader, run_canonical
from runtimes.mask_prompts import MaskPrompt
from runtimes.pictures import Picture
from runtimes.segmenters import Request, Segmenter

GRAPH = "segmenter"


class DrawnSegmenter(Segmenter):
    """See `Segmenter`. It refines no mask, and takes background points only if the rule does."""

    def __init__(
        self,
        bundle: Bundle,
        engine: str | None = None,
        threads: int = 2,
        load: Load | None = None,
    ) -> None:
        self.manifest = bundle.manifest
        self.rule = _rule(bundle.manifest)
        load = load or loader(bundle, engine, threads)
        self._graph = load(GRAPH)
        self._image: Floats | None = None
        self._frame = Frame((0, 0), (0, 0), 0)

    def set_picture(self, picture: Picture) -> None:
        """Resize the image and keep it; nothing is run yet."""
        rule = self.manifest.preprocess
        self._image, self._frame = image_input(picture.rgb, rule, picture.size)

    def predict_prompts(
        self, prompts: Prompts, mask_input: Floats | None = None, *, multimask: bool = False
    ) -> Masks:
        """See `Segmenter.predict`."""
        if self._image is None:
            raise RequestError("no image: call set_image before predict")
        _refuse_mask(mask_input is not None)
        drawn = draw(prompts, self._frame, self.rule)
        spec = self.manifest.graph(GRAPH).spec
        outputs = run_canonical(self._graph, spec, {"image": self._image, "prompt_masks": drawn})
        logits, iou = outputs["low_res_masks"][0], outputs["iou_predictions"][0]
        return masks_of(logits, iou, self._frame, self.manifest.mask, multimask=multimask)

    @staticmethod
    def validate(manifest: Manifest, request: Request, frame: Frame) -> MaskPrompt | None:
        """See `Segmenter.validate`."""
        _refuse_mask(request.mask_input is not None)
        for prompts in request.sets:
            check_drawable(prompts, frame, _rule(manifest))
        return None


def _rule(manifest: Manifest) -> DrawnPrompts:
    if manifest.drawn_prompts is None:
        raise BundleError(f"{manifest.variant} takes no drawn prompts")
    return manifest.drawn_prompts


def _refuse_mask(given: bool) -> None:  # noqa: FBT001
    if given:
        raise PromptError("this bundle cannot refine a mask: leave out the mask input")


SEGMENTER = DrawnSegmenter
