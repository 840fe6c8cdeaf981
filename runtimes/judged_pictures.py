"""Prepare pictures to judge a bundle on, in a process of its own: see `exporter.child`.

    python -m runtimes.judged_pictures < WORK        a `Work` as JSON

Each picture is decoded as `sam-run` does it, and kept with its objects and the prompts that are
made of them: a click inside, a box around, and both. One picture at a time is in memory.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from exporter import child
from exporter.bundle.preprocess import Bools, Bytes
from exporter.bundle.prompts import Prompts
from exporter.bundle.reading import parse
from exporter.bundle.rules import DrawnPrompts, Preprocess, PromptRule
from exporter.errors import RequestError
from exporter.printable import printable
from runtimes import calibration_pictures
from runtimes.calibration_prompts import read_prompts
from runtimes.judged_labels import Labelled, read_coco, read_label_picture
from runtimes.pictures import Picture
from runtimes.pictures.pixels import orientation, upright
from runtimes.pictures.reading import Reading, read_picture

MOST_PIXELS = 2**21
"""A larger picture is shrunk first, with its objects and prompts."""
MOST_OBJECTS = 16
"""Of one picture: the largest."""
LEAST_PIXELS = 16
"""Of an object: a smaller one is no object but a speck."""


@dataclass(frozen=True)
class Work:
    """What to prepare.

    Attributes:
        folder: that holds everything.
        pictures: names.
        labels: picture -> its picture of labels.
        coco: name of the annotations; empty for none.
        prompts: whether there is a `prompts.json`.
        output: folder for one file a picture.
        preprocess: from a picture to the input.
        slots: how prompts reach the network, or None.
        drawn: the same, for prompts that are drawn.
    """

    folder: str
    pictures: tuple[str, ...]
    labels: dict[str, str]
    coco: str
    prompts: bool
    output: str
    preprocess: Preprocess
    slots: PromptRule | None
    drawn: DrawnPrompts | None


def prepare(work: Work) -> dict[str, Any]:
    """Prepare every picture that something is asked about.

    Returns:
        `pictures`: for each its name, its file (arrays `rgb`, and `objects`, packed along their
        pixels), its size, and `asks`: kind, prompts, and the index of the object meant, or None;
        `notes`: for the user.

    Raises:
        RequestError: a picture, a label or a prompt cannot be used; or nothing is left to ask.
    """
    folder = Path(work.folder)
    coco = read_coco(folder / work.coco) if work.coco else {}
    asked = read_prompts(folder / "prompts.json") if work.prompts else {}
    made, notes = [], list[str]()
    for at, name in enumerate(work.pictures):
        if name not in work.labels and name not in coco and name not in asked:
            notes.append(f"{name}: nothing says what is on it, so it is left out")
            continue
        one = _Picture(work, folder / name, coco.get(name, ()), asked.get(name, ()), notes)
        row = one.keep(Path(work.output) / f"{at}.npz")
        made += [row] if row["asks"] else []
    if not any(row["asks"] for row in made):
        raise RequestError(f"{printable(work.folder)}: no object and no prompt is left to judge on")
    return {"pictures": made, "notes": notes}


@dataclass(frozen=True)
class _Picture:
    work: Work
    path: Path
    labelled: Sequence[Labelled]
    given: Sequence[Prompts]
    notes: list[str]

    def keep(self, file: Path) -> dict[str, Any]:
        """Write the picture's file and say what is asked."""
        picture = read_picture(self.path, Reading(options=False))
        self.notes.extend(f"{self.path.name}: {note}" for note in picture.notes)
        rgb = _shrunk(picture.rgb)
        size = rgb.shape[1], rgb.shape[0]
        if min(picture.size) < calibration_pictures.LEAST_SIDE:
            wide, tall = picture.size
            raise RequestError(
                f"{printable(str(self.path))} is {wide} x {tall}: a side should have "
                f"{calibration_pictures.LEAST_SIDE} pixels at least"
            )
        objects = [_fitted(mask, size) for mask in self._objects(picture)]
        objects = sorted((m for m in objects if m.sum() >= LEAST_PIXELS), key=lambda m: -m.sum())
        if len(objects) > MOST_OBJECTS:
            self.notes.append(
                f"{self.path.name}: the largest {MOST_OBJECTS} of {len(objects)} objects are taken"
            )
        objects = objects[:MOST_OBJECTS]
        flat = np.array(objects, np.bool_).reshape(len(objects), size[0] * size[1])
        np.savez(file, rgb=rgb, objects=np.packbits(flat, axis=1))
        asks = [*self._derived(objects), *self._own(objects, picture.size, size)]
        return {"name": self.path.name, "file": str(file), "size": size, "asks": asks}

    def _objects(self, picture: Picture) -> Iterator[Bools]:
        """Every object that is labelled, upright."""
        stored, turn = _stored(self.path)
        label = self.work.labels.get(self.path.name)
        if label is not None:
            for mask in read_label_picture(self.path.parent / label, stored):
                yield _upright(mask, turn)
        for each in self.labelled:
            if each.size not in (stored, picture.size):
                raise RequestError(
                    f"{each.place} is in a picture of {each.size[0]} x {each.size[1]}, and "
                    f"{printable(self.path.name)} is {stored[0]} x {stored[1]}"
                )
            yield _upright(each.mask(), turn if each.size == stored else 1)

    def _derived(self, objects: Sequence[Bools]) -> Iterator[dict[str, Any]]:
        """Prompts of every kind that the network takes, on every object."""
        for at, mask in enumerate(objects):
            rows, columns = np.nonzero(mask)
            inside = _deepest(mask)
            box = tuple(
                float(side)
                for side in (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            )
            kinds = {"point": Prompts((inside,), (1,)), "box": Prompts(box=box)}  # type: ignore[arg-type]
            if self.work.slots or self.work.drawn:
                kinds["box_point"] = Prompts((inside,), (1,), box)  # type: ignore[arg-type]
            slots = self.work.slots
            for kind, prompts in kinds.items():
                if slots is None or prompts.slots(slots) <= slots.slots:
                    yield {"kind": kind, "prompts": asdict(prompts), "object": at}

    def _own(
        self, objects: Sequence[Bools], stored: tuple[int, int], size: tuple[int, int]
    ) -> Iterator[dict[str, Any]]:
        """The user's prompts, and the object that each means, if one is labelled there."""
        rules = calibration_pictures.Work(
            (), "prompts.json", "", self.work.preprocess, self.work.slots, self.work.drawn
        )
        across, down = size[0] / stored[0], size[1] / stored[1]
        for at, each in enumerate(self.given):
            placed = calibration_pictures.place_given(each, self.path, at, stored, rules)
            box = placed.box
            prompts = Prompts(
                tuple((x * across, y * down) for x, y in placed.points),
                placed.labels,
                box and (box[0] * across, box[1] * down, box[2] * across, box[3] * down),
            )
            yield {"kind": "given", "prompts": asdict(prompts), "object": _meant(prompts, objects)}


def _meant(prompts: Prompts, objects: Sequence[Bools]) -> int | None:
    """The object that holds the first foreground point; of a box, the one most alike to it."""
    for (x, y), label in zip(prompts.points, prompts.labels, strict=True):
        if label == 1:
            holding = [at for at, mask in enumerate(objects) if _holds(mask, x, y)]
            return min(holding, key=lambda at: objects[at].sum(), default=None)
    if prompts.box is None or not objects:
        return None
    x0, y0, x1, y1 = (max(0, round(side)) for side in prompts.box)
    area = max(1, (x1 - x0) * (y1 - y0))
    shares = [mask[y0:y1, x0:x1].sum() / max(area, mask.sum()) for mask in objects]
    best = int(np.argmax(shares))
    return best if shares[best] > 0.25 else None


def _holds(mask: Bools, x: float, y: float) -> bool:
    height, width = mask.shape
    return bool(mask[min(int(y), height - 1), min(int(x), width - 1)])


def _deepest(mask: Bools) -> tuple[float, float]:
    """A pixel (x, y) well inside: what is left longest if the mask is worn off from all sides."""
    left, step = mask, 1
    while True:
        worn = _worn(left, step)
        if not worn.any():
            if step == 1:
                break
            step = 1
            continue
        left, step = worn, step * 2
    rows, columns = np.nonzero(left)
    nearest = int(np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2))
    return float(columns[nearest]), float(rows[nearest])


