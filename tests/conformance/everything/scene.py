"""A picture whose masks are formulas: the stand-in for a network in the segment-everything cases.

With made-up weights no network's mask passes a quality filter, so these cases run the published
*generators* over a predictor that anybody can repeat from this file: numpy only, no weights.

A scene holds groups; a group holds objects that hide one another; an object holds parts. Each is a
region with a signed distance (positive inside, in pixels of the original picture, a pixel's centre
at its index + 0.5). A point prompt gives three masks (part, whole, group), a box prompt one.

Only +, -, *, /, min, max, floor and sqrt of float64 are used, and numpy's legacy ``RandomState``,
so the numbers are the same on every machine up to the last rounding to float32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

LIMIT = 20.0  # logits are clipped to this
WOBBLE = 2.5  # a prompt moves a mask's border by up to this, in pixels of the network's input
# below this size (root of the area, in pixels of the network's input) a mask is rated lower
SMALL = 24.0
FAR = 1e6


def wave(t: float) -> float:
    """A triangle wave of period 1 between 0 and 1: 0 at whole numbers."""
    return abs(2.0 * (t - np.floor(t + 0.5)))


@dataclass(frozen=True)
class Piece:
    """One primitive: ``disc``, ``box`` or ``diamond``."""

    kind: str
    x: float
    y: float
    rx: float
    ry: float

    def distance(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Signed distance to the border, positive inside (for a box, to the nearest edge's
        line)."""
        dx, dy = np.abs(x - self.x), np.abs(y - self.y)
        if self.kind == "disc":
            return self.rx - np.sqrt(dx * dx + dy * dy)
        if self.kind == "box":
            return np.minimum(self.rx - dx, self.ry - dy)
        height = self.rx * self.ry / np.sqrt(self.rx * self.rx + self.ry * self.ry)
        return (1.0 - dx / self.rx - dy / self.ry) * height

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        return self.x - self.rx, self.y - self.ry, self.x + self.rx, self.y + self.ry


