"""A stand-in for a network in the cases of everything: masks of regions, and what it was asked.

A click gives the regions that hold it, a box the region that fits it. The picture's colours tell
where each pixel is, so that a crop is known by its first pixel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from exporter.bundle.preprocess import Bytes, Floats, fit, upscaling
from exporter.bundle.rules import Preprocess, Upscale
from runtimes.everything.steps.interpolation import Upscaler
from runtimes.golden_vectors.seeds import MARGIN

LOW = 16
_LIMIT = 40.0  # above SAM 2's clamp of refined masks, so that it is seen
_STEP = 1 / 256
_BIASES = (-0.75, 0.0, 0.75)
Doubles = npt.NDArray[np.float64]
Distance = Callable[[Doubles, Doubles], Doubles]
Proposed = tuple[tuple[tuple[float, float], float], ...]


def disc(x: float, y: float, radius: float) -> Distance:
    """Pixels inside a disc's border, negative outside."""
    return lambda px, py: radius - np.hypot(px - x, py - y)


def box(x: float, y: float, wide: float, tall: float) -> Distance:
    """Pixels inside the border of a rectangle with a centre and half sides."""
    return lambda px, py: np.minimum(wide - np.abs(px - x), tall - np.abs(py - y))


def union(*parts: Distance) -> Distance:
    """Pixels inside one of several."""
    return lambda px, py: np.maximum.reduce([part(px, py) for part in parts])


def without(whole: Distance, hole: Distance) -> Distance:
    """Pixels inside `whole` and outside `hole`."""
    return lambda px, py: np.minimum(whole(px, py), -hole(px, py))


@dataclass(frozen=True)
class Region:
    """Something that a prompt may mean.

    Attributes:
        inside: its signed distance.
        size: the smaller, the earlier it is given.
        quality: what its predicted IoU starts from.
        slope: logits a pixel; NaN makes every logit so.
    """

    inside: Distance
    size: float
    quality: float
    slope: float = 10.0


REGIONS = (
    Region(disc(30, 28, 11), 11, 0.95),
    Region(without(disc(34, 34, 18), disc(40, 40, 6)), 18, 0.97),
    Region(box(34, 48, 28, 42), 35, 0.91),
    Region(union(box(30, 74, 14, 8), box(56, 58, 6, 6)), 14, 0.93),
    Region(box(94, 30, 12, 9), 10, 0.9),
    Region(disc(92, 46, 30), 30, 0.96),
    Region(box(92, 46, 34, 44), 40, 0.9, 2.0),
    Region(disc(110, 80, 10), 10, 0.89),
    Region(box(64, 48, 400, 400), 400, 0.5),
)
"""On a picture of 128 x 96."""


@dataclass
class Call:
    """One question.

    Attributes:
        image: number of the `set_image` before it.
        prompts: (n, 2) points or (n, 4) boxes.
        multimask: as asked; of boxes false.
        earlier: numbers of the grids that were given to be refined, or None.
        grids: (n, K) uint8, numbers of the grids that were answered.
        ious: (n, K)
    """

    image: int
    prompts: list[list[float]]
    multimask: bool
    earlier: list[int] | None
    grids: npt.NDArray[np.uint8]
    ious: Floats


