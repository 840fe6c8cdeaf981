"""An input that is no square: how a picture is resized into it, and one point or one box."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from exporter.bundle.preprocess import fit, image_input, upscaling
from exporter.bundle.prompts import Prompts, pack
from exporter.bundle.rules import LABELS, Preprocess, PromptRule
from exporter.errors import PromptError, RequestError
from exporter.job import Job, settle
from exporter.variants import load_variant
from exporter.variants._sizes import resize

RULE = PromptRule(1, 2, LABELS, pad_without_box=False, most_slots=2, point_or_box=True)
VARIANT = load_variant("rap_sam_r50")


def at(height: int, width: int) -> Preprocess:
    return resize(VARIANT, (height, width)).preprocess


@pytest.mark.parametrize(
    ("picture", "inside", "resized"),
    [  # width, height; height, width; width, height as mmdet's Resize has them
        ((960, 720), (800, 1088), (1067, 800)),
        ((1920, 1080), (768, 1344), (1333, 750)),
        ((1080, 1920), (1344, 768), (750, 1333)),
        ((640, 480), (800, 1344), (1067, 800)),
        ((500, 500), (800, 800), (800, 800)),
        ((333, 1000), (1344, 800), (444, 1333)),
        # Smaller than published, or larger: what the input holds.
        ((960, 720), (480, 640), (640, 480)),
        ((720, 960), (800, 1344), (600, 800)),
        ((1000, 1000), (1024, 1024), (1024, 1024)),
        ((3000, 1000), (1024, 1536), (1536, 512)),
    ],
)
def test_a_picture_is_resized_as_published_where_that_fits(picture, inside, resized):
    frame = fit(*picture, at(*inside))
    assert (frame.resized, frame.whole) == (resized, inside[::-1])


def test_the_picture_lies_at_the_top_left_and_the_mean_around_it():
    rule = dataclasses.replace(at(128, 192), limits=(96, 64))
    image, frame = image_input(np.full((30, 60, 3), 7, np.uint8), rule)
    assert (image.shape, frame.resized) == ((1, 3, 128, 192), (96, 48))
    assert (image[..., :48, :96] == 7).all()
    outside = np.ones((128, 192), np.bool_)
    outside[:48, :96] = False
    np.testing.assert_array_equal(image[0][:, outside].T[0], np.float32(rule.mean))


def test_masks_go_back_through_both_sides():
    frame = fit(60, 30, at(128, 192))
    tall, wide = upscaling((32, 48), frame, "bilinear")
    assert (tall.shape, wide.shape) == ((30, 32), (60, 48))
    assert tall.sum(axis=1) == pytest.approx(1)
    assert frame.resized == (192, 96)
    assert not tall[:, 26:].any(), "rows of the padding"


def test_a_point_and_a_box_fill_the_two_slots():
    frame = fit(60, 30, at(128, 192))
    coords, labels = pack(Prompts(((30, 15),), (1,)), frame, RULE)
    assert (coords[0, 0].tolist(), labels.tolist()) == ([96, 48], [[1, -2]])
    coords, labels = pack(Prompts(box=(0, 0, 30, 15)), frame, RULE)
    assert (coords.tolist(), labels.tolist()) == ([[[0, 0], [96, 48]]], [[2, 3]])


@pytest.mark.parametrize(
    "prompts",
    [
        Prompts(((1, 1),), (0,)),
        Prompts(((1, 1), (2, 2)), (1, 1)),
        Prompts(((1, 1),), (1,), (0, 0, 5, 5)),
    ],
)
def test_other_prompts_are_refused_by_name(prompts):
    with pytest.raises(PromptError, match=r"one foreground point or one box .* no background"):
        pack(prompts, fit(60, 30, at(128, 192)), RULE)


def test_no_prompt_is_still_told_so():
    with pytest.raises(PromptError, match="no prompt"):
        pack(Prompts(), fit(60, 30, at(128, 192)), RULE)


@pytest.mark.parametrize("size", [(800, 1000), (96, 128), (800, 2080)])
def test_a_size_that_is_none(size):
    with pytest.raises(RequestError, match=r"multiples of 32 from 128 to 2048, each side"):
        resize(VARIANT, size)


def test_a_square_variant_takes_no_other_shape():
    with pytest.raises(RequestError, match=r"mobile_sam takes a square, .* --input-size 1024"):
        resize(load_variant("mobile_sam"), (512, 1024))
    with pytest.raises(RequestError, match="leave out --input-size"):
        resize(load_variant("nanosam_resnet18"), (512, 1024))
    assert resize(load_variant("mobile_sam"), (512, 512)).preprocess.size == 512


@pytest.mark.parametrize(
    ("size", "side"), [((128, 160), 256), ((400, 300), 448), ((2000, 300), 1536)]
)
def test_the_square_that_is_advised_is_one_of_its_sizes(size, side):
    variant = load_variant("rwkv_sam_small")
    with pytest.raises(RequestError, match=f"give --input-size {side}$"):
        resize(variant, size)
    assert side in variant.sizes


def test_a_jobs_shape_is_in_its_bundles_name():
    order = settle(Job(("onnx",), input_size=(768, 1344)), VARIANT)
    assert order.bundle_name(order.targets[0]) == "rap_sam_r50-onnx-fp16-768x1344"
    assert order.prompts == RULE
    plain = settle(Job(("onnx",), input_size=(800, 1344)), VARIANT)
    assert plain.bundle_name(plain.targets[0]) == "rap_sam_r50-onnx-fp16"
    with pytest.raises(RequestError, match="a side, or a height and a width"):
        Job(("onnx",), input_size=(1, 2, 3))
    with pytest.raises(RequestError, match="one way to prepare pictures"):
        settle(Job(("onnx",), preprocess="sam"), VARIANT)