@dataclass(frozen=True)
class Body:
    """A union of pieces, less holes."""

    pieces: tuple[Piece, ...]
    holes: tuple[Piece, ...] = ()

    def distance(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        inside = self.pieces[0].distance(x, y)
        for piece in self.pieces[1:]:
            inside = np.maximum(inside, piece.distance(x, y))
        for hole in self.holes:
            inside = np.minimum(inside, -hole.distance(x, y))
        return inside

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        return self.pieces[0].bounds


@dataclass(frozen=True)
class Region:
    """Something that a prompt may mean.

    ``sharpness`` is in logits per pixel of the network's input; ``quality`` is what the predicted
    IoU
    starts from; ``size`` is the root of its area in pixels of the original picture.
    """

    name: str
    distance: Callable[[np.ndarray, np.ndarray], np.ndarray] = field(repr=False)
    bounds: tuple[float, float, float, float]
    sharpness: float
    quality: float
    size: float


class Scene:
    """Groups, objects and parts for a seed.

    ``regions`` lists them all; ``objects`` are painted in their order, so the last one on a point
    is
    what one sees there.
    """

    def __init__(self, seed: int, height: int, width: int) -> None:
        self.seed, self.height, self.width = seed, height, width
        rng = np.random.RandomState(seed)
        draw = rng.random_sample
        columns, rows = (3, 2) if width > 1.4 * height else (2, 2)
        cell_w, cell_h = width / columns, height / rows
        self.group_bodies: list[Body] = []
        self.objects: list[tuple[int, Body, list[Body]]] = []  # group, body, parts
        for g in range(columns * rows):
            cx = (g % columns + 0.5) * cell_w + (draw() - 0.5) * 0.06 * cell_w
            cy = (g // columns + 0.5) * cell_h + (draw() - 0.5) * 0.06 * cell_h
            rx, ry = cell_w * (0.40 + 0.05 * draw()), cell_h * (0.40 + 0.05 * draw())
            self.group_bodies.append(Body((Piece("box", cx, cy, rx, ry),)))
            for place in rng.permutation(6)[: 2 + rng.randint(0, 3) + (columns == 2)]:
                self.objects.append(self._object(rng, g, cx, cy, rx, ry, place))
        self._tune(rng)

    @staticmethod
    def _object(
        rng: np.random.RandomState, g: int, cx: float, cy: float, rx: float, ry: float, place: int
    ):
        draw = rng.random_sample
        r = min(rx, ry) * (0.15 + 0.45 * draw() * draw())
        x = cx + rx * (0.56 * (place % 3 - 1) + 0.3 * (draw() - 0.5))
        y = cy + ry * (0.80 * (place // 3 - 0.5) + 0.3 * (draw() - 0.5))
        kind = ("disc", "box", "diamond")[rng.randint(0, 3)]
        stretch = 1.0 if kind == "disc" else 0.7 + 0.6 * draw()
        main = Piece(kind, x, y, r * stretch, r if kind == "disc" else r / stretch)
        pieces, holes = [main], []
        trait = rng.randint(0, 4)
        if trait == 0:  # specks beside it
            for a, b in ((1, 0.3), (-0.2, 1), (-1, -0.5)):
                speck = 1.5 + 4 * draw()
                pieces.append(Piece("disc", x + 1.25 * r * a, y + 1.25 * r * b, speck, speck))
        elif trait == 1:  # pin-holes in it
            for a, b in ((0.35, 0.3), (-0.4, -0.1)):
                h = 1.5 + 3.5 * draw()
                holes.append(Piece("disc", x + a * r, y + b * r, h, h))
        parts = []
        for side in (-1.0, 1.0)[: rng.randint(0, 3)]:
            pr = r * (0.22 + 0.15 * draw())
            parts.append(Body((Piece("disc", x + side * 0.42 * r, y + 0.1 * side * r, pr, pr),)))
        return g, Body(tuple(pieces), tuple(holes)), parts

    def _tune(self, rng: np.random.RandomState) -> None:  # noqa: C901, PLR0915 - one order of draws
        """Every region with its sharpness and quality, in a fixed order."""
        bodies = [body for _, body, _ in self.objects]
        self.background = len(self.group_bodies)
        self.group_of: list[int] = []
        self.wholes: list[Region] = []
        self.parts: list[list[Region]] = []
        self.rests: list[Region | None] = []
        draw = rng.random_sample

        def region(name, distance, bounds, low, high, area=None):
            sharpness, quality = 0.7 + 3.3 * draw(), low + (high - low) * draw()
            x0, y0, x1, y1 = bounds
            size = np.sqrt((x1 - x0) * (y1 - y0) if area is None else area)
            return Region(name, distance, bounds, sharpness, quality, float(size))

        def less(body, others):
            def distance(x, y):
                out = body.distance(x, y)
                for other in others:
                    out = np.minimum(out, -other.distance(x, y))
                return out

            return distance

        self.groups = [
            region(f"group{g}", b.distance, b.bounds, 0.87, 0.96)
            for g, b in enumerate(self.group_bodies)
        ]
        for i, (g, body, parts) in enumerate(self.objects):
            over = [b for b in bodies[i + 1 :] if _meet(b.bounds, body.bounds)]
            self.group_of.append(g)
            self.wholes.append(region(f"object{i}", less(body, over), body.bounds, 0.87, 0.98))
            self.parts.append(
                [
                    region(f"object{i}.part{j}", less(p, over), p.bounds, 0.86, 0.98)
                    for j, p in enumerate(parts)
                ]
            )
            self.rests.append(
                region(f"object{i}.rest", less(body, over + parts), body.bounds, 0.76, 0.94)
                if parts
                else None
            )
        self.gaps = [
            region(
                f"group{g}.ground",
                less(b, [o for k, o, _ in self.objects if k == g]),
                b.bounds,
                0.72,
                0.9,
            )
            for g, b in enumerate(self.group_bodies)
        ]
        frame = (0.0, 0.0, float(self.width), float(self.height))

        def outside(x, y):
            out = np.full(np.broadcast(x, y).shape, FAR)
            for body in self.group_bodies:
                out = np.minimum(out, -body.distance(x, y))
            return out

        self.strips = []
        for k in range(3):
            left, right = self.width * k / 3, self.width * (k + 1) / 3
            strip = Piece(
                "box", (left + right) / 2, self.height / 2, (right - left) / 2, 2.0 * self.height
            )
            self.strips.append(
                region(
                    f"strip{k}",
                    lambda x, y, s=strip: np.minimum(outside(x, y), s.distance(x, y)),
                    (left, 0.0, right, float(self.height)),
                    0.60,
                    0.86,
                )
            )
        self.ground = region("background", outside, frame, 0.80, 0.93)
        self.everything = region(
            "picture", lambda x, y: np.full(np.broadcast(x, y).shape, FAR), frame, 0.60, 0.80
        )
        parts = [p for some in self.parts for p in some]
        rests = [r for r in self.rests if r is not None]
        self.regions = [
            *self.groups,
            *self.wholes,
            *parts,
            *rests,
            *self.gaps,
            *self.strips,
            self.ground,
            self.everything,
        ]
        #: what a box prompt may mean, and what recall is counted over: the things one would name
        self.things = [*self.groups, *self.wholes, *parts]

    def image(self) -> np.ndarray:
        """(H, W, 3) uint8: the picture says where each pixel is, so a predictor knows a crop by its
        first pixel.

        red = x mod 256, green = y mod 256, blue = x // 256 + 16 * (y // 256).
        """
        y, x = np.mgrid[: self.height, : self.width]
        return np.stack([x % 256, y % 256, x // 256 + 16 * (y // 256)], axis=-1).astype(np.uint8)

    def at(self, x: float, y: float) -> tuple[Region, Region, Region]:
        """Part, whole and group that a click means."""
        px, py = np.float64(x), np.float64(y)
        for i in reversed(range(len(self.objects))):
            if self.objects[i][1].distance(px, py) > 0:
                part = next((p for p in self.parts[i] if p.distance(px, py) > 0), self.rests[i])
                group = self.groups[self.group_of[i]]
                return (part if part is not None else self.wholes[i]), self.wholes[i], group
        for g, body in enumerate(self.group_bodies):
            if body.distance(px, py) > 0:
                return self.gaps[g], self.groups[g], self.everything
        strip = min(2, max(0, int(np.floor(3 * px / self.width))))
        return self.strips[strip], self.ground, self.everything

    def in_box(self, box: np.ndarray) -> tuple[Region, float]:
        """The thing whose bounds fit a box (x0, y0, x1, y1) best, and their IoU."""
        ious = [_box_iou(thing.bounds, box) for thing in self.things]
        best = int(np.argmax(ious))
        return self.things[best], ious[best]

    def mask(self, region: Region) -> np.ndarray:
        """(H, W) bool: the region itself, at the centres of the original picture's pixels."""
        x, y = np.arange(self.width) + 0.5, np.arange(self.height) + 0.5
        return region.distance(x[None, :], y[:, None]) > 0


class ScenePredictor:
    """Answers as an image encoder with a mask decoder would.

    ``frame`` is ``"pad"`` (SAM: the longest side becomes ``size``, the rest is padding at the right
    and
    bottom) or ``"stretch"`` (SAM 2, EfficientSAM: both sides become ``size``). Coordinates are
    pixels of
    the picture given to ``set_image``, a crop included. ``calls`` counts; a call with n prompts is
    one.
    """

    def __init__(self, scene: Scene, frame: str = "pad", size: int = 1024, low: int = 256) -> None:
        self.scene, self.frame, self.size, self.low = scene, frame, size, low
        self.calls = {"encoder": 0, "decoder": 0, "prompts": 0}

    def set_image(self, rgb: np.ndarray) -> None:
        """Read off the first pixel which part of the scene this is."""
        red, green, blue = (int(v) for v in rgb[0, 0])
        self.x0, self.y0 = red + 256 * (blue % 16), green + 256 * (blue // 16)
        height, width = rgb.shape[:2]
        if self.frame == "pad":
            scale = self.size / max(height, width)
            input_w, input_h = int(width * scale + 0.5), int(height * scale + 0.5)
        else:
            input_w = input_h = self.size
        self.rx, self.ry = input_w / width, input_h / height
        self.scale = min(self.rx, self.ry)
        step = self.size / self.low
        centres = (np.arange(self.low) + 0.5) * step
        self.gx = (self.x0 + centres / self.rx)[None, :]
        self.gy = (self.y0 + centres / self.ry)[:, None]
        self._known: dict[str, np.ndarray] = {}
        self.calls["encoder"] += 1

    def _distance(self, region: Region) -> np.ndarray:
        if region.name not in self._known:
            self._known[region.name] = region.distance(self.gx, self.gy)
        return self._known[region.name]

    def _logits(self, region: Region, bias: float) -> np.ndarray:
        """(low, low): linear in the distance to the border, which ``bias`` pixels of the input
        move outwards."""
        slope = region.sharpness * (self._distance(region) * self.scale + bias)
        return np.clip(slope, -LIMIT, LIMIT).astype(np.float32)

    def _rated(self, region: Region, depth: float, bias: float) -> float:
        """The predicted IoU: less near the region's border, for a small region, and for a moved
        border."""
        deep = min(1.0, max(0.0, depth / (0.25 * region.size)))
        small = max(0.0, 1.0 - region.size * self.scale / SMALL)
        return region.quality + 0.05 * deep - 0.03 - 0.3 * small - 0.008 * abs(bias)

    def points(
        self, points: np.ndarray, multimask: bool = True, mask_input: np.ndarray | None = None
    ):
        """One foreground click each: (n, 2) x, y -> logits (n, K, low, low) and IoUs (n, K),
        float32.

        K is 3 (part, whole, group) or, without ``multimask``, 1: the whole; or with ``mask_input``
        (n, low, low), that of the three which overlaps it most, with a quarter of the wobble and
        rated 0.02 higher.
        """
        points = np.asarray(points, np.float64)
        self._count(len(points))
        masks, ious = [], []
        for k, (px, py) in enumerate(points):
            x, y = self.x0 + px, self.y0 + py
            levels = self.scene.at(x, y)
            bias = WOBBLE * (2 * wave(x / 37.0 + y / 53.0) - 1)
            bonus = 0.003 * (2 * wave(x / 29.0 - y / 61.0) - 1)
            if mask_input is not None:
                earlier = np.asarray(mask_input[k]) > 0
                level = max(levels, key=lambda r: _overlap(self._logits(r, 0.0) > 0, earlier))
                levels, bias, bonus = (level,), 0.25 * bias, bonus + 0.02
            elif not multimask:
                levels = (levels[1],)
            masks.append([self._logits(r, bias) for r in levels])
            ious.append(
                [
                    self._rated(r, float(r.distance(np.float64(x), np.float64(y))), bias) + bonus
                    for r in levels
                ]
            )
        return _stacked(masks, self.low), np.array(ious, np.float32).reshape(len(points), -1)

    def boxes(self, boxes: np.ndarray):
        """(n, 4) x0, y0, x1, y1 -> logits (n, 1, low, low) and IoUs (n, 1), float32."""
        boxes = np.asarray(boxes, np.float64)
        self._count(len(boxes))
        masks, ious = [], []
        for box in boxes:
            there = box + np.array([self.x0, self.y0, self.x0, self.y0], np.float64)
            region, fit = self.scene.in_box(there)
            bias = WOBBLE * (2 * wave(there[0] / 37.0 + there[1] / 53.0) - 1)
            masks.append([self._logits(region, bias)])
            ious.append([region.quality * fit])
        return _stacked(masks, self.low), np.array(ious, np.float32).reshape(len(boxes), -1)

    def _count(self, prompts: int) -> None:
        self.calls["decoder"] += 1
        self.calls["prompts"] += prompts


def _stacked(masks, low: int) -> np.ndarray:
    return np.array(masks, np.float32) if masks else np.zeros((0, 1, low, low), np.float32)


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    either = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / either if either else 0.0


def _meet(a, b) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _box_iou(a, b) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    both = max(0.0, width) * max(0.0, height)
    either = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both
    return float(both / either) if either > 0 else 0.0
