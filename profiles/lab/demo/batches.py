"""Training batches of the demo model: scenes, soft masks and prompts, as arrays. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import PCG64, Generator
from numpy.typing import NDArray
from PIL import Image

from exporter.scenes.prompts import (
    Mask,
    deepest_pixel,
    jittered_box,
    outside_pixel,
    random_pixel,
)
from exporter.scenes.scene import HELD_OUT, Scene, scene

SIZE = 192
"""Side of the network's input, in pixels."""

PAD = (124, 116, 104)
"""SAM's mean colour; padding is then about zero after normalisation."""

POINT_SLOTS = 5
"""Point slots: three for the first prompt, two for corrections. Two more hold the box."""

SLOTS = POINT_SLOTS + 2
FIRST_CORRECTION = 3
EMPTY, NOT_A_POINT, BOX_LOW, BOX_HIGH = -2.0, -1.0, 2.0, 3.0


@dataclass(frozen=True)
class Batch:
    """Images and, for each, the same number of prompted objects.

    Attributes:
        images: (I, 192, 192, 3) uint8, RGB, padded at the right or the bottom.
        targets: (I * P, 96, 96) uint8, the covered share of each pixel times 255.
        owners: (I, 96, 96) uint8, the number of each pixel's object: 0 none, 255 padding.
        coords: (I * P, 7, 2) float32, x and y in pixels of the input.
        labels: (I * P, 7) float32, see `exporter.models.prompt_encoder`.
    """

    images: NDArray[np.uint8]
    targets: NDArray[np.uint8]
    owners: NDArray[np.uint8]
    coords: NDArray[np.float32]
    labels: NDArray[np.float32]


def batches(seed: int, first: int, images: int, prompts: int) -> Iterator[Batch]:
    """Generate endless batches; batch n is the same whatever `first` is.

    Args:
        seed: of the training run.
        first: number of the batch to begin with.
        images: images in a batch.
        prompts: prompted objects of an image.
    """
    number = first
    while True:
        rng = Generator(PCG64([seed, number]))
        parts = [_example(rng, prompts) for _ in range(images)]
        yield Batch(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
        number += 1


def _size(rng: Generator) -> tuple[int, int]:
    """Draw height and width of a scene: half of them square, a third larger than the input."""
    longest = SIZE if rng.random() < 0.67 else int(rng.integers(SIZE, 2 * SIZE))
    shortest = longest if rng.random() < 0.5 else round(longest * rng.uniform(0.6, 1.0))
    return (longest, shortest) if rng.random() < 0.5 else (shortest, longest)


def _example(rng: Generator, prompts: int) -> tuple[NDArray[Any], ...]:
    """Make the fields of a `Batch` of one image."""
    found = training_scene(rng)
    masks = found.instances
    order = rng.permutation(len(masks))
    chosen = [masks[order[i % len(masks)]] for i in range(prompts)]
    scale = np.float32(SIZE / max(found.image.shape))
    first = [first_prompt(rng, mask) for mask in chosen]
    return (
        pad(Image.fromarray(found.image), PAD)[None],
        np.stack([_target(mask) for mask in chosen]),
        _owners(masks)[None],
        np.stack([coords for coords, _ in first]) * scale,
        np.stack([labels for _, labels in first]),
    )


def training_scene(rng: Generator) -> Scene:
    """Draw a training scene with at least one object."""
    while True:
        found = scene(int(rng.integers(HELD_OUT)), *_size(rng))
        if len(found.instances):
            return found


def _owners(masks: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """(K, H, W) -> (96, 96), see `Batch`."""
    numbers = np.arange(1, len(masks) + 1, dtype=np.uint8)
    owners = (masks * numbers[:, None, None]).sum(axis=0, dtype=np.uint8)
    return pad(Image.fromarray(owners), 255, Image.Resampling.NEAREST)[1::2, 1::2]


def pad(
    image: Image.Image,
    colour: tuple[int, int, int] | int,
    resample: Image.Resampling = Image.Resampling.BILINEAR,
) -> NDArray[np.uint8]:
    """Resize the longest side to 192, then pad at the right or the bottom: (192, 192[, 3])."""
    scale = SIZE / max(image.size)
    size = (round(image.width * scale), round(image.height * scale))
    canvas = Image.new(image.mode, (SIZE, SIZE), colour)
    resized = image if size == image.size else image.resize(size, resample)
    canvas.paste(resized, (0, 0))
    return np.asarray(canvas)


def _target(mask: Mask) -> NDArray[np.uint8]:
    """Compute (96, 96): the object's share of each low resolution pixel, times 255."""
    whole = Image.fromarray(pad(Image.fromarray(mask.astype(np.uint8) * 255), 0))
    return np.asarray(whole.reduce(2))


def first_prompt(rng: Generator, mask: Mask) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Draw a first prompt: a point (32 %), a few (10 %), a box (45 %), box and point (13 %)."""
    coords = np.zeros((SLOTS, 2), np.float32)
    labels = np.full(SLOTS, EMPTY, np.float32)
    labels[POINT_SLOTS] = NOT_A_POINT
    kind = rng.random()
    if kind < 0.42:
        for slot in range(1 if kind < 0.32 else int(rng.integers(2, FIRST_CORRECTION + 1))):
            inside = slot == 0 or rng.random() < 0.6
            coords[slot] = inside_pixel(rng, mask) if inside else outside_pixel(rng, mask)
            labels[slot] = float(inside)
        return coords, labels
    coords[POINT_SLOTS:] = np.reshape(jittered_box(rng, mask), (2, 2))
    labels[POINT_SLOTS:] = BOX_LOW, BOX_HIGH
    if kind > 0.87:
        coords[0], labels[0] = inside_pixel(rng, mask), 1.0
    return coords, labels


def inside_pixel(rng: Generator, mask: Mask) -> tuple[float, float]:
    """Pick the deepest pixel or, more often, any pixel inside."""
    return deepest_pixel(mask) if rng.random() < 0.35 else random_pixel(rng, mask)
