from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from coremltools.converters.mil.mil import Builder as mb

from tests.unit.mil.building import case, check, compare, normal, parametrize

T = torch.from_numpy
IMAGE = normal(2, 4, 9, 10)


def _conv(note, weight, pads=(0, 0, 0, 0), bias=None, strides=(1, 1), groups=1, dilations=(1, 1)):
    """`pads` as Core ML orders them: top, bottom, left, right."""
    top, bottom, left, right = pads
    padded = F.pad(T(IMAGE), (left, right, top, bottom))
    expected = F.conv2d(
        padded, T(weight), None if bias is None else T(bias), strides, 0, dilations, groups
    )

    def build(x):
        return mb.conv(
            x=x,
            weight=weight,
            bias=bias,
            strides=strides,
            pad_type="custom",
            pad=pads,
            dilations=dilations,
            groups=groups,
        )

    return case("conv", build, IMAGE, expected, note=note, atol=2e-5)


def _same(mode, size, stride, padding):
    """Padding worked out by hand for `size` inputs, a kernel of 3 and this stride."""
    x, weight = normal(1, 2, size), normal(3, 2, 3, seed=1)
    expected = F.conv1d(F.pad(T(x), padding), T(weight), stride=stride)

    def build(v):
        return mb.conv(x=v, weight=weight, strides=[stride], pad_type=mode)

    note = f"{mode}-{size}-{stride}"
    return case("conv", build, x, expected, note=note, atol=1e-5)


def _three_axes():
    x, weight = normal(1, 2, 4, 5, 6), normal(3, 2, 2, 3, 2, seed=1)

    def build(v):
        return mb.conv(x=v, weight=weight, pad_type="valid")

    return case("conv", build, x, F.conv3d(T(x), T(weight)), note="3d", atol=2e-5)


def _transpose(note, weight, pads=(0, 0, 0, 0), bias=None, strides=(2, 2), groups=1, **more):
    """Torch pads both sides alike; the rest is cut by hand."""
    top, bottom, left, right = pads
    full = F.conv_transpose2d(
        T(IMAGE),
        T(weight),
        None if bias is None else T(bias),
        strides,
        groups=groups,
        dilation=more.get("dilations", (1, 1)),
    )
    expected = full[:, :, top : full.shape[2] - bottom, left : full.shape[3] - right]

    def build(x):
        return mb.conv_transpose(
            x=x,
            weight=weight,
            bias=bias,
            strides=strides,
            pad_type="custom",
            pad=pads,
            groups=groups,
            **more,
        )

    return case("conv_transpose", build, IMAGE, expected, note=note, atol=2e-5)


def _transpose_same():
    """out = in * stride; of the 19 x 21 full result one row and one column behind are cut."""
    weight = normal(4, 3, 3, 3, seed=1)
    full = F.conv_transpose2d(T(IMAGE), T(weight), stride=2)
    assert full.shape[2:] == (19, 21)

    def build(x):
        return mb.conv_transpose(x=x, weight=weight, strides=[2, 2], pad_type="same")

    return case("conv_transpose", build, IMAGE, full[:, :, :18, :20], note="same", atol=2e-5)


def _transpose_shaped():
    """Torch's output_padding: a size that pads alone do not give."""
    weight = normal(4, 3, 3, 3, seed=1)
    expected = F.conv_transpose2d(T(IMAGE), T(weight), stride=2, padding=1, output_padding=1)

    def build(x):
        return mb.conv_transpose(
            x=x,
            weight=weight,
            strides=[2, 2],
            pad_type="custom",
            pad=[1, 1, 1, 1],
            output_shape=[2, 3, 18, 20],
        )

    return case("conv_transpose", build, IMAGE, expected, note="shaped", atol=2e-5)


