"""SqueezeSAM against a plain version of the published arithmetic, from the image to the mask."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from exporter.bundle.drawn_prompts import check_drawable, draw
from exporter.bundle.preprocess import Frame, image_input, upscale
from exporter.bundle.prompts import Prompts
from exporter.checkpoints.fit import load_strict
from exporter.checkpoints.reading import Checkpoint
from exporter.errors import PromptError
from exporter.graphs import channels_last
from exporter.models.layers import freeze
from exporter.models.squeeze_sam import WholeNorm
from exporter.variants import load_variant
from tests.conformance import fill
from tests.unit.models import plain_squeeze_sam as plain
from tests.unit.small_networks import split

RELATIVE = 1e-4
VARIANT = load_variant("squeeze_sam")
RULE = VARIANT.prompting.rule

# As one asks for them here, and as the published code takes them.
PROMPTS = {
    "point": (Prompts(((400.0, 200.0),), (1,)), [[400, 200]], [1]),
    "points": (Prompts(((400.0, 200.5), (31.0, 5.0)), (1, 1)), [[400, 200.5], [31, 5]], [1, 1]),
    "box": (Prompts(box=(100.0, 50.0, 500.0, 333.0)), [[100, 50], [500, 333]], [2, 3]),
    "box_point": (
        Prompts(((400.0, 200.0),), (1,), (100.0, 50.0, 500.0, 333.0)),
        [[100, 50], [500, 333], [400, 200]],
        [2, 3, 1],
    ),
}


@pytest.fixture(scope="module")
def network():
    weights = plain.weights()
    loaded, layout = load_strict(VARIANT, Checkpoint(Path("x.pt"), "0" * 64, weights))
    assert layout.name == "squeeze-sam"
    return freeze(loaded), weights


@pytest.fixture(scope="module")
def picture():
    return fill.picture(3, 480, 640)


@pytest.mark.parametrize("name", PROMPTS)
def test_the_graph_gives_the_published_numbers(network, picture, name):
    prompts, points, labels = PROMPTS[name]
    loaded, weights = network
    image, frame = image_input(picture, VARIANT.preprocess)
    drawn = draw(prompts, frame, RULE)
    given = plain.five_channels(picture, points, labels)
    (graph,) = split(loaded, VARIANT, batch=1, slots=8)
    with torch.no_grad():
        ours = graph.module(torch.from_numpy(image), torch.from_numpy(drawn))
        theirs = plain.run(weights, given)
    np.testing.assert_array_equal(drawn[0], given[0, 3:])
    normalised = graph.module.normalise(torch.from_numpy(image))
    np.testing.assert_allclose(normalised, given[:, :3], atol=1e-4)
    for made, expected in zip(ours, theirs, strict=True):
        assert (made - expected).abs().max() <= RELATIVE * expected.abs().max()


def test_the_form_with_channels_last_is_the_same(network, picture):
    loaded, _ = network
    given = plain.five_channels(picture, [[400, 200]], [1])
    with torch.no_grad():
        expected = loaded(given)
        with channels_last(loaded):
            made = loaded(given)
        back = loaded(given)
    for one, other, last in zip(expected, made, back, strict=True):
        assert (one - other).abs().max() <= RELATIVE * one.abs().max()
        assert torch.equal(one, last)


def test_masks_are_enlarged_as_published():
    logits = np.random.default_rng(0).normal(size=(3, 256, 256)).astype(np.float32)
    frame = Frame((640, 480), (512, 512), 512)
    ours = upscale(logits, frame, VARIANT.mask.upscale)
    theirs = F.interpolate(torch.from_numpy(logits)[None], (480, 640), mode="bicubic")[0]
    # torch computes the places in float32, and so its weights are off by 1e-5.
    assert np.abs(ours - theirs.numpy()).max() <= RELATIVE * np.abs(logits).max()


def test_a_norm_of_a_whole_picture_is_group_norm():
    norm = WholeNorm(6)
    torch.manual_seed(0)
    norm.weight.data, norm.bias.data = torch.randn(6), torch.randn(6)
    x = 3 * torch.randn(1, 6, 8, 10) + 5
    expected = F.group_norm(x, 1, norm.weight, norm.bias)
    torch.testing.assert_close(norm(x), expected, atol=1e-5, rtol=1e-5)


def test_a_box_reaches_the_pixels_on_its_edge_and_a_click_five_around_it():
    frame = Frame((512, 512), (512, 512), 512)
    box = draw(Prompts(box=(10.0, 20.0, 12.0, 23.0)), frame, RULE)[0]
    assert box[0].sum() == 3 * 4
    assert box[0, 20:24, 10:13].all()
    assert box[1].sum() == 0
    click = draw(Prompts(((100.0, 50.0),), (1,)), frame, RULE)[0]
    assert click[0].all()
    assert click[1, 50, 105] == click[1, 47, 104] == 1
    assert click[1, 50, 106] == click[1, 46, 104] == 0


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        (Prompts(((1.0, 1.0), (2.0, 2.0)), (1, 0)), "no background points"),
        (Prompts(), "no prompt"),
        (Prompts(((1.0, 600.0),), (1,)), "outside the image"),
    ],
)
def test_prompts_it_cannot_take(prompts, message):
    with pytest.raises(PromptError, match=message):
        check_drawable(prompts, Frame((512, 512), (512, 512), 512), RULE)
