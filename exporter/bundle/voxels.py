"""From a volume to the `volume` input, and back from logits to masks. numpy only.

The host's half of the contract for volumes, as `exporter.bundle.volume` says it. Axes are array
axes; a volume's directions are whoever's who read it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from exporter.bundle.manifest import Manifest
from exporter.bundle.masks import choose_tokens, clamp_logits
from exporter.bundle.preprocess import Bools, Floats
from exporter.bundle.rules import LABELS, SLOTS, MaskRule, PromptRule
from exporter.bundle.volume import VolumeRule
from exporter.errors import BundleError, ImageError, PromptError

Voxel = tuple[float, float, float]
Shape = tuple[int, int, int]
NEAREST_WHOLE = 0.5
"""A place up to half a voxel outside the middle of the last one is still in it."""


@dataclass(frozen=True)
class Clicks:
    """Points in voxels of a volume, and a label for each: 1 foreground, 0 background."""

    points: tuple[Voxel, ...]
    labels: tuple[int, ...]

    def alone(self, index: int) -> Clicks:
        """Take one of them."""
        return Clicks((self.points[index],), (self.labels[index],))


@dataclass(frozen=True)
class Cube:
    """Where the network's cube lies in a volume.

    Attributes:
        shape: of the volume, in voxels.
        start: its first voxel, in voxels of the resampled volume; negative in padding.
        size: of its sides, in voxels.
        scale: resampled voxels for one of the volume, along each axis; ones if it is as it is.
    """

    shape: Shape
    start: tuple[int, int, int]
    size: int
    scale: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def to_cube(self, points: Sequence[Voxel]) -> npt.NDArray[np.float64]:
        """(n, 3) voxels of the volume -> (n, 3) voxels of the cube."""
        places = np.asarray(points, np.float64).reshape(-1, 3)
        scale = np.array(self.scale)
        moved: npt.NDArray[np.float64] = (places + 0.5) * scale - 0.5 - np.array(self.start)
        return moved

    def holds(self, axis: int) -> npt.NDArray[np.int64]:
        """The volume's voxels along an axis that the cube holds the middle of."""
        places = (np.arange(self.shape[axis]) + 0.5) * self.scale[axis] - 0.5 - self.start[axis]
        return np.flatnonzero((places > -NEAREST_WHOLE) & (places < self.size - NEAREST_WHOLE))


@dataclass(frozen=True)
class VolumeMasks:
    """The masks of one prompt set; K is 1, or with `multimask` the length of the rule's `multi`.

    Attributes:
        masks: (K, X, Y, Z) at the size of the volume.
        iou_predictions: (K,)
        low_res_masks: (K, L, L, L) logits in the cube.
    """

    masks: Bools
    iou_predictions: Floats
    low_res_masks: Floats

    @property
    def best(self) -> int:
        """Index of the mask with the highest predicted IoU."""
        return int(np.argmax(self.iou_predictions))


def volume_rule(manifest: Manifest) -> tuple[VolumeRule, PromptRule]:
    """Return a bundle's rules for volumes. BundleError if it has none."""
    if manifest.volume is None or manifest.prompts is None:
        raise BundleError(f"{manifest.variant} segments pictures, not volumes")
    return manifest.volume, manifest.prompts


def check_clicks(clicks: Clicks, shape: Shape, rule: PromptRule) -> None:
    """PromptError if the slots cannot take these points in a volume of that shape."""
    if not clicks.points:
        raise PromptError("no prompt: give a voxel, as --point I,J,K")
    for point in clicks.points:
        inside = (
            -NEAREST_WHOLE <= place < side - NEAREST_WHOLE
            for place, side in zip(point, shape, strict=True)
        )
        if not all(inside):
            shown = ",".join(f"{place:g}" for place in point)
            sides = " x ".join(map(str, shape))
            raise PromptError(f"the voxel {shown} is outside the volume ({sides} voxels, from 0)")
    wrong = [label for label in clicks.labels if label not in (0, 1)]
    if wrong:
        raise PromptError(f"a point's label is 1 (foreground) or 0 (background), not {wrong[0]}")
    needed = len(clicks.points) + 1
    if needed > rule.slots:
        cure = f"export again with --max-points {needed}" if needed <= SLOTS[-1] else "give fewer"
        raise PromptError(
            f"these points take {needed} slots (SAM adds one) and the bundle has {rule.slots}: "
            f"{cure}, or give --refine"
        )


def place_cube(
    shape: Shape, points: Sequence[Voxel], size: int, scale: Voxel = (1.0, 1.0, 1.0)
) -> Cube:
    """Put the cube around points.

    Args:
        shape: of the volume.
        points: in its voxels.
        size: of the cube's sides, in resampled voxels.
        scale: see `Cube`.

    Raises:
        PromptError: they are too far apart for one cube.
    """
    start = []
    loose = Cube(shape, (0, 0, 0), size, scale).to_cube(points)
    for axis, side in enumerate(shape):
        low, high = float(loose[:, axis].min()), float(loose[:, axis].max())
        if high - low > size - 1:
            raise PromptError(
                f"the points are {high - low:g} voxels apart along axis {axis}, and the network "
                f"sees {size}: give those of one object, or --resample to larger voxels"
            )
        room = max(1, round(side * scale[axis])) - size
        at = math.floor((low + high) / 2 + 0.5) - size // 2
        start.append(min(max(at, 0), room) if room >= 0 else -math.ceil(-room / 2))
    return Cube(shape, (start[0], start[1], start[2]), size, scale)


