"""The segmenter that fits a bundle, and what may be asked of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from exporter.bundle.drawn_prompts import check_drawable
from exporter.bundle.folder import Bundle
from exporter.bundle.manifest import Manifest
from exporter.bundle.preprocess import Bytes, Floats, Frame
from exporter.bundle.prompts import Prompts, check
from exporter.errors import PromptError
from runtimes.detections import DetectionSegmenter, check_prompts, refuse_refinement
from runtimes.drawn import DrawnSegmenter
from runtimes.segmenter import Masks, Segmenter, mask_inputs, require_mask_input


class AnySegmenter(Protocol):
    """What the three kinds of bundle have in common; see their own `predict` for what they take."""

    def set_image(self, rgb: Bytes) -> None:
        """(H, W, 3) uint8."""
        ...

    def predict(
        self,
        points: npt.ArrayLike | None = None,
        labels: npt.ArrayLike | None = None,
        box: npt.ArrayLike | None = None,
        mask_input: Floats | None = None,
        *,
        multimask: bool = False,
    ) -> Masks:
        """Masks on the image that was set."""
        ...


def open_segmenter(bundle: Bundle, engine: str | None = None, threads: int = 2) -> AnySegmenter:
    """Load a bundle's graphs, whatever they are.

    Raises:
        RequestError: no engine here can run the bundle.
        BundleError: its graphs are not of a kind this release knows, or cannot be loaded.
    """
    if bundle.manifest.detections is not None:
        return DetectionSegmenter(bundle, engine, threads)
    if bundle.manifest.drawn_prompts is not None:
        return DrawnSegmenter(bundle, engine, threads)
    return Segmenter(bundle, engine, threads)


@dataclass(frozen=True)
class Wish:
    """What one run of `sam-run` asks for.

    Attributes:
        mask_input: a file of `--save-logits`.
        logits: whether logits are to be saved.
    """

    prompts: Prompts
    multimask: bool = False
    mask_input: Path | None = None
    logits: bool = False


def checked_early(manifest: Manifest, wish: Wish, frame: Frame) -> Floats | None:
    """Find a wrong wish before a network runs.

    Returns:
        The logits of `mask_input`, or None.

    Raises:
        PromptError: the bundle cannot take it on this image.
    """
    if manifest.prompts is not None:
        check(wish.prompts, frame, manifest.prompts)
        if wish.mask_input is None:
            return None
        require_mask_input(manifest)
        logits = _read_logits(wish.mask_input)
        mask_inputs(logits, manifest.mask.low_res_size, manifest.prompts.batch)
        return logits
    if manifest.drawn_prompts is not None:
        refuse_refinement(wish.mask_input is not None, multimask=False)
        check_drawable(wish.prompts, frame, manifest.drawn_prompts)
        return None
    refuse_refinement(wish.mask_input is not None, multimask=wish.multimask)
    if wish.logits:
        raise PromptError("this bundle gives no logits: leave out --save-logits")
    check_prompts(wish.prompts, frame)
    return None


def _read_logits(path: Path) -> Floats:
    try:
        logits: Floats = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        reason = (str(error).splitlines() or ["it is empty"])[0]
        raise PromptError(f"{path} is no logits file of --save-logits: {reason}") from None
    if not isinstance(logits, np.ndarray):
        raise PromptError(f"{path} holds several arrays; --save-logits writes one")
    return logits
