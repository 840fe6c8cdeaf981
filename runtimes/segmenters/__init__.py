"""A bundle as an app uses it: an image once, then prompts. One file a kind of bundle.

To add a kind: a word for it in `exporter.bundle.manifest.Kind`, and a file here of that name with

    SEGMENTER: type[Segmenter]

numpy, Pillow and the bundle's engine; no torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from exporter import catalog
from exporter.bundle.folder import Bundle
from exporter.bundle.manifest import Manifest
from exporter.bundle.masks import Masks
from exporter.bundle.preprocess import Bytes, Floats, Frame
from exporter.bundle.prompts import Prompts
from exporter.errors import BundleError, PromptError
from runtimes.engines import Load
from runtimes.prompt_arrays import as_prompts


@dataclass(frozen=True)
class Request:
    """One run of `sam-run`.

    Attributes:
        mask_input: a file of `--save-logits`.
        logits: whether logits are to be saved.
    """

    prompts: Prompts
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

    @abstractmethod
    def set_image(self, rgb: Bytes) -> None:
        """Take an image; every later prompt is on it.

        Args:
            rgb: (H, W, 3) uint8.

        Raises:
            ImageError: not such an array.
        """

    @abstractmethod
    def predict_prompts(
        self, prompts: Prompts, mask_input: Floats | None = None, *, multimask: bool = False
    ) -> Masks:
        """Do as `predict`, for prompts that are already a `Prompts`."""

    @staticmethod
    @abstractmethod
    def validate(manifest: Manifest, request: Request, frame: Frame) -> Floats | None:
        """Reject an impossible request before a model is loaded.

        Returns:
            The logits of `request.mask_input`, or None.

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
    ) -> Masks:
        """Predict the masks of one prompt set on the image that was set.

        Args:
            points: (n, 2) x, y in pixels of the original image.
            labels: (n,) 1 foreground, 0 background.
            box: (4,) x0, y0, x1, y1 in pixels of the original image.
            mask_input: (1, h, w) or (h, w): logits of an earlier `low_res_masks`.
            multimask: every mask of the rule's `multi`, in token order, instead of one.

        Raises:
            RequestError: no image was set.
            PromptError: prompts that the bundle cannot take, or a mask if it takes none.
        """
        prompts = as_prompts(points, labels, box)
        return self.predict_prompts(prompts, mask_input, multimask=multimask)


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
        RequestError: no engine here can run the bundle.
        BundleError: its graphs cannot be loaded.
    """
    return segmenter_type(bundle.manifest)(bundle, engine, threads, load)


def validate(manifest: Manifest, request: Request, frame: Frame) -> Floats | None:
    """Reject an impossible request before a model is loaded; see `Segmenter.validate`."""
    return segmenter_type(manifest).validate(manifest, request, frame)


def read_logits(path: Path) -> Floats:
    """Read a file of `--save-logits`. PromptError if it is not one."""
    try:
        logits: Floats = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        reason = (str(error).splitlines() or ["it is empty"])[0]
        raise PromptError(f"{path} is no logits file of --save-logits: {reason}") from None
    if not isinstance(logits, np.ndarray):
        raise PromptError(f"{path} holds several arrays; --save-logits writes one")
    return logits