def _worn(mask: Bools, by: int) -> Bools:
    """The pixels whose square of `by` pixels around lies inside, the picture's border counting."""
    padded = np.pad(mask, by).astype(np.int32).cumsum(0).cumsum(1)
    sums = np.pad(padded, ((1, 0), (1, 0)))
    side = 2 * by + 1
    whole = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    inner: Bools = whole == side**2
    return inner


def _stored(path: Path) -> tuple[tuple[int, int], int]:
    """Width and height as stored, and the EXIF orientation that turns them upright."""
    with Image.open(path) as stored:  # `read_picture` has read it
        return stored.size, orientation(stored)


def _upright(mask: Bools, turn: int) -> Bools:
    return mask if turn == 1 else np.asarray(upright(Image.fromarray(mask), turn))


def _shrunk(rgb: Bytes) -> Bytes:
    height, width = rgb.shape[:2]
    share = (MOST_PIXELS / (width * height)) ** 0.5
    if share >= 1:
        return rgb
    size = max(1, round(width * share)), max(1, round(height * share))
    return np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.BOX))


def _fitted(mask: Bools, size: tuple[int, int]) -> Bools:
    if (mask.shape[1], mask.shape[0]) == size:
        return mask
    return np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))


if __name__ == "__main__":
    sys.exit(child.serve(lambda data: prepare(parse(Work, data, "work"))))
