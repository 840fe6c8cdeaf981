"""The host's half of a volume: where the cube lies, what the network sees, the way back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from exporter.bundle.agreement import check_agreement
from exporter.bundle.rules import LABELS, MaskRule
from exporter.bundle.voxels import (
    Clicks,
    Cube,
    decoder_inputs,
    pack_clicks,
    place_cube,
    volume_input,
    volume_masks,
    whole_mask,
)
from exporter.errors import BundleError, ImageError, PromptError, RequestError
from exporter.job import Job, settle
from exporter.variants import load_variant
from tests.unit.tiny_volume import LOW, PROMPTS, SIZE, SPECS
from tests.unit.volume_manifest import manifest_of

WHOLE = Cube((SIZE,) * 3, (0, 0, 0), SIZE)


@pytest.mark.parametrize(
    ("side", "points", "start"),
    [
        (16, [3], 0),  # as long as the cube: no crop, whatever is clicked
        (40, [20], 12),
        (40, [2], 0),
        (40, [39], 24),
        (40, [10, 24], 9),
        (11, [5], -3),  # of five zeros, three come first
        (12, [5], -2),
    ],
)
def test_where_the_cube_lies(side, points, start):
    clicks = [(float(at), 3.0, 3.0) for at in points]
    assert place_cube((side, 16, 16), clicks, SIZE).start == (start, 0, 0)


def test_clicks_farther_apart_than_the_cube():
    place_cube((40, 16, 16), [(10, 3, 3), (25, 3, 3)], SIZE)
    with pytest.raises(PromptError, match="16 voxels apart along axis 0"):
        place_cube((40, 16, 16), [(10, 3, 3), (26, 3, 3)], SIZE)


def test_what_the_network_sees_is_normalised_over_what_is_above_0():
    values = np.random.default_rng(0).integers(-500, 900, (20, 16, 11)).astype(np.int16)
    seen = volume_input(values, Cube(values.shape, (2, 0, -3), SIZE))
    cut = np.zeros((SIZE,) * 3)
    cut[:, :, 3:14] = values[2:18]
    positive = torch.from_numpy(cut[cut > 0])
    expected = (cut - positive.mean().item()) / positive.std(unbiased=True).item()
    assert (seen.shape, seen.dtype) == ((1, SIZE, SIZE, SIZE), np.float32)
    np.testing.assert_allclose(seen[0], expected, atol=1e-6)


def test_one_voxel_above_0_has_no_deviation():
    values = np.zeros((SIZE,) * 3)
    values[3, 4, 5] = 2
    with pytest.raises(ImageError, match="nothing to see"):
        volume_input(values, WHOLE)


def test_slots_hold_voxels_of_the_cube_and_end_with_no_point():
    cube = Cube((40, 16, 11), (12, 0, -3), SIZE)
    coords, labels = pack_clicks(Clicks(((20, 8, 5), (13, 1, 0)), (1, 0)), cube, PROMPTS)
    assert coords[0].tolist() == [[8, 8, 8], [1, 1, 3], [0, 0, 0], [0, 0, 0]]
    assert labels[0].tolist() == [1, 0, LABELS["not_a_point"], LABELS["empty"]]


def test_a_mask_to_refine_and_none():
    logits = np.arange(LOW**3, dtype=np.float32).reshape((LOW,) * 3)
    clicks = Clicks(((1, 1, 1),), (1,))
    given = decoder_inputs(clicks, WHOLE, PROMPTS, LOW, logits)
    assert given["mask_input"].shape == (1, 1, LOW * LOW, LOW)
    assert np.array_equal(given["mask_input"].ravel(), logits.ravel())
    assert given["has_mask_input"].tolist() == [1]
    blank = decoder_inputs(clicks, WHOLE, PROMPTS, LOW, None, no_mask=True)
    assert not blank["mask_input"].any()
    assert blank["has_mask_input"].tolist() == [0]


def test_masks_are_upscaled_as_torch_does_it():
    logits = np.random.default_rng(0).standard_normal((4, LOW * LOW, LOW), np.float32)
    rule = MaskRule(0.0, 0, (1, 2, 3), "trilinear", LOW)
    found = volume_masks(logits, np.arange(4, dtype=np.float32), WHOLE, rule, multimask=True)
    cubes = torch.from_numpy(logits[1:].reshape(3, 1, LOW, LOW, LOW))
    large = F.interpolate(cubes, (SIZE,) * 3, mode="trilinear", align_corners=False)[:, 0].numpy()
    clear = np.abs(large) > 1e-5
    assert np.array_equal(found.masks[clear], large[clear] > 0)
    assert clear.mean() > 0.999
    assert found.iou_predictions.tolist() == [1, 2, 3]
    assert np.array_equal(found.low_res_masks.ravel(), logits[1:].ravel())


def test_outside_the_cube_is_no_mask():
    cube = Cube((40, 16, 11), (12, 0, -3), SIZE)
    mask = whole_mask(np.ones((LOW,) * 3, np.float32), cube, 0.0)
    assert mask.shape == cube.shape
    assert np.array_equal(np.flatnonzero(mask.any((1, 2))), np.arange(12, 28))
    assert mask[12:28].all()


def test_a_resampled_cube_comes_back_on_the_volumes_own_voxels():
    """Twice as many network voxels: 16 of them are 8 of the volume's."""
    values = np.random.default_rng(0).uniform(1, 9, (20, 16, 16))
    cube = place_cube(values.shape, [(10, 8, 8)], SIZE, (2.0, 1.0, 1.0))
    assert cube.start == (13, 0, 0)
    raw = volume_input(values, cube)[0]
    line = (np.arange(13, 29) + 0.5) / 2 - 0.5
    expected = np.array([np.interp(line, np.arange(20), values[:, 3, 4])])
    shown = (raw[:, 3, 4] - raw[0, 3, 4]) / (raw[5, 3, 4] - raw[0, 3, 4])
    expected = (expected[0] - expected[0, 0]) / (expected[0, 5] - expected[0, 0])
    np.testing.assert_allclose(shown, expected, rtol=1e-4, atol=1e-4)
    mask = whole_mask(np.ones((LOW,) * 3, np.float32), cube, 0.0)
    assert np.flatnonzero(mask.any((1, 2))).tolist() == list(range(7, 14))


