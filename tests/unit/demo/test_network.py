"""The demo model's weights: small, complete, and good on scenes it was not trained on."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from exporter.demo import network
from exporter.scenes.scene import scene
from profiles.lab.demo.batches import SIZE, batches
from profiles.lab.demo.evaluate import Model, evaluate
from profiles.lab.demo.muon import orthogonal
from profiles.lab.demo.plan import TrainingPlan

# Floors under profiles/results/demo-accuracy.md, for few scenes: they catch a broken model.
FLOORS = {
    "box, best of tokens 1-3": 0.85,
    "box, token 0": 0.85,
    "one point (deepest pixel), best of tokens 1-3": 0.70,
    "one point (deepest pixel), token 0": 0.70,
}


@pytest.fixture(scope="module")
def scores() -> Iterator[dict[str, list[float]]]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # Small layers: on a busy machine more threads only wait.
    yield evaluate(Model(network.load()), scenes=12)
    torch.set_num_threads(threads)


def test_weights_are_small_and_say_how_they_were_made() -> None:
    assert network.WEIGHTS.stat().st_size <= 4_000_000
    with safe_open(network.WEIGHTS, framework="np") as weights:
        made = weights.metadata()
    # As it was called then: the module is `profiles.lab.demo.train` today.
    assert made["command"].startswith("python -m exporter.demo.train")
    assert {"plan", "steps", "torch", "numpy", "python"} <= set(made)


def test_weights_load_strictly_as_finite_float32() -> None:
    sam = network.load()
    assert not sam.training
    for value in sam.state_dict().values():
        if value.is_floating_point():
            assert value.dtype == torch.float32
            assert torch.isfinite(value).all()


def test_geometry() -> None:
    with torch.no_grad():
        embedding = network.load()(torch.zeros(1, 3, network.IMAGE_SIZE, network.IMAGE_SIZE))
    assert embedding.shape == (1, network.WIDTH, network.GRID, network.GRID)


@pytest.mark.parametrize("prompt", sorted(FLOORS))
def test_held_out_scenes(scores: dict[str, list[float]], prompt: str) -> None:
    assert np.mean(scores[prompt]) >= FLOORS[prompt]


def test_refinement_helps(scores: dict[str, list[float]]) -> None:
    refined = "that mask again and a second point where it is wrong, token 0"
    first = "one point (deepest pixel), token 0"
    assert np.mean(scores[refined]) > np.mean(scores[first])


def test_sample_is_the_scene_it_is_said_to_be() -> None:
    sample = np.asarray(Image.open(network.WEIGHTS.with_name("sample.png")), np.int16)
    made = scene(10_900_005, *sample.shape[:2]).image
    assert np.abs(sample - made).max() <= 1


def test_a_batch_does_not_depend_on_where_training_began() -> None:
    second = next(itertools.islice(batches(seed=1, first=0, images=2, prompts=3), 1, None))
    again = next(batches(seed=1, first=1, images=2, prompts=3))
    assert second.images.shape == (2, SIZE, SIZE, 3)
    assert second.targets.shape == (6, SIZE // 2, SIZE // 2)
    for field in ("images", "targets", "owners", "coords", "labels"):
        np.testing.assert_array_equal(getattr(second, field), getattr(again, field))


def test_learning_rate_rises_then_falls() -> None:
    plan = TrainingPlan(steps=1000, minutes=10.0)
    rates = [plan.rate_at(steps, 0.0) for steps in (0, plan.warmup, 500, 1000)]
    assert max(rates[0], rates[3]) < rates[2] < rates[1] <= plan.rate
    assert plan.rate_at(10, 600.0) == pytest.approx(0.01 * plan.rate)


def test_orthogonal_brings_singular_values_near_one() -> None:
    stack = torch.randn(3, 16, 40, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonal(stack))
    assert values.min() > 0.6
    assert values.max() < 1.3
