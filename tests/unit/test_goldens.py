"""The goldens: every kind of prompt that fits the bundle's slots, the same numbers each time."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest
import torch

from exporter.bundle.goldens import Goldens
from exporter.bundle.preprocess import Frame
from exporter.bundle.prompts import pack
from exporter.bundle.rules import LABELS, PromptRule
from exporter.cases import cases
from exporter.goldens import SEED, record, record_padding, run
from exporter.graphs.image_encoder import as_padded
from exporter.models.layers import freeze
from exporter.scenes.scene import HELD_OUT, scene
from exporter.variants import load_variant
from tests.unit.small_networks import TOLERANCE, split

SIZE = 192
INPUTS = ("point_coords", "point_labels", "mask_input", "has_mask_input")
OUTPUTS = ("low_res_masks", "iou_predictions")

# How many slots each case takes: a set without a box has one more, "not a point".
NEEDS = {"click_a": 2, "click_b": 2, "box": 2, "refine": 2, "points": 3, "box_point": 3}


def rule(batch=1, slots=8):
    return PromptRule(batch, slots, LABELS, pad_without_box=True)


@functools.cache
def instances():
    return scene(SEED, SIZE, SIZE).instances


@functools.cache
def graphs(batch, slots):
    variant = load_variant("demo")
    torch.manual_seed(0)
    return split(freeze(variant.layouts[0].build()), variant, batch, slots)


@functools.cache
def recorded(batch, slots):
    return record(graphs(batch, slots), rule(batch, slots), load_variant("demo").mask)


def test_the_scene_is_held_out_and_has_two_objects():
    assert SEED >= HELD_OUT
    assert len(instances()) >= 2


@pytest.mark.parametrize("batch", [1, 2, 3])
@pytest.mark.parametrize("slots", range(2, 17))
def test_cases_fit_the_slots(slots, batch):
    made = cases(instances(), rule(batch, slots))
    assert [c.name for c in made] == [
        *(n for n in ("click_a", "click_b", "points", "box", "box_point") if NEEDS[n] <= slots),
        "refine",
        "full",
    ]
    frame = Frame((SIZE, SIZE), (SIZE, SIZE), SIZE)
    for case in made:
        assert len(case.sets) == batch
        for prompts in case.sets:
            coords, labels = pack(prompts, frame, rule(batch, slots))
            assert coords.shape == (1, slots, 2)
            assert labels.shape == (1, slots)
            inside = coords[0, labels[0] >= 0]
            assert (inside >= 0).all()
            assert (inside <= SIZE).all()
    full = next(c for c in made if c.name == "full")
    assert full.sets[0].slots(rule(batch, slots)) == slots
    names = [c.name for c in made]
    refined = next(c for c in made if c.name == "refine").refines
    assert refined in names[: names.index("refine")]


@pytest.mark.parametrize("slots", [2, 8])
def test_points_lie_on_their_objects_and_boxes_hold_them(slots):
    first, second, *_ = instances()
    made = {c.name: c.sets[0] for c in cases(instances(), rule(1, slots))}
    (ax, ay), (bx, by) = made["click_a"].points[0], made["click_b"].points[0]
    assert first[int(ay), int(ax)]
    assert second[int(by), int(bx)]
    x0, y0, x1, y1 = map(int, made["box"].box)
    assert first[y0:y1, x0:x1].sum() == first.sum()
    for smaller in (
        first[y0 + 1 : y1, x0:x1],
        first[y0:y1, x0 + 1 : x1],
        first[y0 : y1 - 1, x0:x1],
        first[y0:y1, x0 : x1 - 1],
    ):
        assert smaller.sum() < first.sum()


def test_a_batch_holds_different_sets():
    for case in cases(instances(), rule(3, 8)):
        if case.name == "click_a":
            assert len({prompts.points for prompts in case.sets}) == min(3, len(instances()))


@pytest.mark.parametrize(("batch", "slots"), [(1, 8), (2, 2), (3, 4)])
def test_every_key_and_shape(batch, slots):
    goldens = recorded(batch, slots)
    names = [c.name for c in cases(instances(), rule(batch, slots))]
    expected = {
        "image_encoder/scene/image",
        "image_encoder/scene/image_embeddings",
        "mask_decoder/*/image_embeddings",
        *(f"mask_decoder/{name}/{tensor}" for name in names for tensor in (*INPUTS, *OUTPUTS)),
    }
    assert set(goldens) == expected
    encoder, decoder = (graph.spec for graph in graphs(batch, slots))
    assert goldens["image_encoder/scene/image"].dtype == np.uint8
    assert goldens["image_encoder/scene/image"].shape == encoder.inputs[0].shape
    for tensor in (*decoder.inputs[1:], *decoder.outputs):
        for name in names:
            array = goldens[f"mask_decoder/{name}/{tensor.name}"]
            assert array.shape == tensor.shape, tensor.name
            assert array.dtype == np.float32
            assert np.isfinite(array).all()
    for name in names:
        given = goldens[f"mask_decoder/{name}/has_mask_input"]
        assert (given == (1.0 if name == "refine" else 0.0)).all()


@pytest.mark.parametrize(("batch", "slots"), [(1, 8), (3, 4)])
def test_refinement_feeds_back_the_best_mask_of_each_set(batch, slots):
    goldens = recorded(batch, slots)
    masks = goldens["mask_decoder/click_a/low_res_masks"]
    iou = goldens["mask_decoder/click_a/iou_predictions"]
    fed = goldens["mask_decoder/refine/mask_input"]
    for i in range(batch):
        assert np.array_equal(fed[i, 0], masks[i, 1 + iou[i, 1:].argmax()])


def test_outputs_are_those_of_the_graphs():
    goldens = recorded(1, 8)
    encoder, decoder = graphs(1, 8)
    image = torch.from_numpy(goldens["image_encoder/scene/image"].astype(np.float32))
    with torch.no_grad():
        embeddings = encoder.module(image)
        given = (goldens[f"mask_decoder/box_point/{name}"] for name in INPUTS)
        masks, iou = decoder.module(embeddings, *map(torch.from_numpy, given))
    np.testing.assert_array_equal(goldens["image_encoder/scene/image_embeddings"], embeddings)
    np.testing.assert_array_equal(goldens["mask_decoder/*/image_embeddings"], embeddings)
    np.testing.assert_array_equal(goldens["mask_decoder/box_point/low_res_masks"], masks)
    np.testing.assert_array_equal(goldens["mask_decoder/box_point/iou_predictions"], iou)


def test_recording_again_gives_the_same_numbers():
    first = recorded(2, 8)
    torch.manual_seed(99)
    np.random.seed(99)  # noqa: NPY002 - whoever draws from the global stream would be found out
    again = record(graphs(2, 8), rule(2, 8), load_variant("demo").mask)
    assert list(again) == list(first)
    for key, array in first.items():
        np.testing.assert_array_equal(again[key], array)


def test_different_clicks_give_different_masks():
    goldens = recorded(1, 8)
    a, b = (goldens[f"mask_decoder/{name}/low_res_masks"] for name in ("click_a", "click_b"))
    assert np.abs(a - b).max() > 1e-3 * np.abs(a).max()


def test_a_graph_that_writes_the_padding_gets_a_padded_case_with_noise_in_it():
    published = load_variant("demo").preprocess
    encoder, _ = graphs(1, 8)
    assert record_padding(graphs(1, 8), published) == {}
    rule = dataclasses.replace(published, padded_by="graph")
    goldens = Goldens.of(recorded(1, 8) | record_padding(graphs(1, 8), rule))
    padded = as_padded(encoder, rule)
    first, second = goldens.cases("image_encoder")
    assert first == "scene"  # its outputs are what the decoder's cases share
    assert goldens.array("image_encoder", first, "resized_size").tolist() == [[SIZE, SIZE]]
    assert goldens.array("image_encoder", second, "resized_size").tolist() == [[SIZE, 101]]
    noise = goldens.array("image_encoder", second, "image")[..., 101:, :]
    assert noise.std() > 50
    for case in (first, second):
        got = run(padded, goldens.inputs(padded.spec, case))["image_embeddings"]
        expected = goldens.array("image_encoder", case, "image_embeddings")
        np.testing.assert_allclose(got, expected, atol=TOLERANCE * np.abs(expected).max(), rtol=0)
    rounded = goldens.inputs(padded.spec, second) | {"resized_size": np.full((1, 2), SIZE)}
    assert np.abs(run(padded, rounded)["image_embeddings"] - expected).max() > 0.1
