"""Move values about: shapes, slices, joins and padding. Nothing here changes a value."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from runtimes.engines.mil.call import Call
from runtimes.engines.mil.errors import MilError
from runtimes.engines.mil.ops_elementwise import Operation
from runtimes.engines.mil.tensors import Array


def _reshape(call: Call) -> Array:
    """-1 is the remaining size; 0 copies x's size, counted from the last axis as iOS 17 says."""
    x, shape = call["x"], call.integers("shape")
    for index, size in enumerate(shape):
        if size == 0:
            axis = index - len(shape) + x.ndim
            shape[index] = x.shape[axis] if axis >= 0 else 1
    return _apply_shape(call, x, shape)


def _apply_shape(call: Call, x: Array, shape: Sequence[int]) -> Array:
    """Reshape, to a view if the layout allows one."""
    if x.dtype != np.float32 or x.flags.c_contiguous:
        return x.reshape(shape)
    copy = call.fresh(x.shape)
    np.copyto(copy, x)
    return copy.reshape(shape)


def _transpose(call: Call) -> Array:
    return call["x"].transpose(call.integers("perm"))


def _expand_dims(call: Call) -> Array:
    return np.expand_dims(call["x"], tuple(call.integers("axes")))


def _squeeze(call: Call) -> Array:
    axes = tuple(call.integers("axes")) if "axes" in call else None
    return call["x"].squeeze(axes)


def _concat(call: Call) -> Array:
    """`interleave` takes one slice of each input in turn; all then have one shape."""
    values, axis = call.many("values"), call.integer("axis", 0)
    if not call.flag("interleave"):
        return np.concatenate(values, axis)
    axis %= values[0].ndim
    shape = list(values[0].shape)
    shape[axis] *= len(values)
    return np.stack(values, axis + 1).reshape(shape)


def _stack(call: Call) -> Array:
    return np.stack(call.many("values"), call.integer("axis", 0))


def _split(call: Call) -> tuple[Array, ...]:
    """Split into `split_sizes`, or else `num_splits` equal parts."""
    x, axis = call["x"], call.integer("axis", 0)
    if "split_sizes" in call:
        ends = list(itertools.accumulate(call.integers("split_sizes")))
        if ends[-1] != x.shape[axis]:
            raise MilError(f"{call.step.label}: sizes sum to {ends[-1]}, axis has {x.shape[axis]}")
        return tuple(np.split(x, ends[:-1], axis))
    return tuple(np.split(x, call.integer("num_splits", 1), axis))


def _slices(call: Call) -> tuple[slice | int, ...]:
    """Python's slices; `begin_mask` and `end_mask` leave an end open, `squeeze_mask` indexes."""
    begin, end = call.integers("begin"), call.integers("end")
    nothing = [0] * len(begin)
    stride = call.integers("stride", [1] * len(begin))
    masks = [call.integers(f"{name}_mask", nothing) for name in ("begin", "end", "squeeze")]
    found: list[slice | int] = []
    for first, last, step, no_first, no_last, single in zip(
        begin, end, stride, *masks, strict=True
    ):
        if single:
            found.append(first)
        else:
            found.append(slice(None if no_first else first, None if no_last else last, step))
    return tuple(found)


def _slice_by_index(call: Call) -> Array:
    return np.asarray(call["x"][_slices(call)])


def _slice_by_size(call: Call) -> Array:
    """Take `size` elements from `begin`; -1 is the rest."""
    begin, size = call.integers("begin"), call.integers("size")
    ends = [None if n == -1 else b + n for b, n in zip(begin, size, strict=True)]
    return call["x"][tuple(slice(b, e) for b, e in zip(begin, ends, strict=True))]


def _slice_update(call: Call) -> Array:
    out = np.array(call["x"], order="C")
    out[_slices(call)] = call["update"]
    return out