BIAS = normal(6, seed=9)
CASES = [
    _conv("1x1", normal(6, 4, 1, 1, seed=1), bias=BIAS),
    _conv("1x1-strided", normal(6, 4, 1, 1, seed=1), strides=(2, 2)),
    _conv("1x1-padded", normal(6, 4, 1, 1, seed=1), (1, 0, 0, 1), bias=BIAS),
    _conv("3x3", normal(6, 4, 3, 3, seed=1), (1, 1, 1, 1), bias=BIAS),
    _conv("uneven-pads", normal(6, 4, 3, 2, seed=1), (0, 1, 2, 3)),
    _conv("strided", normal(6, 4, 3, 3, seed=1), (1, 1, 1, 1), strides=(2, 3)),
    _conv("dilated", normal(6, 4, 3, 3, seed=1), (2, 2, 2, 2), dilations=(2, 2)),
    _conv("patches", normal(6, 4, 3, 5, seed=1), strides=(3, 5)),
    _conv("groups", normal(6, 2, 3, 3, seed=1), (1, 1, 1, 1), bias=BIAS, groups=2),
    _conv("groups-1x1", normal(6, 2, 1, 1, seed=1), groups=2),
    _conv("depthwise", normal(4, 1, 3, 3, seed=1), (1, 1, 1, 1), groups=4),
    _conv("depthwise-strided", normal(4, 1, 5, 5, seed=1), (2, 2, 2, 2), strides=(2, 2), groups=4),
    _conv("depthwise-twofold", normal(8, 1, 3, 3, seed=1), groups=4, dilations=(2, 1)),
    _same("same", 6, 2, (0, 1)),
    _same("same_lower", 6, 2, (1, 0)),
    _same("same", 7, 1, (1, 1)),
    _three_axes(),
    _transpose("2x2", normal(4, 3, 2, 2, seed=1), bias=normal(3, seed=2)),
    _transpose("overlapping", normal(4, 3, 4, 3, seed=1), (1, 1, 0, 1)),
    _transpose("groups", normal(4, 3, 2, 2, seed=1), groups=2),
    _transpose("dilated", normal(4, 3, 2, 2, seed=1), strides=(1, 1), dilations=(2, 3)),
    _transpose_same(),
    _transpose_shaped(),
]


def _pool(operation, function, note="", pads=(1, 1, 1, 1), strides=(2, 2), ceil=False, **more):
    def build(x):
        return getattr(mb, operation)(
            x=x,
            kernel_sizes=[3, 3],
            strides=strides,
            pad_type="custom",
            pad=pads,
            ceil_mode=ceil,
            **more,
        )

    return case(operation, build, IMAGE, function(T(IMAGE)), note=note)


POOLS = [
    _pool("max_pool", lambda x: F.max_pool2d(x, 3, 2, 1)),
    _pool("max_pool", lambda x: F.max_pool2d(x, 3, 2, 1, ceil_mode=True), "ceil", ceil=True),
    _pool("max_pool", lambda x: F.max_pool2d(x, 3, 2), "valid", pads=(0, 0, 0, 0)),
    _pool(
        "max_pool",
        lambda x: F.max_pool2d(x, 3, 2, ceil_mode=True),
        "valid-ceil",
        pads=(0, 0, 0, 0),
        ceil=True,
    ),
    _pool("avg_pool", lambda x: F.avg_pool2d(x, 3, 2, 1)),
    _pool("avg_pool", lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True), "ceil", ceil=True),
    _pool(
        "avg_pool",
        lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
        "exclude",
        exclude_padding_from_average=True,
    ),
    case(
        "max_pool",
        lambda x: mb.max_pool(x=x, kernel_sizes=[2], strides=[2], pad_type="same"),
        np.array([[[1.0, 5, 2, 3, -4]]], np.float32),
        [[[5.0, 3, -4]]],
        note="same",
    ),
    case(
        "avg_pool",
        lambda x: mb.avg_pool(
            x=x, kernel_sizes=[2], strides=[2], pad_type="same", exclude_padding_from_average=True
        ),
        np.array([[[1.0, 5, 2, 3, -4]]], np.float32),
        [[[3.0, 2.5, -4]]],
        note="same",
    ),
    case(
        "l2_pool",
        lambda x: mb.l2_pool(x=x, kernel_sizes=[2], strides=[2], pad_type="valid"),
        np.array([[[3.0, 4, 6, 8]]], np.float32),
        [[[5.0, 10]]],
    ),
]
CASES = CASES + POOLS


@parametrize(CASES)
def test_operation(each, results):
    compare(each, results[each.name])


@pytest.mark.parametrize("which", ["3x3", "strided", "dilated", "groups"])
def test_conv_in_row_blocks(which, tmp_path, monkeypatch):
    monkeypatch.setattr("runtimes.engines.mil.ops_conv._UNROLLED", 1)
    check(next(c for c in CASES if c.note == which), tmp_path)
