"""Pictures with prompts, the same for every bundle: scenes whose objects are known, or photos."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.random import PCG64, Generator

from exporter.bundle.preprocess import Bools
from exporter.bundle.prompts import Prompts
from exporter.errors import RequestError
from exporter.scenes.prompts import bounding_box, deepest_pixel, outside_pixel, random_pixel
from exporter.scenes.scene import HELD_OUT, scene
from runtimes.pictures import Picture
from runtimes.pictures.reading import read_picture

SIZES = ((256, 256), (240, 320), (384, 256), (360, 640), (480, 480))
"""Height and width of the scenes, in turn."""
MOST_SCENES = 10_000
"""From `HELD_OUT` on; far below the first scene that any bundle is calibrated or judged on."""
BOX, POINT, ANY, POINTS = "box", "deepest point", "any point", "three points"
REFINED = "mask again and a background point"
KINDS = (BOX, POINT, ANY, POINTS, REFINED)
PLACES = 3
"""Where a photo is prompted, nothing of it being known."""
BOX_SHARES = (0.15, 0.5)
"""Sides of a photo's boxes, as shares of its own."""
MARGIN = 0.1
"""Share of a photo's side at its edge that has no prompt."""


@dataclass(frozen=True)
class Case:
    """One prompt set.

    Attributes:
        kind: one of `KINDS`.
        truth: (H, W) the object that is meant, or None if nobody knows.
        refines: place in the picture's cases of the one whose best mask is fed back, or None.
    """

    kind: str
    prompts: Prompts
    truth: Bools | None = None
    refines: int | None = None


@dataclass(frozen=True)
class Shot:
    """A picture and its cases."""

    name: str
    picture: Picture
    cases: tuple[Case, ...]


Shots = Sequence[Callable[[], Shot]]
"""Each is made when it is needed, as often as it is: all of them may not fit into memory."""


def scene_shots(count: int) -> Shots:
    """Take the first `count` scenes that the demo model was never trained on; objects are known."""
    return [partial(_scene_shot, number) for number in range(count)]


def photo_shots(folder: Path, seed: int) -> Shots:
    """Take every picture of a folder, with prompts at places that the seed chooses.

    Raises:
        RequestError: there is no such folder, or no picture in it.
    """
    if not folder.is_dir():
        raise RequestError(f"{folder} is no folder of pictures")
    files = sorted(path for path in folder.iterdir() if _may_be_picture(path))
    if not files:
        raise RequestError(f"{folder} holds no picture")
    return [partial(_photo_shot, path, [seed, number]) for number, path in enumerate(files)]


def _may_be_picture(path: Path) -> bool:
    return path.is_file() and not path.name.startswith(".") and path.suffix.lower() != ".json"


def _scene_shot(number: int) -> Shot:
    found = scene(HELD_OUT + number, *SIZES[number % len(SIZES)])
    rng = Generator(PCG64([HELD_OUT, number]))
    height, width = found.image.shape[:2]
    cases: list[Case] = []
    for wanted in found.instances:
        cases += _object_cases(rng, wanted, first=len(cases))
    return Shot(f"scene {number}", Picture(found.image, (width, height)), tuple(cases))


def _object_cases(rng: Generator, wanted: Bools, first: int) -> Iterator[Case]:
    deepest = deepest_pixel(wanted)
    others = [random_pixel(rng, wanted) for _ in range(2)]
    outside = outside_pixel(rng, wanted)
    yield Case(BOX, Prompts(box=bounding_box(wanted)), wanted)
    yield Case(POINT, Prompts((deepest,), (1,)), wanted)
    yield Case(ANY, Prompts((others[0],), (1,)), wanted)
    yield Case(POINTS, Prompts((deepest, *others), (1, 1, 1)), wanted)
    yield Case(REFINED, Prompts((deepest, outside), (1, 0)), wanted, refines=first + 1)


def _photo_shot(path: Path, seed: Sequence[int]) -> Shot:
    picture = read_picture(path)
    rng = Generator(PCG64(list(seed)))
    cases: list[Case] = []
    for _ in range(PLACES):
        cases += _place_cases(rng, picture.size, first=len(cases))
    return Shot(path.name, picture, tuple(cases))


def _place_cases(rng: Generator, size: tuple[int, int], first: int) -> Iterator[Case]:
    sides = np.asarray(size, np.float64)
    here, there = rng.uniform(MARGIN, 1 - MARGIN, (2, 2)) * sides
    half = rng.uniform(*BOX_SHARES, 2) * sides / 2
    x0, y0 = map(float, np.maximum(here - half, 0))
    x1, y1 = map(float, np.minimum(here + half, sides))
    point, other = (float(here[0]), float(here[1])), (float(there[0]), float(there[1]))
    yield Case(BOX, Prompts(box=(x0, y0, x1, y1)))
    yield Case(ANY, Prompts((point,), (1,)))
    yield Case(REFINED, Prompts((point, other), (1, 0)), refines=first + 1)
