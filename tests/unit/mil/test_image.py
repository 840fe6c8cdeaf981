from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from coremltools.converters.mil.mil import Builder as mb

from tests.unit.mil.building import case, compare, normal, parametrize

T = torch.from_numpy
X = normal(1, 2, 4, 6)
LINE = np.array([[[[0.0, 1.0]]]], np.float32)

# Core ML's documented sampling places for two pixels with values 0 and 1.
SAMPLED = {
    "STRICT_ALIGN_CORNERS": ([0, 0.25, 0.5, 0.75, 1], [0, 0.2, 0.4, 0.6, 0.8, 1]),
    "ALIGN_CORNERS": ([0, 0.25, 0.5, 0.75, 1], [0, 0.2, 0.4, 0.6, 0.8, 1]),
    "DEFAULT": ([0, 0.4, 0.8, 1, 1], [0, 1 / 3, 2 / 3, 1, 1, 1]),
    "OFFSET_CORNERS": (
        [0.1, 0.3, 0.5, 0.7, 0.9],
        [1 / 12, 3 / 12, 5 / 12, 7 / 12, 9 / 12, 11 / 12],
    ),
    "UNALIGN_CORNERS": ([0, 0.1, 0.5, 0.9, 1], [0, 0, 1 / 3, 2 / 3, 1, 1]),
}


def _resize(mode, expected):
    def build(x):
        return mb.resize_bilinear(
            x=x, target_size_height=1, target_size_width=len(expected), sampling_mode=mode
        )

    return case("resize_bilinear", build, LINE, [[[expected]]], note=f"{mode}-{len(expected)}")


def _upsample(note, align, height, width, **more):
    expected = F.interpolate(
        T(X), size=(int(4 * height), int(6 * width)), mode="bilinear", align_corners=align
    )

    def build(x):
        return mb.upsample_bilinear(
            x=x,
            scale_factor_height=height,
            scale_factor_width=width,
            align_corners=align,
            **more,
        )

    return case("upsample_bilinear", build, X, expected, note=note)


CASES = [
    *[_resize(mode, list(row)) for mode, rows in SAMPLED.items() for row in rows],
    case(
        "resize_bilinear",
        lambda x: mb.resize_bilinear(
            x=x, target_size_height=1, target_size_width=1, sampling_mode="ALIGN_CORNERS"
        ),
        LINE,
        [[[[0.5]]]],
        note="one-pixel",
    ),
    _upsample("half-pixels", False, 2.0, 3.0),
    _upsample("corners", True, 3.0, 2.0),
    _upsample("fraction", False, 1.5, 2.5),
    _upsample("downscale", False, 0.5, 0.5),
    case(
        "upsample_bilinear",
        lambda x: mb.upsample_bilinear(
            x=x, scale_factor_width=2.5, align_corners=False, half_pixel_centers=False
        ),
        LINE,
        [[[[0, 0.4, 0.8, 1, 1]]]],
        note="plain",
    ),
    case(
        "upsample_nearest_neighbor",
        lambda x: mb.upsample_nearest_neighbor(x=x, scale_factor_height=2, scale_factor_width=3),
        X,
        F.interpolate(T(X), scale_factor=(2, 3), mode="nearest"),
    ),
    case(
        "resize_nearest_neighbor",
        lambda x: mb.resize_nearest_neighbor(x=x, target_size_height=6, target_size_width=9),
        X,
        F.interpolate(T(X), size=(6, 9), mode="nearest"),
    ),
]


@parametrize(CASES)
def test_operation(each, results):
    compare(each, results[each.name])


@pytest.mark.parametrize("mode", SAMPLED)
def test_every_sampling_mode_is_known(mode):
    from runtimes.engines.mil.ops_image import _MODES

    assert mode in _MODES
