"""What a run writes and prints: pictures, masks, logits, a report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from exporter.bundle.manifest import Manifest
from exporter.bundle.masks import Masks
from exporter.bundle.preprocess import Bools
from exporter.bundle.prompts import Prompts
from exporter.errors import RequestError
from runtimes.objects import Asked
from runtimes.pictures import Picture
from runtimes.pictures.writing import (
    require_mask_format,
    require_picture_format,
    require_size,
    require_writable,
    save_mask,
    save_picture,
    write_whole,
)


@dataclass(frozen=True)
class Files:
    """Files to write; None is not written."""

    overlay: Path | None
    mask: Path | None
    logits: Path | None

    @property
    def asked(self) -> list[Path]:
        """Those that are written."""
        return [path for path in (self.overlay, self.mask, self.logits) if path is not None]


@dataclass(frozen=True)
class Segmented:
    """An object and its masks."""

    asked: Asked
    masks: Masks


def check_files(files: Files, image: Path, objects: Sequence[Asked]) -> None:
    """RequestError, before any work, if a file cannot be written or is named twice."""
    names = [asked.name for asked in objects]
    split = [path for path in (files.mask, files.logits) if path is not None]
    parts = [_part(path, name, len(names)) for path in split for name in names]
    whole = [path for path in (image, files.overlay) if path is not None]
    for path in files.asked:
        require_writable(path)
    if len({_resolve(path) for path in [*whole, *parts]}) < len(whole) + len(parts):
        raise RequestError("IMAGE, -o, --mask and --save-logits should be different files")
    if files.overlay is not None:
        require_picture_format(files.overlay)
    if files.mask is not None:
        require_mask_format(files.mask)
    if files.logits is not None and files.logits.suffix.lower() != ".npy":
        raise RequestError(f"{files.logits} should end in .npy, which --mask-input reads again")


def _resolve(path: Path) -> Path:
    try:
        return path.resolve()
    except RuntimeError:
        raise RequestError(f"{path} is a link that leads back to itself") from None


def check_sizes(files: Files, picture: Picture) -> None:
    """RequestError if a format cannot hold a picture of that size."""
    if files.mask is not None:
        require_size(files.mask, picture.size)
    if files.overlay is not None:
        require_size(files.overlay, (picture.rgb.shape[1], picture.rgb.shape[0]))


def write(files: Files, image: Path, picture: Picture, found: Sequence[Segmented]) -> list[Path]:
    """Write the files asked for; returns their paths, in order."""
    written = []
    if files.overlay is not None:
        from runtimes.overlay import overlay  # fonts and drawing take a while to import

        shown = [_as_decoded(one, picture) for one in found]
        drawn = overlay(picture.rgb, [(one.masks, one.asked.prompts) for one in shown])
        save_picture(files.overlay, drawn)
        written.append(files.overlay)
    for path, mask in _masks(files.mask, found):
        if _resolve(path) == _resolve(image):
            raise RequestError(f"the mask {path} would replace the IMAGE: name --mask otherwise")
        save_mask(path, Image.fromarray(mask.astype(np.uint8) * np.uint8(255)))
        written.append(path)
    if files.logits is not None:
        for one in found:
            path = _part(files.logits, one.asked.name, len(found))
            write_whole(path, partial(_save_logits, one.masks))
            written.append(path)
    return written


def report(manifest: Manifest, found: Sequence[Segmented]) -> dict[str, Any]:
    """Describe the masks: of one object `prompts` and `masks`, of several `objects` with both."""
    value = "iou_prediction" if manifest.detections is None else "score"
    described = [
        {"prompts": asdict(one.asked.prompts), "masks": _described(one.masks, value)}
        for one in found
    ]
    if len(found) == 1:
        return described[0]
    return {
        "objects": [
            {"name": one.asked.name, **data} for one, data in zip(found, described, strict=True)
        ]
    }


def lines(manifest: Manifest, found: Sequence[Segmented]) -> Iterator[str]:
    """Describe the masks for a reader, a line each."""
    for one in found:
        of = f"object {one.asked.name}, " if len(found) > 1 else ""
        kind = one.masks.word if manifest.detections is None else "score"
        for i, (value, mask) in enumerate(zip(one.masks.scores, one.masks.masks, strict=True)):
            yield f"{of}mask {i}: {kind} {value:.3f}, {int(mask.sum())} pixels"


def faults(found: Sequence[Segmented]) -> Iterator[str]:
    """Say, a line each, of which masks the network's answer is not a number."""
    for one in found:
        of = f"object {one.asked.name}, " if len(found) > 1 else ""
        for i, (iou, logits) in enumerate(
            zip(one.masks.iou_predictions, one.masks.low_res_masks, strict=False)
        ):
            odd = ["logits are not numbers"] if np.isnan(logits).any() else []
            odd += [] if np.isfinite(iou) else ["predicted IoU is not a number"]
            if odd:
                said = " and ".join(odd)
                yield f"{of}mask {i}: the decoder's {said}; use another --engine or precision"


def bounding_box(mask: Bools) -> list[int] | None:
    """x0, y0, x1, y1 around a mask, the last two exclusive; None for an empty mask."""
    ys, xs = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(ys):
        return None
    return [int(xs[0]), int(ys[0]), int(xs[-1]) + 1, int(ys[-1]) + 1]


def _save_logits(masks: Masks, stream: BinaryIO) -> None:
    np.save(stream, masks.low_res_masks)


def _described(masks: Masks, value: str) -> list[dict[str, Any]]:
    return [
        {
            value: finite(masks.iou_predictions[i]),
            **({} if masks.stability is None else {"stability": finite(masks.stability[i])}),
            "area": int(mask.sum()),
            "box": bounding_box(mask),
        }
        for i, mask in enumerate(masks.masks)
    ]


def finite(value: np.float32 | float | None) -> float | None:
    """JSON has no word for what is not a finite number."""
    return float(value) if value is not None and np.isfinite(value) else None


def _part(path: Path, name: str, objects: int) -> Path:
    """Name the file of one object: of several, each has its name in its file's."""
    return path if objects == 1 else path.with_stem(f"{path.stem}-{name}")


def _masks(path: Path | None, found: Sequence[Segmented]) -> Iterator[tuple[Path, Bools]]:
    if path is None:
        return
    for one in found:
        part, masks = _part(path, one.asked.name, len(found)), one.masks.masks
        for i, mask in enumerate(masks):
            yield (part if len(masks) == 1 else part.with_stem(f"{part.stem}_{i}")), mask


def _as_decoded(one: Segmented, picture: Picture) -> Segmented:
    """Shrink masks and prompts to a picture that was decoded at a part of its size."""
    height, width = picture.rgb.shape[:2]
    if picture.size == (width, height):
        return one
    x, y = width / picture.size[0], height / picture.size[1]
    columns = ((np.arange(width) + 0.5) / x).astype(np.int64)
    rows = ((np.arange(height) + 0.5) / y).astype(np.int64)
    prompts, box = one.asked.prompts, one.asked.prompts.box
    smaller = Prompts(
        points=tuple((px * x, py * y) for px, py in prompts.points),
        labels=prompts.labels,
        box=box and (box[0] * x, box[1] * y, box[2] * x, box[3] * y),
    )
    masks = replace(one.masks, masks=one.masks.masks[:, rows][:, :, columns])
    return Segmented(replace(one.asked, prompts=smaller), masks)
