from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from coremltools.converters.mil.mil import Builder as mb

from tests.unit.mil.building import case, compare, normal, parametrize, whole

T = torch.from_numpy
X = normal(2, 3, 4)
IMAGE = normal(2, 8, 4, 6)
S = normal(4, 4)


def _pad(note, torch_pads, pads, **more):
    """Torch lists the last axis first, Core ML in the order of the axes."""
    mode = {"replicate": "replicate", "reflect": "reflect"}.get(more.get("mode", ""), "constant")
    fill = {"value": 1.5} if mode == "constant" else {}
    expected = F.pad(T(IMAGE), torch_pads, mode=mode, **fill)

    def build(x):
        return mb.pad(x=x, pad=pads, constant_val=1.5, **more)

    return case("pad", build, IMAGE, expected, note=note)


def _space_to_depth():
    """Core ML counts the place in the block first, torch's unshuffle the channel."""
    x = IMAGE[:1]
    parts = [x[:, :, row::2, col::2] for row in (0, 1) for col in (0, 1)]
    return case(
        "space_to_depth",
        lambda v: mb.space_to_depth(x=v, block_size=2),
        x,
        np.concatenate(parts, 1),
    )


CASES = [
    case("reshape", lambda x: mb.reshape(x=x, shape=[6, -1]), X, X.reshape(6, 4)),
    case(
        "reshape",
        lambda x: mb.reshape(x=x, shape=[1, 0, -1, 0]),
        normal(2, 50),
        normal(2, 50).reshape(1, 1, 2, 50),
        opset="iOS17",
        note="zeros",
    ),
    case("transpose", lambda x: mb.transpose(x=x, perm=[2, 0, 1]), X, T(X).permute(2, 0, 1)),
    case("expand_dims", lambda x: mb.expand_dims(x=x, axes=[0, -1]), X, X.reshape(1, 2, 3, 4, 1)),
    case("squeeze", lambda x: mb.squeeze(x=x, axes=[1]), normal(1, 1, 3), normal(1, 3)),
    case("squeeze", lambda x: mb.squeeze(x=x), normal(1, 1, 3), normal(3), note="all"),
    case(
        "concat",
        lambda a, b: mb.concat(values=(a, b), axis=-1),
        [X, X + 1],
        torch.cat([T(X), T(X) + 1], -1),
    ),
    case(
        "concat",
        lambda a, b: mb.concat(values=(a, b), axis=0, interleave=True),
        [
            np.array([[1.0, 2], [3, 4], [5, 6]], np.float32),
            np.array([[7.0, 8], [9, 10], [11, 12]], np.float32),
        ],
        [[1, 2], [7, 8], [3, 4], [9, 10], [5, 6], [11, 12]],
        note="interleave",
    ),
    case(
        "stack",
        lambda a, b: mb.stack(values=(a, b), axis=1),
        [X, X + 1],
        torch.stack([T(X), T(X) + 1], 1),
    ),
    case("split", lambda x: mb.split(x=x, num_splits=2, axis=-1), X, *T(X).chunk(2, -1)),
    case(
        "split",
        lambda x: mb.split(x=x, split_sizes=[1, 3], axis=2),
        X,
        *T(X).split([1, 3], 2),
        note="sizes",
    ),
    case(
        "slice_by_index",
        lambda x: mb.slice_by_index(x=x, begin=[0, -2, 1], end=[2, 3, 4], stride=[1, 1, 2]),
        X,
        X[0:2, -2:3, 1:4:2],
    ),
    case(
        "slice_by_index",
        lambda x: mb.slice_by_index(
            x=x,
            begin=[1, 9, 3],
            end=[9, 2, 9],
            stride=[1, 1, -1],
            begin_mask=[False, True, False],
            end_mask=[False, False, True],
            squeeze_mask=[True, False, False],
        ),
        X,
        X[1, :2, 3::-1],
        note="masks",
    ),
    case(
        "slice_by_size",
        lambda x: mb.slice_by_size(x=x, begin=[0, 1, 2], size=[1, -1, 2]),
        X,
        X[:1, 1:, 2:],
    ),
    case(
        "slice_update",
        lambda x, u: mb.slice_update(x=x, update=u, begin=[0, 1], end=[4, 3]),
        [S, np.zeros((4, 2), np.float32)],
        np.stack([S[:, 0], S[:, 0] * 0, S[:, 0] * 0, S[:, 3]], 1),
        opset="iOS18",
    ),
    _pad("constant", (1, 2, 0, 3), [0, 3, 1, 2]),
    _pad("all-axes", (0, 1, 1, 0, 0, 0, 2, 0), [2, 0, 0, 0, 1, 0, 0, 1]),
    _pad("reflect", (1, 2, 3, 0), [3, 0, 1, 2], mode="reflect"),
    _pad("replicate", (1, 2, 3, 0), [3, 0, 1, 2], mode="replicate"),
    case("tile", lambda x: mb.tile(x=x, reps=[1, 2, 3]), X, T(X).repeat(1, 2, 3)),
    case("reverse", lambda x: mb.reverse(x=x, axes=[0, 2]), X, T(X).flip(0, 2)),
    case("reverse", lambda x: mb.reverse(x=x), X, T(X).flip(0, 1, 2), note="all"),
    case("shape", lambda x: mb.shape(x=x), X, [2, 3, 4]),
    case(
        "pixel_shuffle",
        lambda x: mb.pixel_shuffle(x=x, upscale_factor=2),
        IMAGE,
        F.pixel_shuffle(T(IMAGE), 2),
    ),
    case(
        "pixel_unshuffle",
        lambda x: mb.pixel_unshuffle(x=x, downscale_factor=np.uint32(2)),
        IMAGE,
        F.pixel_unshuffle(T(IMAGE), 2),
    ),
    _space_to_depth(),
    case(
        "depth_to_space",
        lambda x: mb.depth_to_space(x=x, block_size=2),
        np.arange(8, dtype=np.float32).reshape(1, 8, 1, 1),
        [[[[0, 2], [4, 6]], [[1, 3], [5, 7]]]],
    ),
    case("band_part", lambda x: mb.band_part(x=x, lower=-1, upper=0), S, torch.tril(T(S))),
    case(
        "band_part",
        lambda x: mb.band_part(x=x, lower=0, upper=-1),
        S,
        torch.triu(T(S)),
        note="upper",
    ),
    case(
        "band_part",
        lambda x: mb.band_part(x=x, lower=1, upper=1),
        np.ones((3, 4), np.float32),
        [[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 1]],
        note="band",
    ),
    case(
        "sliding_windows",
        lambda x: mb.sliding_windows(x=x, axis=1, size=3, stride=2),
        normal(2, 7),
        T(normal(2, 7)).unfold(1, 3, 2),
    ),
    case(
        "transpose",
        lambda x: mb.transpose(x=x, perm=[1, 0]),
        whole(2, 3),
        whole(2, 3).T,
        note="int",
    ),
]


@parametrize(CASES)
def test_operation(each, results):
    compare(each, results[each.name])