def volume_input(values: npt.NDArray[np.generic], cube: Cube) -> Floats:
    """Cut the cube out of a volume and normalise it: (1, S, S, S).

    Args:
        values: (X, Y, Z) numbers.
        cube: where it lies.

    Raises:
        ImageError: a value is not finite, or too large; or none, or all alike, are above 0.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused
        return _normalised(values, cube)


def _normalised(values: npt.NDArray[np.generic], cube: Cube) -> Floats:
    cut = np.zeros((cube.size,) * 3, np.float64)
    inside, part = _resampled(values, cube)
    if not np.isfinite(part).all():
        raise ImageError("the volume has values that are not finite (NaN or infinite) there")
    cut[inside] = part
    positive = cut[cut > 0]
    if not positive.size:
        raise ImageError(
            "no voxel around the prompts is above 0, and the network's scale is taken from those: "
            "shift the volume's values"
        )
    deviation = float(positive.std(ddof=1)) if positive.size > 1 else 0.0
    if deviation == 0.0:
        raise ImageError(
            f"every voxel above 0 around the prompts is {positive[0]:g}: there is nothing to see"
        )
    normalised: Floats = ((cut - positive.mean()) / deviation).astype(np.float32)
    if not (math.isfinite(deviation) and np.isfinite(normalised).all()):
        raise ImageError(
            f"the volume has values up to {np.abs(cut).max():g} around the prompts, beyond what "
            "float32 can normalise: divide them"
        )
    return normalised[None]


def _resampled(
    values: npt.NDArray[np.generic], cube: Cube
) -> tuple[tuple[slice, ...], npt.NDArray[np.float64]]:
    """The part of the cube that the volume reaches, and its values."""
    inside: list[slice] = []
    part = values
    for axis, side in enumerate(cube.shape):
        there = max(1, round(side * cube.scale[axis]))
        first, last = max(cube.start[axis], 0), min(cube.start[axis] + cube.size, there)
        inside.append(slice(first - cube.start[axis], last - cube.start[axis]))
        if cube.scale[axis] == 1.0:
            part = np.take(part, np.arange(first, last), axis)
        else:
            places = (np.arange(first, last) + 0.5) / cube.scale[axis] - 0.5
            part = _between(part, places, axis)
    return tuple(inside), part.astype(np.float64)


def _between(
    values: npt.NDArray[np.generic], places: npt.NDArray[np.floating], axis: int
) -> npt.NDArray[np.float64]:
    """Values at places along an axis, linear between the middles of voxels; edges are held."""
    last = values.shape[axis] - 1
    places = np.clip(places, 0, last)
    below = np.floor(places).astype(np.int64)
    share = (places - below).reshape([-1 if each == axis else 1 for each in range(values.ndim)])
    low, high = (
        np.take(values, each, axis).astype(np.float64)
        for each in (below, np.minimum(below + 1, last))
    )
    mixed: npt.NDArray[np.float64] = low * (1 - share) + high * share
    return mixed


def pack_clicks(clicks: Clicks, cube: Cube, rule: PromptRule) -> tuple[Floats, Floats]:
    """Fill the slots: `point_coords` (1, N, 3) in voxels of the cube, `point_labels` (1, N).

    The published encoder ends every set with its "not a point" token.
    """
    check_clicks(clicks, cube.shape, rule)
    count = len(clicks.points)
    coords = np.zeros((1, rule.slots, 3), np.float32)
    labels = np.full((1, rule.slots), LABELS["empty"], np.float32)
    coords[0, :count] = cube.to_cube(clicks.points)
    labels[0, :count] = clicks.labels
    labels[0, count] = LABELS["not_a_point"]
    return coords, labels


def decoder_inputs(
    clicks: Clicks,
    cube: Cube,
    rule: PromptRule,
    low: int,
    earlier: Floats | None,
    *,
    no_mask: bool = False,
) -> dict[str, Floats]:
    """Make what the decoder takes besides the embedding.

    Args:
        clicks: in the volume.
        cube: of the volume.
        rule: the bundle's.
        low: side of the low-resolution cube.
        earlier: (L, L, L) logits to refine; None for zeros, which the published flow starts with.
        no_mask: give no mask at all, which the published flow never does.
    """
    coords, labels = pack_clicks(clicks, cube, rule)
    fed = np.zeros((1, 1, low * low, low), np.float32)
    if earlier is not None:
        fed[0, 0] = np.asarray(earlier, np.float32).reshape(low * low, low)
    given = np.full(1, float(not no_mask), np.float32)
    names = ("point_coords", "point_labels", "mask_input", "has_mask_input")
    return dict(zip(names, (coords, labels, fed, given), strict=True))


def volume_masks(
    logits: Floats, iou: Floats, cube: Cube, rule: MaskRule, *, multimask: bool
) -> VolumeMasks:
    """Choose the caller's masks of (M, L * L, L) `low_res_masks` and bring them to the volume."""
    tokens = list(choose_tokens(rule, logits, iou, multimask=multimask))
    low = rule.low_res_size
    chosen = clamp_logits(logits[tokens], rule).reshape(-1, low, low, low)
    masks = np.stack([whole_mask(each, cube, rule.threshold) for each in chosen])
    return VolumeMasks(masks, iou[tokens], chosen)


def whole_mask(logits: Floats, cube: Cube, threshold: float) -> Bools:
    """(L, L, L) logits in the cube -> (X, Y, Z) bool in the volume."""
    held = [cube.holds(axis) for axis in range(3)]
    found: npt.NDArray[np.generic] = logits
    ratio = cube.size / logits.shape[0]
    for axis in range(3):
        cells = (np.arange(cube.size) + 0.5) / ratio - 0.5
        found = _between(found, cells, axis)
        places = (held[axis] + 0.5) * cube.scale[axis] - 0.5 - cube.start[axis]
        found = _between(found, places, axis)
    mask = np.zeros(cube.shape, np.bool_)
    mask[np.ix_(*held)] = found > threshold  # type: ignore[operator]
    return mask