def tiny(**changes):
    preprocess = replace(load_variant("fastsam3d").preprocess, size=SIZE)
    mask = MaskRule(0.0, 0, (1, 2, 3), "trilinear", LOW)
    volume = replace(load_variant("fastsam3d").prompting.rule, size=SIZE, low_res_size=LOW)
    made = {"preprocess": preprocess, "mask": mask, "volume": volume, "prompts": PROMPTS}
    return manifest_of([type("Graph", (), {"spec": spec}) for spec in SPECS], **(made | changes))


def test_a_manifest_of_volumes_agrees_with_itself():
    check_agreement(tiny())
    assert tiny().kind == "volume"
    assert type(tiny()).from_json(tiny().to_json()) == tiny()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"volume": None}, "crop is of volumes|none is of volumes|trilinear is of volumes"),
        ({"prompts": None, "detections": None}, "volume has prompts"),
        ({"prompts": replace(PROMPTS, batch=2)}, "one prompt set in a call"),
        ({"mask": MaskRule(0.0, 0, (1, 2, 3), "bilinear", LOW)}, "volume has crop, none"),
        ({"mask": MaskRule(0.0, 0, (1, 2, 3), "trilinear", LOW // 2)}, "volume.size and low_res"),
    ],
)
def test_parts_of_a_manifest_that_do_not_go_together(changes, says):
    with pytest.raises(BundleError, match=says):
        check_agreement(tiny(**changes))


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"batch": 2}, "leave out --batch"),
        ({"everything": True}, "no graphs for --everything"),
        ({"video": True}, "has no memory"),
        ({"input_size": 256}, "one input size, 128"),
        ({"preprocess": "sam"}, "no --preprocess"),
        ({"precision": "int8", "calibration": "pictures"}, "--calibration goes by pictures"),
        ({"precision": "int8", "min_iou": 0.9}, "--min-iou goes by pictures"),
        ({"evaluate": "pictures"}, "--evaluate goes by pictures"),
        ({"score": "stability"}, "cannot rank masks by stability"),
    ],
)
def test_what_a_variant_of_volumes_is_not_asked_for(asked, says):
    with pytest.raises(RequestError, match=says):
        settle(Job(("onnx",), variant="fastsam3d", **asked), load_variant("fastsam3d"))
