"""Pictures recorded in torch: what ranges are found on, and what masks are judged by."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from PIL import Image

from exporter import samples
from exporter.bundle.preprocess import image_input
from exporter.errors import RequestError
from exporter.host_rules import prompt_rule
from exporter.models.layers import freeze
from exporter.picture_folder import choose_pictures
from exporter.progress import silent
from exporter.samples import Sampling, calibration_of, record_samples
from exporter.variants import load_variant
from tests.unit.small_networks import split

DEMO = load_variant("demo")
SIZE = DEMO.preprocess.size


@functools.cache
def graphs():
    torch.manual_seed(0)
    return split(freeze(DEMO.layouts[0].build()), DEMO, 1, 4)


@pytest.fixture
def folder(tmp_path):
    """Make pictures of noise, twice as wide as tall."""

    def make(count, colour=None):
        rng = np.random.default_rng(0)
        for at in range(count):
            pixels = rng.integers(0, 256, (60, 120, 3), np.uint8)
            image = (
                Image.fromarray(pixels) if colour is None else Image.new("RGB", (64, 64), colour)
            )
            image.save(tmp_path / f"{at}.png")
        return tmp_path

    return make


@pytest.fixture(autouse=True)
def _few(monkeypatch):
    monkeypatch.setattr(samples, "GATE_PICTURES", 1)
    monkeypatch.setattr(samples, "CALIBRATION_PICTURES", 2)


def sampling(**changes):
    return Sampling(prompt_rule(DEMO, 1, 4), DEMO.mask, DEMO.preprocess, **changes)


def keys(path):
    with np.load(path) as arrays:
        return dict(arrays)


def test_an_encoder_is_calibrated_on_images_that_no_network_saw():
    said = []
    with record_samples(graphs(), sampling(calibrated=("image_encoder",)), said.append) as made:
        first, _ = made.calibration.files
        assert set(keys(first)) == {
            "image_encoder/scene/image",
            "image_encoder/scene/resized_size",
        }
        (gate,) = made.gate
        assert "mask_decoder/refine/low_res_masks" in keys(gate)
    assert sum("in torch" in line for line in said) == 1
    assert not gate.exists()


def test_a_decoder_is_calibrated_on_prompts_of_every_kind():
    wanted = ("image_encoder", "mask_decoder")
    with record_samples(graphs(), sampling(calibrated=wanted), silent) as made:
        arrays = keys(made.calibration.files[0])
    kinds = {key.split("/")[1] for key in arrays if key.startswith("mask_decoder/")}
    assert kinds - {"*"} == {
        *("click_a", "click_b", "points", "box", "box_point", "refine", "full")
    }
    labels = arrays["mask_decoder/click_a/point_labels"]
    assert -2 in labels
    assert arrays["mask_decoder/refine/has_mask_input"] == 1
    assert np.abs(arrays["mask_decoder/refine/mask_input"]).max() > 0


def test_without_calibration_there_are_test_pictures_alone():
    with record_samples(graphs(), sampling(), silent) as made:
        assert made.calibration.files == ()
        assert len(made.gate) == 1


def test_own_pictures_reach_the_network_as_the_variant_says(folder):
    given = folder(2)
    (given / "prompts.json").write_text('{"0.png": [{"points": [[100, 30]]}]}')
    chosen = choose_pictures(given)
    wanted = ("image_encoder", "mask_decoder")
    with record_samples(graphs(), sampling(calibrated=wanted, chosen=chosen), silent) as made:
        first, second = map(keys, made.calibration.files)
    pixels = np.asarray(Image.open(given / "0.png"))
    expected, frame = image_input(pixels, DEMO.preprocess)
    np.testing.assert_array_equal(first["image_encoder/scene/image"], expected)
    np.testing.assert_array_equal(first["image_encoder/scene/resized_size"], [frame.resized])
    np.testing.assert_array_equal(first["picture/*/size"], [120, 60])
    coords = first["mask_decoder/given_0/point_coords"][0, 0]
    np.testing.assert_allclose(coords, frame.to_input(np.array([100.0, 30.0])), atol=1e-3)
    assert not any("given" in key for key in second)
    assert "mask_decoder/box_point/point_coords" in second


def test_pictures_of_one_colour_give_no_ranges(folder):
    chosen = choose_pictures(folder(2, (128, 128, 128)))
    wanted = sampling(calibrated=("image_encoder",), chosen=chosen)
    with (
        pytest.raises(RequestError, match="every picture is of one colour"),
        record_samples(graphs(), wanted, silent),
    ):
        pass


def test_the_manifest_tells_scenes_from_pictures(folder, monkeypatch):
    monkeypatch.setattr(samples, "GATE_PICTURES", 16)
    scenes = calibration_of("mse", None, 192)
    assert (scenes.ranges, scenes.scenes, scenes.gate_scenes, scenes.pictures) == ("mse", 2, 16, ())
    own = calibration_of("min-max", choose_pictures(folder(9)), 192)
    assert (own.scenes, own.gate_scenes, len(own.pictures)) == (0, 12, 9)


def test_half_as_many_scenes_do_for_a_large_input(folder, monkeypatch):
    monkeypatch.setattr(samples, "GATE_PICTURES", 16)
    scenes = calibration_of("min-max", None, 1024)
    assert (scenes.scenes, scenes.gate_scenes) == (1, 8)
    own = calibration_of("min-max", choose_pictures(folder(20)), 1024)
    assert (len(own.pictures), own.gate_scenes) == (20, 0)
