"""The published automatic generator on a torch network, step by step as SAM does it.

Our host filters by predicted IoU before anything is upscaled and holds one mask at a time. This
does not: the masks of a whole batch are scaled to the picture in two steps, kept as floats, and
encoded before suppression. It serves `profiles.lab.everything.speed` as the baseline.

Source read for the order of steps: segment-anything dca509f `automatic_mask_generator.py`,
`predictor.py` and `utils/amg.py`; MobileSAM's are the same. The picture alone, no crops and no
removal of small regions, as its defaults have it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from exporter.models.layers import Normalise
from exporter.models.sam import Sam
from exporter.variants.sam import PREPROCESS
from profiles.lab.bench.published import PublishedDecoder, PublishedEncoder
from runtimes.everything.steps.boxes import suppress
from runtimes.everything.steps.grids import point_grid

BATCH = 64


@dataclass(frozen=True)
class Thresholds:
    """What a mask must pass: predicted IoU above, stability at least, measured at +- `offset`.

    And `nms`: the IoU of boxes above which the worse of two masks goes.
    """

    iou: float
    stability: float
    offset: float = 1.0
    nms: float = 0.7


class PublishedGenerator:
    """Predictor and generator on a network that is not frozen."""

    def __init__(self, sam: Sam) -> None:
        self.encoder, self.decoder = PublishedEncoder(sam), PublishedDecoder(sam)
        self.normalise = Normalise(PREPROCESS.mean, PREPROCESS.std)
        self.side = sam.geometry.image_size

    @torch.no_grad()
    def generate(
        self, image: npt.NDArray[np.uint8], side: int, passing: Thresholds
    ) -> list[dict[str, Any]]:
        """Find everything of (H, W, 3) by a grid of `side` a side: `rle`, `area`, `predicted_iou`.

        Returns:
            The masks as suppression left them, each as uncompressed run lengths.
        """
        height, width = image.shape[:2]
        embedding, resized = self._encoded(image)
        points = point_grid(side) * np.array([[width, height]])
        found: dict[str, list[Tensor]] = {"boxes": [], "ious": []}
        rles: list[list[int]] = []
        for first in range(0, len(points), BATCH):
            batch = points[first : first + BATCH]
            logits, ious = self._predicted(embedding, batch, resized, (height, width))
            boxes, kept, encoded = _filtered(logits, ious, passing)
            found["boxes"].append(boxes)
            found["ious"].append(kept)
            rles += encoded
            del logits
        boxes, ious = torch.cat(found["boxes"]).float(), torch.cat(found["ious"])
        left = suppress(boxes.numpy(), ious.numpy(), passing.nms)
        return [_record(rles[at], float(ious[at]), (height, width)) for at in left]

    def _encoded(self, image: npt.NDArray[np.uint8]) -> tuple[Tensor, tuple[int, int]]:
        """Resize the longest side, normalise, pad, encode; also the resized height and width."""
        height, width = image.shape[:2]
        scale = self.side / max(height, width)
        resized = int(height * scale + 0.5), int(width * scale + 0.5)
        picture = Image.fromarray(image).resize(resized[::-1], Image.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float()
        padding = (0, self.side - resized[1], 0, self.side - resized[0])
        return self.encoder(F.pad(self.normalise(pixels), padding)), resized

    def _predicted(
        self,
        embedding: Tensor,
        points: npt.NDArray[np.float64],
        resized: tuple[int, int],
        size: tuple[int, int],
    ) -> tuple[Tensor, Tensor]:
        """One click each -> logits at the picture's size (n * 3, H, W) and IoUs (n * 3,)."""
        scale = np.array([resized[1] / size[1], resized[0] / size[0]])
        coords = torch.from_numpy((points * scale).astype(np.float32))[:, None]
        coords = torch.cat([coords, torch.zeros_like(coords)], dim=1)
        labels = torch.tensor([[1.0, -1.0]]).repeat(len(points), 1)
        low_res, ious = self.decoder(embedding, coords, labels)
        low_res, ious = low_res[:, 1:], ious[:, 1:]
        whole = F.interpolate(low_res, (self.side,) * 2, mode="bilinear", align_corners=False)
        whole = whole[..., : resized[0], : resized[1]]
        logits = F.interpolate(whole, size, mode="bilinear", align_corners=False)
        return logits.flatten(0, 1), ious.flatten()


def _filtered(
    logits: Tensor, ious: Tensor, passing: Thresholds
) -> tuple[Tensor, Tensor, list[list[int]]]:
    """Filter a batch by IoU, then stability; returns boxes, IoUs and run lengths of what is left.

    Logits are (n, H, W), IoUs (n,).
    """
    good = ious > passing.iou
    logits, ious = logits[good], ious[good]
    above = _count(logits > passing.offset)
    within = _count(logits > -passing.offset)
    stable = above / within >= passing.stability
    logits, ious = logits[stable], ious[stable]
    masks = logits > 0
    return _boxes(masks), ious, _run_lengths(masks)


def _count(masks: Tensor) -> Tensor:
    return masks.sum(-1, dtype=torch.int16).sum(-1, dtype=torch.int32)


def _boxes(masks: Tensor) -> Tensor:
    """(n, H, W) -> (n, 4) first and last set column and row; zeros for an empty mask."""
    if not len(masks):
        return torch.zeros(0, 4)
    height, width = masks.shape[-2:]
    ends = []
    for axis, size in ((-2, width), (-1, height)):
        seen = masks.amax(axis)
        places = seen * torch.arange(size)[None]
        last = places.amax(-1)
        first = (places + size * ~seen).amin(-1)
        ends.append((first, last))
    (left, right), (top, bottom) = ends
    empty = (right < left) | (bottom < top)
    return torch.stack([left, top, right, bottom], dim=-1) * (~empty)[:, None]


def _run_lengths(masks: Tensor) -> list[list[int]]:
    """(n, H, W) -> run lengths down the columns, zeros first."""
    flat = masks.permute(0, 2, 1).flatten(1)
    changes = (flat[:, 1:] ^ flat[:, :-1]).nonzero()
    found = []
    for at in range(len(flat)):
        places = changes[changes[:, 0] == at, 1] + 1
        edges = torch.cat([torch.tensor([0]), places, torch.tensor([flat.shape[1]])])
        counts = [] if not flat[at, 0] else [0]
        counts.extend((edges[1:] - edges[:-1]).tolist())
        found.append(counts)
    return found


def _record(runs: list[int], iou: float, size: tuple[int, int]) -> dict[str, Any]:
    """Decode a mask and make its record, as output mode `binary_mask` does."""
    height, width = size
    mask = np.empty(height * width, np.bool_)
    at, value = 0, False
    for count in runs:
        mask[at : at + count] = value
        at, value = at + count, not value
    return {
        "segmentation": mask.reshape(width, height).transpose(),
        "area": sum(runs[1::2]),
        "predicted_iou": iou,
        "rle": runs,
    }
