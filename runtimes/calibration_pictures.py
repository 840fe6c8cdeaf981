"""Prepare pictures to calibrate on, in a process of its own: see `exporter.child`.

    python -m runtimes.calibration_pictures < WORK        a `Work` as JSON

Each picture is decoded as `sam-run` does it, fitted to the input by the variant's own rule, and
kept as a file; one at a time, so that the memory is that of one.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from exporter import child
from exporter.bundle.drawn_prompts import check_drawable
from exporter.bundle.preprocess import Bytes, Frame, fit, image_input, seen_frame
from exporter.bundle.prompts import Prompts, check, check_not_empty, place
from exporter.bundle.reading import parse
from exporter.bundle.rules import DrawnPrompts, Preprocess, PromptRule
from exporter.errors import PromptError, RequestError
from exporter.printable import printable
from runtimes.calibration_prompts import read_prompts
from runtimes.objects import Asked, like_shares, moved
from runtimes.pictures.reading import Reading, read_picture

LEAST_SIDE = 32
"""Pixels; less shows nothing."""
LEAST_CONTRAST = 8
"""Of 255 levels between the darkest and the brightest pixel; less is one colour with noise."""


@dataclass(frozen=True)
class Work:
    """What to prepare.

    Attributes:
        pictures: files.
        prompts: the `prompts.json`; empty for none.
        output: folder for one file a picture.
        preprocess: from a picture to the input.
        slots: how prompts reach the network, or None.
        drawn: the same, for prompts that are drawn.
    """

    pictures: tuple[str, ...]
    prompts: str
    output: str
    preprocess: Preprocess
    slots: PromptRule | None
    drawn: DrawnPrompts | None


def prepare(work: Work) -> dict[str, Any]:
    """Prepare every picture.

    Returns:
        `pictures`: for each its file, its size, its prompts (in pixels of the picture as
        `seen_frame` has it) and whether it is of one colour; `notes`: for the user.

    Raises:
        RequestError: a picture, or a prompt, cannot be used.
    """
    asked = read_prompts(Path(work.prompts)) if work.prompts else {}
    notes: list[str] = []
    if asked and work.slots is None and work.drawn is None:
        notes.append(f"{printable(work.prompts)} is not read: this network takes no prompts")
        asked = {}
    rows = [
        _prepare(Path(path), Path(work.output) / f"{at}.npz", work, asked, notes)
        for at, path in enumerate(work.pictures)
    ]
    return {"pictures": rows, "notes": notes}


def _prepare(
    path: Path,
    file: Path,
    work: Work,
    asked: Mapping[str, tuple[Prompts, ...]],
    notes: list[str],
) -> dict[str, Any]:
    picture = read_picture(path, Reading(options=False))
    if min(picture.size) < LEAST_SIDE:
        wide, tall = picture.size
        raise RequestError(
            f"{printable(str(path))} is {wide} x {tall}: a side should have {LEAST_SIDE} pixels at "
            "least"
        )
    prompts = asked.get(path.name, ())
    placed = [place_given(each, path, at, picture.size, work) for at, each in enumerate(prompts)]
    objects = [Asked("", each) for each in prompts]
    if like_shares(objects, picture.size):
        notes.append(f"prompts of {path.name}: every coordinate is under 1 and taken as pixels")
    for before, after in zip(prompts, placed, strict=True):
        notes += [f"prompts of {path.name}: {line}" for line in moved(before, after)]
    notes += picture.notes
    image, frame = image_input(picture.rgb, work.preprocess, picture.size)
    np.savez(file, image=image)
    seen = seen_frame(*picture.size, work.preprocess)
    return {
        "file": str(file),
        "size": picture.size,
        "prompts": [asdict(_scaled(each, frame, seen)) for each in placed],
        "flat": _is_flat(picture.rgb),
    }


def place_given(
    prompts: Prompts, path: Path, at: int, size: tuple[int, int], work: Work
) -> Prompts:
    """Check a user's prompts and move them into the picture.

    Args:
        prompts: of `prompts.json`.
        path: the picture.
        at: which of the picture's prompts they are, for messages.
        size: width and height of the picture.
        work: the rules.

    Raises:
        PromptError: they cannot be had, or lie outside.
    """
    frame = fit(*size, work.preprocess)
    try:
        if work.slots is not None:
            return check(prompts, frame, work.slots)
        if work.drawn is not None:
            return check_drawable(prompts, frame, work.drawn)
        check_not_empty(prompts)
        return place(prompts, frame)
    except PromptError as error:
        where = f"{work.prompts}: {path.name}[{at}]"
        raise PromptError(f"{printable(where)}: {error}") from None


def _scaled(prompts: Prompts, whole: Frame, seen: Frame) -> Prompts:
    """Move prompts from the picture's own pixels to those of a smaller one."""
    across, down = (b / a for a, b in zip(whole.original, seen.original, strict=True))
    box = prompts.box
    return Prompts(
        tuple((x * across, y * down) for x, y in prompts.points),
        prompts.labels,
        box and (box[0] * across, box[1] * down, box[2] * across, box[3] * down),
    )


def _is_flat(rgb: Bytes) -> bool:
    """Whether a picture (h, w, 3) is of one colour."""
    span = rgb.max(axis=(0, 1)).astype(int) - rgb.min(axis=(0, 1)).astype(int)
    return bool((span < LEAST_CONTRAST).all())


if __name__ == "__main__":
    sys.exit(child.serve(lambda data: prepare(parse(Work, data, "work"))))
