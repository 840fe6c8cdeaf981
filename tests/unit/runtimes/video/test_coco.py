"""Run lengths beside pycocotools 2.0.11: `pycocotools.mask.encode` gave the strings."""

from __future__ import annotations

import numpy as np
import pytest

from runtimes.video.coco import run_lengths, segmentation


def box():
    mask = np.zeros((5, 7), bool)
    mask[1:4, 2:5] = True
    return mask


def disc():
    rows, columns = np.mgrid[:60, :80]
    return (rows - 30) ** 2 + (columns - 20) ** 2 < 17**2


def noise():
    return np.arange(54).reshape(6, 9) ** 2 % 7 < 3


@pytest.mark.parametrize(
    ("mask", "counts"),
    [
        (box(), ";320009"),
        (np.zeros((3, 4), bool), "<"),
        (np.ones((3, 4), bool), "0<"),
        (noise(), "01150K00030M00050K00050K00050K00"),
        (disc(), "Y8;_14L4M2M4N0O2N2O0O2O0O2O00000000000000000001N101N101N2N102L3N3L4Lm_2"),
    ],
)
def test_as_pycocotools(mask, counts):
    assert segmentation(mask) == {"size": list(mask.shape), "counts": counts}


def test_run_lengths_go_down_the_columns_and_begin_outside():
    assert run_lengths(np.array([[1, 0], [1, 1]], bool)) == [0, 2, 1, 1]
    assert run_lengths(np.array([[0, 0], [1, 0]], bool)) == [1, 1, 2]
