"""What was found: masks as run lengths, each with its record, and how it came about."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from exporter.bundle.preprocess import Bools
from runtimes.everything.steps.runs import coco_text, mask_of

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Segment:
    """One mask of a picture.

    Attributes:
        runs: lengths of clear and set pixels by turns, down the columns: COCO's counts.
        size: height and width of the picture.
        area: set pixels.
        bbox: x, y of the first set column and row, and the last less the first: as published, one
            less than the number of columns and rows.
        predicted_iou: the network's own estimate; of a detector its score.
        stability_score: share of the mask that stays when its threshold rises; None of a detector.
        point_coords: x, y of the click, in pixels of the picture; None if it was none.
        crop_box: x, y, width and height of the crop that was asked.
    """

    runs: Ints
    size: tuple[int, int]
    area: int
    bbox: tuple[int, int, int, int]
    predicted_iou: float
    stability_score: float | None
    point_coords: tuple[float, float] | None
    crop_box: tuple[int, int, int, int]

    @property
    def mask(self) -> Bools:
        """(H, W) the pixels."""
        return mask_of(self.runs, self.size)

    @property
    def coco(self) -> dict[str, Any]:
        """COCO's compressed run lengths, as pycocotools reads them."""
        return {"size": list(self.size), "counts": coco_text(self.runs)}

    def record(self, output_mode: str = "binary_mask") -> dict[str, Any]:
        """Make the published code's record; `segmentation` as one of its output modes."""
        if output_mode == "coco_rle":
            segmentation: Any = self.coco
        elif output_mode == "uncompressed_rle":
            segmentation = {"size": list(self.size), "counts": self.runs.tolist()}
        else:
            segmentation = self.mask
        return {
            "segmentation": segmentation,
            "area": self.area,
            "bbox": [float(number) for number in self.bbox],
            "predicted_iou": self.predicted_iou,
            "point_coords": None if self.point_coords is None else [list(self.point_coords)],
            "stability_score": self.stability_score,
            "crop_box": list(self.crop_box),
        }


@dataclass
class Left:
    """How many masks each filter left.

    Attributes:
        candidates: that the decoder was asked for.
        after_iou: whose predicted IoU passed.
        after_stability: that were stable as well.
        after_edges: that no crop cut off either.
        nms: masks before and after each suppression: one a crop, one between crops, one after
            small regions were removed.
    """

    candidates: int = 0
    after_iou: int = 0
    after_stability: int = 0
    after_edges: int = 0
    nms: list[tuple[int, int]] = field(default_factory=list)


@dataclass(frozen=True)
class Asked:
    """What was asked.

    Attributes:
        images: encoder runs.
        calls: of the predictor.
        prompts: in these calls.
        planned: prompts that would have been asked, if it had not been stopped.
    """

    images: int
    calls: int
    prompts: int
    planned: int


@dataclass(frozen=True)
class Everything(Sequence[Segment]):
    """The masks of a picture, in the order of the published code.

    Attributes:
        segments: the masks.
        size: height and width of the picture.
        method: that found them.
        asked: prompts and calls.
        left: counts after each filter.
        seconds: by stage: `encode`, `detect`, `propose`, `decode`, `measure` (upscaling, stability,
            boxes), `suppress`, `encode_masks` (run lengths) and `clean`.
        partial: whether it was stopped before all was asked.
        notes: sentences for the reader; mostly none.
        output_mode: of `records`.
    """

    segments: tuple[Segment, ...]
    size: tuple[int, int]
    method: str
    asked: Asked
    left: Left
    seconds: dict[str, float]
    partial: bool = False
    notes: tuple[str, ...] = ()
    output_mode: str = "binary_mask"

    def __len__(self) -> int:
        return len(self.segments)

    def __iter__(self) -> Iterator[Segment]:
        return iter(self.segments)

    @overload
    def __getitem__(self, index: int) -> Segment: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Segment, ...]: ...
    def __getitem__(self, index: int | slice) -> Segment | tuple[Segment, ...]:
        return self.segments[index]

    def records(self) -> list[dict[str, Any]]:
        """Make the published code's list; see `Segment.record`."""
        return [segment.record(self.output_mode) for segment in self.segments]

    def labels(self) -> npt.NDArray[np.uint16]:
        """(H, W) one number a pixel: 0 for none, i + 1 for mask i; smaller masks lie on larger."""
        height, width = self.size
        flat = np.zeros(height * width, np.uint16)  # down the columns, as the runs go
        order = sorted(range(len(self)), key=lambda i: (-self.segments[i].area, i))
        for index in order:
            edges = np.cumsum(self.segments[index].runs).tolist()
            for start, end in zip(edges[0::2], edges[1::2], strict=False):
                flat[start:end] = index + 1
        return np.ascontiguousarray(flat.reshape(width, height).T)