def _pad(call: Call) -> Array:
    """`pad` holds (before, after) for the last axes, in the order of the axes."""
    x, flat = call["x"], call.integers("pad")
    mode = {"constant": "constant", "reflect": "reflect", "replicate": "edge"}.get(
        call.text("mode", "constant")
    )
    if mode is None:
        raise MilError(f"{call.step.label}: mode '{call.text('mode')}' is not known")
    pairs = [(0, 0)] * (x.ndim - len(flat) // 2) + list(zip(flat[::2], flat[1::2], strict=True))
    if mode != "constant":
        return np.pad(x, pairs, mode=mode)  # type: ignore[call-overload, no-any-return]
    value = call.get("constant_val")
    return _pad_constant(call, x, pairs, 0 if value is None else value.item())


def _pad_constant(call: Call, x: Array, pairs: Sequence[tuple[int, int]], value: float) -> Array:
    """Negative amounts cut, as torch's pad does."""
    inner = (slice(max(0, -b), n - max(0, -a)) for n, (b, a) in zip(x.shape, pairs, strict=True))
    x = x[tuple(inner)]
    grow = [(max(0, b), max(0, a)) for b, a in pairs]
    shape = tuple(n + b + a for n, (b, a) in zip(x.shape, grow, strict=True))
    out = call.fresh(shape) if x.dtype == np.float32 else np.empty(shape, x.dtype)
    out.fill(value)
    out[tuple(slice(b, b + n) for n, (b, _) in zip(x.shape, grow, strict=True))] = x
    return out


def _tile(call: Call) -> Array:
    return np.tile(call["x"], call.integers("reps"))


def _reverse(call: Call) -> Array:
    return np.flip(call["x"], tuple(call.integers("axes")) if "axes" in call else None)


def _shape(call: Call) -> Array:
    return np.array(call["x"].shape, np.int32)


def _pixel_shuffle(call: Call) -> Array:
    """(B, C * f * f, H, W) -> (B, C, H * f, W * f); a pixel's f * f channels go row by row."""
    factor = call.integer("upscale_factor", 1)
    batch, channels, height, width = call["x"].shape
    split = call["x"].reshape(batch, channels // factor**2, factor, factor, height, width)
    mixed = split.transpose(0, 1, 4, 2, 5, 3)
    return mixed.reshape(batch, -1, height * factor, width * factor)


def _pixel_unshuffle(call: Call) -> Array:
    """Undo pixel_shuffle."""
    factor = call.integer("downscale_factor", 1)
    batch, channels, height, width = call["x"].shape
    rows, cols = height // factor, width // factor
    split = call["x"].reshape(batch, channels, rows, factor, cols, factor)
    return split.transpose(0, 1, 3, 5, 2, 4).reshape(batch, -1, rows, cols)


def _space_to_depth(call: Call) -> Array:
    """As pixel_unshuffle, but the place in the block varies slower than the old channel."""
    block = call.integer("block_size", 1)
    batch, channels, height, width = call["x"].shape
    rows, cols = height // block, width // block
    split = call["x"].reshape(batch, channels, rows, block, cols, block)
    return split.transpose(0, 3, 5, 1, 2, 4).reshape(batch, -1, rows, cols)


def _depth_to_space(call: Call) -> Array:
    """Undo space_to_depth."""
    block = call.integer("block_size", 1)
    batch, channels, height, width = call["x"].shape
    split = call["x"].reshape(batch, block, block, channels // block**2, height, width)
    mixed = split.transpose(0, 3, 4, 1, 5, 2)
    return mixed.reshape(batch, -1, height * block, width * block)


def _band_part(call: Call) -> Array:
    """Keep `lower` diagonals below the main one and `upper` above it; negative keeps all."""
    x = call["x"]
    lower, upper = call.integer("lower", -1), call.integer("upper", -1)
    below = np.arange(x.shape[-2])[:, None] - np.arange(x.shape[-1])[None, :]
    keep = ((lower < 0) | (below <= lower)) & ((upper < 0) | (-below <= upper))
    return np.where(keep, x, np.zeros((), x.dtype))


def _sliding_windows(call: Call) -> Array:
    """Along `axis`, windows of `size` every `stride`: axis becomes (windows, size)."""
    x = call["x"]
    axis, size = call.integer("axis", 0) % x.ndim, call.integer("size", 1)
    starts = np.arange(0, x.shape[axis] - size + 1, call.integer("stride", 1))
    return np.asarray(np.take(x, starts[:, None] + np.arange(size), axis=axis))


OPERATIONS: dict[str, Operation] = {
    "band_part": _band_part,
    "concat": _concat,
    "depth_to_space": _depth_to_space,
    "expand_dims": _expand_dims,
    "pad": _pad,
    "pixel_shuffle": _pixel_shuffle,
    "pixel_unshuffle": _pixel_unshuffle,
    "reshape": _reshape,
    "reverse": _reverse,
    "shape": _shape,
    "slice_by_index": _slice_by_index,
    "slice_by_size": _slice_by_size,
    "slice_update": _slice_update,
    "sliding_windows": _sliding_windows,
    "space_to_depth": _space_to_depth,
    "split": _split,
    "squeeze": _squeeze,
    "stack": _stack,
    "tile": _tile,
    "transpose": _transpose,
}
EXACT = frozenset(OPERATIONS)
