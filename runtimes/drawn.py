"""A bundle whose one graph takes the prompt with the image: every prompt is a full run."""

from __future__ import annotations

import numpy.typing as npt

from exporter.bundle.drawn_prompts import check_drawable, draw
from exporter.bundle.folder import Bundle
from exporter.bundle.preprocess import Bytes, Floats, Frame, image_input
from exporter.errors import BundleError, PromptError, RequestError
from runtimes.engines import open_session, run_canonical
from runtimes.segmenter import Masks, as_prompts, masks_of

GRAPH = "segmenter"


class DrawnSegmenter:
    """The twin of `runtimes.segmenter.Segmenter` for a bundle that takes prompts as pictures.

    Args:
        bundle: opened.
        engine: a name, or None for the first that can run here.
        threads: for engines that take a number.

    Raises:
        RequestError: no engine here can run the bundle.
        BundleError: it is no such bundle, or the engine cannot load it.
    """

    def __init__(self, bundle: Bundle, engine: str | None = None, threads: int = 2) -> None:
        if bundle.manifest.drawn_prompts is None:
            raise BundleError(f"{bundle.path} takes no drawn prompts")
        self.manifest = bundle.manifest
        self.rule = bundle.manifest.drawn_prompts
        self._session = open_session(bundle, GRAPH, engine, threads)
        self._image: Floats | None = None
        self._frame = Frame((0, 0), (0, 0), 0)

    def set_image(self, rgb: Bytes) -> None:
        """Resize the image and keep it; nothing is run yet.

        Args:
            rgb: (H, W, 3) uint8.

        Raises:
            ImageError: not such an array.
        """
        self._image, self._frame = image_input(rgb, self.manifest.preprocess)

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
            labels: (n,) 1 each, unless the rule knows background points.
            box: (4,) x0, y0, x1, y1 in pixels of the original image.
            mask_input: must be None.
            multimask: every mask of the rule's `multi` instead of one.

        Raises:
            RequestError: no image was set.
            PromptError: prompts that the bundle cannot take.
        """
        if self._image is None:
            raise RequestError("no image: call set_image before predict")
        if mask_input is not None:
            raise PromptError("this bundle cannot refine a mask: leave out the mask input")
        prompts = as_prompts(points, labels, box)
        check_drawable(prompts, self._frame, self.rule)
        drawn = draw(prompts, self._frame, self.rule)
        spec = self.manifest.graph(GRAPH).spec
        outputs = run_canonical(self._session, spec, {"image": self._image, "prompt_masks": drawn})
        logits, iou = outputs["low_res_masks"][0], outputs["iou_predictions"][0]
        return masks_of(logits, iou, self._frame, self.manifest.mask, multimask=multimask)