@dataclass
class Standing:
    """The stand-in, as `runtimes.everything.predictor.Predictor`, with what it was asked.

    Attributes:
        preprocess: how a picture lies in the network's input.
        how: its logits are upscaled.
        edges: logits that no upscaled one comes near.
        changes: what is done to logits before they are upscaled; none comes near after it either.
        regions: that it knows.
        proposed: points that it proposes, with their scores, the best first.
    """

    preprocess: Preprocess
    how: Upscale
    edges: Sequence[float]
    changes: Sequence[Callable[[Floats], Floats]] = ()
    regions: tuple[Region, ...] = REGIONS
    proposed: Proposed = ()
    crops: list[list[int]] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    grids: list[Floats] = field(default_factory=list)
    _numbers: dict[bytes, int] = field(default_factory=dict)
    _made: dict[tuple[int, float], Floats] = field(default_factory=dict)

    def set_image(self, image: Bytes, /) -> None:
        """See where the crop lies."""
        left, top = image[0, 0, :2].tolist()
        height, width = image.shape[:2]
        self.crops.append([left, top, left + width, top + height])
        self._made.clear()

    def upscaler(self, shape: tuple[int, int], size: tuple[int, int]) -> Upscaler:
        """See `runtimes.everything.predictor.upscaler_of`."""
        frame = fit(size[1], size[0], self.preprocess)
        squashed = self.how == "sigmoid_bilinear_once"
        return Upscaler(*upscaling(shape, frame, self.how), squashed=squashed)

    def points(
        self,
        points: npt.NDArray[np.float64],
        multimask: bool = True,  # noqa: FBT001 - as published
        mask_input: Floats | None = None,
    ) -> tuple[Floats, Floats]:
        """See `Predictor.points`."""
        answers = []
        for at, (x, y) in enumerate(np.asarray(points, np.float64).tolist()):
            levels = self._levels(x, y)
            if mask_input is not None:
                same = [self._overlap(level, mask_input[at]) for level in levels]
                levels = [levels[int(np.argmax(same))]]
            elif not multimask:
                levels = levels[1:2]
            bonus = 0.0 if mask_input is None else 0.02
            answers.append([self._answer(level, x, y, bonus) for level in levels])
        earlier = None if mask_input is None else [self._number(mask) for mask in mask_input]
        return self._answers(points, answers, earlier, multimask=multimask)

    def boxes(self, boxes: Floats) -> tuple[Floats, Floats]:
        """See `Predictor.boxes`."""
        answers = []
        for x0, y0, x1, y1 in np.asarray(boxes, np.float64).tolist():
            x, y = (x0 + x1) / 2, (y0 + y1) / 2
            half = min(x1 - x0, y1 - y0) / 2
            levels = self._levels(x, y)
            level = min(levels, key=lambda at: abs(self.regions[at].size - half))
            answers.append([self._answer(level, x, y, 0.0)])
        return self._answers(boxes, answers, None, multimask=False)

    def proposals(self) -> tuple[Doubles, Floats]:
        """See `Predictor`."""
        points = np.array([point for point, _ in self.proposed], np.float64).reshape(-1, 2)
        return points, np.array([score for _, score in self.proposed], np.float32)

    def _levels(self, x: float, y: float) -> list[int]:
        left, top = self.crops[-1][:2]
        held = [
            at
            for at, region in enumerate(self.regions)
            if region.inside(np.array([x + left]), np.array([y + top]))[0] > 0
        ]
        held = sorted(held, key=lambda at: self.regions[at].size)[:3]
        return held + [len(self.regions) - 1] * (3 - len(held))

    def _answer(self, level: int, x: float, y: float, bonus: float) -> tuple[Floats, float]:
        column, row = int(x) // 8, int(y) // 8
        bias = _BIASES[(column + row) % 3]
        return self._grid(level, bias), (
            self.regions[level].quality
            + bonus
            + 0.005 * ((3 * column + row) % 5)
            - 0.01 * abs(bias)
        )

    def _grid(self, level: int, bias: float) -> Floats:
        """Make a region's logits (LOW, LOW), moved until none of the picture is near an edge."""
        if (level, bias) not in self._made:
            region, (left, top, right, bottom) = self.regions[level], self.crops[-1]
            size = (bottom - top, right - left)
            frame = fit(size[1], size[0], self.preprocess)
            centres = (np.arange(LOW) + 0.5) * self.preprocess.size / LOW
            x = left + centres * size[1] / frame.resized[0]
            y = top + centres * size[0] / frame.resized[1]
            raw = region.slope * (region.inside(x[None, :], y[:, None]) + bias)
            grid = np.rint(np.clip(raw, -_LIMIT, _LIMIT) / _STEP) * _STEP
            self._made[level, bias] = self._cleared(grid.astype(np.float32), size)
        return self._made[level, bias]

    def _cleared(self, grid: Floats, size: tuple[int, int]) -> Floats:
        if not np.isfinite(grid).any():
            return grid
        frame = fit(size[1], size[0], self.preprocess)
        tall, wide = upscaling(grid.shape, frame, self.how)
        for step in range(1000):
            moved = grid + np.float32(step * _STEP)
            seen = [moved, *(change(moved) for change in self.changes)]
            if all(self._is_clear(tall.astype(np.float64), each, wide) for each in seen):
                return moved
        raise RuntimeError("no logits keep away from the thresholds")

    def _is_clear(self, tall: Doubles, logits: Floats, wide: Floats) -> bool:
        squashed = self.how == "sigmoid_bilinear_once"
        logits = np.tanh(logits / 2) if squashed else logits
        upscaled = tall @ logits @ wide.T
        edges = [np.tanh(edge / 2) if squashed else edge for edge in self.edges]
        return all(np.abs(upscaled - edge).min() > MARGIN for edge in edges)

    def _overlap(self, level: int, mask: Floats) -> float:
        mine, theirs = self._grid(level, 0.0) > 0, mask > 0
        return float((mine & theirs).sum() / max((mine | theirs).sum(), 1))

    def _answers(
        self,
        prompts: npt.ArrayLike,
        answers: list[list[tuple[Floats, float]]],
        earlier: list[int] | None,
        *,
        multimask: bool,
    ) -> tuple[Floats, Floats]:
        logits = np.array([[grid for grid, _ in row] for row in answers], np.float32)
        ious = np.array([[iou for _, iou in row] for row in answers], np.float32)
        self.calls.append(
            Call(
                len(self.crops) - 1,
                np.asarray(prompts, np.float64).tolist(),
                multimask,
                earlier,
                np.array([[self._number(grid) for grid in row] for row in logits], np.uint8),
                ious,
            )
        )
        return logits, ious

    def _number(self, grid: Floats) -> int:
        key = np.ascontiguousarray(grid, np.float32).tobytes()
        if key not in self._numbers:
            self._numbers[key] = len(self.grids)
            self.grids.append(np.array(grid, np.float32))
        return self._numbers[key]

    def recorded(self) -> dict[str, Any]:
        """What a twin needs to answer the same way."""
        return {
            "crops": self.crops,
            "grids": self.grids,
            "calls": [vars(call) for call in self.calls],
        }


def picture(width: int, height: int) -> Bytes:
    """Make the picture (H, W, 3) whose red and green are each pixel's place."""
    rgb = np.zeros((height, width, 3), np.uint8)
    rgb[..., 0], rgb[..., 1] = np.arange(width), np.arange(height)[:, None]
    return rgb
