"""A bundle as an app uses it: an image once, then prompts. One file a kind of bundle.

To add a kind: a word for it in `exporter.bundle.manifest.Kind`, and a file here of that name with

    SEGMENTER: type[Segmenter]

numpy, Pillow and the bundle's engine; no torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Never

import numpy.typing as npt

from exporter import catalog
from exporter.bundle.folder import Bundle
from exporter.bundle.manifest import Manifest
from exporter.bundle.masks import Masks
from exporter.bundle.preprocess import Floats, Frame
from exporter.bundle.prompts import Prompts
from exporter.errors import BundleError, RequestError
from exporter.printable import quote
from runtimes.engines import Load
from runtimes.mask_prompts import MaskPrompt
from runtimes.pictures import Picture
from runtimes.pictures.arrays import Given, as_picture
from runtimes.prompt_arrays import as_prompts, as_sets, refuse_others


@dataclass(frozen=True)
class Request:
    """One run of `sam-run`.

    Attributes:
        sets: a prompt set for each object.
        mask_input: a file of `--save-logits`, or a drawn mask.
        logits: whether logits are to be saved.
    """

    sets: tuple[Prompts, ...]
    multimask: bool = False
    mask_input: Path | None = None
    logits: bool = False


class Segmenter(ABC):
    """A bundle's graphs, loaded.

    Args:
        bundle: opened.
        engine: a name, or None for the first that can run here.
        threads: for engines that take a number.
        load: what loads a graph, instead of an engine.

    Raises:
        RequestError: no engine here can run the bundle.
        BundleError: it is a bundle of another kind, or the engine cannot load it.
    """

    @abstractmethod
    def __init__(
        self,
        bundle: Bundle,
        engine: str | None = None,
        threads: int = 2,
        load: Load | None = None,
    ) -> None: ...

    def set_image(self, image: Given) -> tuple[str, ...]:
        """Take an image; every later prompt is on it.

        Args:
            image: a path, a PIL image, or an array: (H, W, 3) or (H, W, 4) in the order R, G, B,
                (H, W) grey, or channels first if that is unambiguous; uint8, bool, floats in 0..1
                or 0..255, or wider integers. See `runtimes.pictures.arrays`. OpenCV's BGR cannot be
                noticed: turn it by `image[..., ::-1]`.

        Returns:
            Sentences on what was done to it that a user may want to know, such as how 16 bits were
            scaled; mostly none.

        Raises:
            ImageError: no picture, or one that cannot be read.
        """
        picture = as_picture(image)
        self.set_picture(picture)
        return picture.notes

    @abstractmethod
    def set_picture(self, picture: Picture) -> None:
        """Do as `set_image`, for a picture that was read."""

    @abstractmethod
    def predict_prompts(
        self, prompts: Prompts, mask_input: Floats | None = None, *, multimask: bool = False
    ) -> Masks:
        """Do as `predict`, for prompts that are already a `Prompts`."""

    @staticmethod
    @abstractmethod
    def validate(manifest: Manifest, request: Request, frame: Frame) -> MaskPrompt | None:
        """Reject an impossible request before a model is loaded.

        Returns:
            What `request.mask_input` holds, or None.

        Raises:
            PromptError: the bundle cannot take it on this image.
        """

    def predict(
        self,
        points: npt.ArrayLike | None = None,
        labels: npt.ArrayLike | None = None,
        box: npt.ArrayLike | None = None,
        mask_input: Floats | None = None,
        *,
        multimask: bool = False,
        **others: Never,
    ) -> Masks:
        """Predict the masks of one prompt set on the image that was set.

        Args:
            points: (n, 2) or one (2,): x, y in pixels of the original image. A pixel outside is
                taken to the edge.
            labels: (n,) 1 or True foreground, 0 or False background.
            box: (4,) or (1, 4): x0, y0, x1, y1 in pixels of the original image; cut to it.
            mask_input: (1, h, w) or (h, w): logits of an earlier `low_res_masks`.
            multimask: every mask of the rule's `multi`, in token order, instead of one.
            others: none; the published predictors' names are refused with ours.

        Raises:
            RequestError: no image was set.
            PromptError: prompts that the bundle cannot take, or a mask if it takes none.
        """
        refuse_others(others)
        prompts = as_prompts(points, labels, box)
        return self.predict_prompts(prompts, mask_input, multimask=multimask)

    def predict_many(
        self, sets: Iterable[Prompts], *, multimask: bool = False
    ) -> tuple[Masks, ...]:
        """Predict the masks of several objects, a prompt set each, in as few runs as possible.

        Raises:
            RequestError: no image was set.
            PromptError: prompts that the bundle cannot take, or something else than prompts.
        """
        return self.predict_sets(as_sets(sets), multimask=multimask)

    def predict_sets(self, sets: Sequence[Prompts], *, multimask: bool) -> tuple[Masks, ...]:
        """Do as `predict_many`, for prompt sets that were checked to be such."""
        return tuple(self.predict_prompts(prompts, multimask=multimask) for prompts in sets)


def segmenter_type(manifest: Manifest) -> type[Segmenter]:
    """Find the class for a bundle's kind. BundleError if this release has none."""
    kind = manifest.kind
    if kind not in catalog.names(__name__):
        raise BundleError(f"no segmenter here opens a bundle of kind {kind!r}; get a newer release")
    found: type[Segmenter] = catalog.load(__name__, kind, "SEGMENTER")
    return found


def open_segmenter(
    bundle: Bundle, engine: str | None = None, threads: int = 2, load: Load | None = None
) -> Segmenter:
    """Load a bundle's graphs, whatever its kind; the arguments are those of `Segmenter`.

    Raises:
        RequestError: no engine here can run the bundle; or it is no bundle that was opened.
        BundleError: its graphs cannot be loaded.
    """
    if not isinstance(bundle, Bundle):
        raise RequestError(
            f"open_segmenter takes what open_bundle(PATH) returns, not {quote(bundle)}"
        )
    return segmenter_type(bundle.manifest)(bundle, engine, threads, load)


def validate(manifest: Manifest, request: Request, frame: Frame) -> MaskPrompt | None:
    """Reject an impossible request before a model is loaded; see `Segmenter.validate`."""
    return segmenter_type(manifest).validate(manifest, request, frame)
