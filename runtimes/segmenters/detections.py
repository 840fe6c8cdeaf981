"""A bundle that finds everything in an image by itself; prompts choose among its detections.

The host's steps of `exporter.bundle.rules.DetectionRule` are `exporter.bundle.detections`.
"""

from __future__ import annotations

from exporter.bundle.detections import choose_pieces, find_pieces
from exporter.bundle.folder import Bundle
from exporter.bundle.manifest import Manifest
from exporter.bundle.masks import Masks
from exporter.bundle.pieces import Piece
from exporter.bundle.preprocess import Floats, Frame, image_input
from exporter.bundle.prompts import Prompts, place
from exporter.errors import BundleError, PromptError, RequestError
from runtimes.engines import Load, loader, run_canonical
from runtimes.mask_prompts import MaskPrompt
from runtimes.pictures import Picture
from runtimes.segmenters import Request, Segmenter

GRAPH = "segmenter"


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

    def __init__(
        self,
        bundle: Bundle,
        engine: str | None = None,
        threads: int = 2,
        load: Load | None = None,
    ) -> None:
        if bundle.manifest.detections is None:
            raise BundleError(f"{bundle.path} finds no objects by itself: it takes prompts")
        self.manifest = bundle.manifest
        self.rule = bundle.manifest.detections
        load = load or loader(bundle, engine, threads)
        self._graph = load(GRAPH)
        self._frame: Frame | None = None
        self._pieces: tuple[Piece, ...] = ()

    def set_picture(self, picture: Picture) -> None:
        """Find every object."""
        spec = self.manifest.graph(GRAPH).spec
        image, frame = image_input(picture.rgb, self.manifest.preprocess, picture.size)
        outputs = run_canonical(self._graph, spec, {"image": image})
        self._pieces = find_pieces(outputs, self.rule, self.manifest.mask.threshold, frame)
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
        return choose_pieces(self._pieces, prompts, self._frame.original)

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


SEGMENTER = DetectionSegmenter
