"""Training clips of the demo's memory: frames as the frozen image encoder sees them, on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.format import open_memmap
from numpy.random import PCG64, Generator
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from exporter.demo import network
from exporter.errors import RequestError
from exporter.models.layers import Normalise, freeze
from exporter.models.sam import Sam
from exporter.scenes.clip import NOBODY, Clip, clip
from exporter.scenes.scene import MIN_AREA
from profiles.lab.demo.batches import PAD, SIZE, SLOTS, first_prompt, pad

FRAMES = 14
"""Of a stored clip."""
MOST_OBJECTS = 8
CLEAR = 0.6
"""Least share of an object that is seen where a sample begins."""


class Encoder:
    """The demo's image encoder, frozen."""

    def __init__(self) -> None:
        self.sam: Sam = freeze(network.load())  # type: ignore[assignment]
        self.normalise = Normalise(network.MEAN, network.STD)

    @torch.no_grad()
    def __call__(self, frames: NDArray[np.uint8]) -> Tensor:
        """(F, H, W, 3) RGB -> (F, C, h, w)."""
        padded = np.stack([pad(Image.fromarray(frame), PAD) for frame in frames])
        pixels = torch.from_numpy(padded).permute(0, 3, 1, 2).float()
        return self.sam(self.normalise(pixels))


def training_clip(seed: int, frames: int) -> Clip:
    """Draw a clip whose longer side is the network's; half of them are square."""
    rng = Generator(PCG64([seed, 2]))
    shorter = SIZE if rng.random() < 0.5 else round(SIZE * rng.uniform(0.6, 1.0))
    sides = (SIZE, shorter) if rng.random() < 0.5 else (shorter, SIZE)
    return clip(seed, *sides, frames)


@dataclass(frozen=True)
class Samples:
    """Objects to follow, B of them through T frames.

    Attributes:
        embeddings: (T, B, C, h, w).
        targets: (T, B, 1, 96, 96), the share of each pixel that shows the object, 0..1.
        coords: (B, N, 2) of the prompts on the first frame, in pixels of the input.
        labels: (B, N).
    """

    embeddings: Tensor
    targets: Tensor
    coords: Tensor
    labels: Tensor


class ClipStore:
    """Clips on disk: `embeddings.npy`, `owners.npy` and `shown.npy`, filled from the first on.

    Args:
        folder: made if it is not there; delete it when scenes or the image encoder have changed.
        first: seed of the first clip.
        count: clips.
    """

    def __init__(self, folder: Path, first: int, count: int) -> None:
        self.first, self.count = first, count
        folder.mkdir(parents=True, exist_ok=True)
        grid, path = network.GRID, folder / "shown.npy"
        mode: Any = "r+" if path.exists() else "w+"

        def array(name: str, kind: str, *shape: int) -> NDArray[Any]:
            file, whole = folder / f"{name}.npy", (count, FRAMES, *shape)
            made: NDArray[Any]
            made = open_memmap(file, mode, kind, whole)  # type: ignore[no-untyped-call]
            if made.shape != whole:
                raise RequestError(f"{file} holds {made.shape}, not {whole}: delete {folder}")
            return made

        self.embeddings = array("embeddings", "f2", network.WIDTH, grid, grid)
        self.owners = array("owners", "i1", SIZE, SIZE)
        self.shown = array("shown", "f4", MOST_OBJECTS)
        if mode == "w+":
            self.shown[:] = np.nan

    @property
    def filled(self) -> int:
        """Clips that are there."""
        there = ~np.isnan(self.shown[:, 0, 0])
        return int(there.sum())

    def fill(self, encoder: Encoder) -> bool:
        """Draw the next clip; False if all are there."""
        at = self.filled
        if at == self.count:
            return False
        made = training_clip(self.first + at, FRAMES)
        self.embeddings[at] = encoder(made.frames).half().numpy()
        for number, owners in enumerate(made.owners):
            whole = np.full((SIZE, SIZE), NOBODY, np.int8)
            whole[: owners.shape[0], : owners.shape[1]] = owners
            self.owners[at, number] = whole
        shown = np.zeros((FRAMES, MOST_OBJECTS), np.float32)
        shown[:, : made.shown.shape[1]] = made.shown
        self.shown[at] = shown
        return True

    def draw(self, rng: Generator, objects: int, frames: int) -> Samples:
        """Draw objects to follow; mostly such that are hidden in part at some time."""
        parts = [self._sample(rng, frames) for _ in range(objects)]
        embeddings, targets, coords, labels = zip(*parts, strict=True)
        return Samples(
            torch.stack(embeddings, dim=1), torch.stack(targets, dim=1),
            torch.stack(coords), torch.stack(labels),
        )  # fmt: skip

    def _sample(self, rng: Generator, frames: int) -> tuple[Tensor, ...]:
        at, number, chosen = self._choose(rng, frames)
        masks = self.owners[at][chosen] == number
        shares = masks.reshape(frames, SIZE // 2, 2, SIZE // 2, 2).mean((2, 4), dtype=np.float32)
        coords, labels = first_prompt(rng, masks[0])
        return (
            torch.from_numpy(self.embeddings[at][chosen]).float(),
            torch.from_numpy(shares)[:, None],
            torch.from_numpy(coords),
            torch.from_numpy(labels),
        )

    def _choose(self, rng: Generator, frames: int) -> tuple[int, int, NDArray[np.intp]]:
        """Draw a clip, an object and frames, one way or the other, some in steps of two."""
        while True:
            at = int(rng.integers(self.filled))
            step = 2 if rng.random() < 0.2 and 2 * frames <= FRAMES else 1
            start = int(rng.integers(FRAMES - step * (frames - 1)))
            chosen = start + step * np.arange(frames)
            chosen = chosen[::-1] if rng.random() < 0.5 else chosen
            number = int(rng.integers(MOST_OBJECTS))
            shown = self.shown[at, chosen, number]
            whole = (self.owners[at, chosen[0]] == number).mean()
            if shown[0] < CLEAR or whole < MIN_AREA:
                continue
            if shown.min() < CLEAR or rng.random() < 0.4:
                return at, number, chosen


def no_prompt(batch: int) -> tuple[Tensor, Tensor]:
    """Coordinates (B, N, 2) and labels (B, N) of a frame that is tracked; see `VideoRule`."""
    labels = torch.full((batch, SLOTS), -2.0)
    labels[:, :2] = -1.0
    return torch.zeros(batch, SLOTS, 2), labels
