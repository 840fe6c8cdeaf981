"""Points and boxes of a command line -> one prompt set for each object."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from exporter.bundle.prompts import Prompts
from exporter.errors import PromptError

SHARES = (
    "every coordinate is between 0 and 1 and was taken as pixels; --normalized takes shares of the "
    "image"
)
"""The hint for prompts that `like_shares` finds."""

_PIXEL = 1.0


class Point(NamedTuple):
    """A `--point`; without a name it belongs to the only object.

    Attributes:
        name: after the @; of a video a number there is a frame's.
        frame: after a second @, of a video; None if it was not given.
        owner: of the `--object` before it; empty if there was none.
        numbers: as they were given; three or four may be a voxel of a volume.
    """

    x: float
    y: float
    label: int
    name: str = ""
    frame: int | None = None
    owner: str = ""
    numbers: tuple[float, ...] = ()


class Box(NamedTuple):
    """A `--box`; without a name it starts an object, named by its number. See `Point`."""

    x0: float
    y0: float
    x1: float
    y1: float
    name: str = ""
    frame: int | None = None
    owner: str = ""


class MaskFile(NamedTuple):
    """A `--mask-input`; of a video it may end in @FRAME or @NAME@FRAME, which the path holds."""

    path: Path
    owner: str = ""


@dataclass(frozen=True)
class Asked:
    """An object asked for."""

    name: str
    prompts: Prompts


def require_flat(point: Point) -> None:
    """PromptError if a point of a picture, or of a frame, is a voxel or has a wrong label."""
    given = ",".join(f"{number:g}" for number in point.numbers)
    if len(point.numbers) == 4:
        raise PromptError(
            f"I,J,K,LABEL is of volumes, and this bundle takes X,Y,LABEL, not '{given}'"
        )
    if len(point.numbers) == 3 and point.numbers[2] not in (0.0, 1.0):
        raise PromptError(f"LABEL is 1 (foreground) or 0 (background): '{given}'")


def group(points: Sequence[Point], boxes: Sequence[Box]) -> tuple[Asked, ...]:
    """Find the objects: boxes in their order, then names that only points have.

    Raises:
        PromptError: a name has two boxes, it is not clear whose a point is, or a frame is named.
    """
    for point in points:
        require_flat(point)
    given: list[Point | Box] = [*points, *boxes]
    if any(each.frame is not None or each.owner for each in given):
        raise PromptError(
            "@NAME@FRAME and --object are for videos, and this bundle segments pictures: a point "
            "of an object is X,Y,LABEL@NAME"
        )
    boxed: dict[str, Box] = {}
    for number, box in enumerate(boxes, 1):
        name = box.name or str(number)
        if name in boxed:
            raise PromptError(f"object {name!r} has two boxes: give each another @NAME")
        boxed[name] = box
    names = list(dict.fromkeys([*boxed, *(point.name for point in points if point.name)]))
    if len(names) > 1 and not all(point.name for point in points):
        raise PromptError(
            f"whose is a point without a name? The objects are {', '.join(names)}: "
            f"give it as --point X,Y,LABEL@{names[0]}"
        )
    only = names[0] if names else "1"
    return tuple(
        Asked(name, _prompts([p for p in points if (p.name or only) == name], boxed.get(name)))
        for name in names or [only]
    )


def _prompts(points: Sequence[Point], box: Box | None) -> Prompts:
    return Prompts(
        points=tuple((point.x, point.y) for point in points),
        labels=tuple(point.label for point in points),
        box=None if box is None else box[:4],
    )


def in_pixels(asked: Asked, size: tuple[int, int]) -> Asked:
    """Turn shares of the picture into its pixels.

    Raises:
        PromptError: they are no shares.
    """
    width, height = size
    prompts = asked.prompts
    most = max(map(abs, _coordinates(prompts)), default=0.0)
    if most > 2:
        raise PromptError(f"--normalized takes shares of the picture from 0 to 1, not {most:g}")
    box = prompts.box
    scaled = Prompts(
        points=tuple((x * width, y * height) for x, y in prompts.points),
        labels=prompts.labels,
        box=box and (box[0] * width, box[1] * height, box[2] * width, box[3] * height),
    )
    return Asked(asked.name, scaled)


def like_shares(objects: Iterable[Asked], size: tuple[int, int]) -> bool:
    """Tell whether prompts look like shares of the picture, where pixels are meant."""
    given = [number for asked in objects for number in _coordinates(asked.prompts)]
    return bool(given) and min(size) > 2 and all(0 <= number <= 1 for number in given)


def moved(asked: Prompts, placed: Prompts) -> list[str]:
    """Say which prompts were moved onto the picture by more than a pixel."""
    if asked.box is None or placed.box is None:
        return []
    far = max(abs(a - b) for a, b in zip(asked.box, placed.box, strict=True))
    if far <= _PIXEL:
        return []
    return [f"the box {_shown(asked.box)} was cut to the image: {_shown(placed.box)}"]


def _shown(numbers: Iterable[float]) -> str:
    return ",".join(f"{number:g}" for number in numbers)


def _coordinates(prompts: Prompts) -> list[float]:
    return [number for point in prompts.points for number in point] + list(prompts.box or ())
