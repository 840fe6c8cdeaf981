"""The demo model's weights: small, complete, and good on scenes it was not trained on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors import safe_open

from exporter.demo import network
from exporter.demo.evaluate import Model, evaluate

# Floors under profiles/results/demo-accuracy.md, for few scenes: they catch a broken model.
FLOORS = {
    "box, best of tokens 1-3": 0.85,
    "box, token 0": 0.85,
    "one point (deepest pixel), best of tokens 1-3": 0.70,
    "one point (deepest pixel), token 0": 0.70,
}


@pytest.fixture(scope="module")
def scores() -> dict[str, list[float]]:
    return evaluate(Model(network.load()), scenes=12)


def test_weights_are_small_and_say_how_they_were_made() -> None:
    assert network.WEIGHTS.stat().st_size <= 4_000_000
    with safe_open(network.WEIGHTS, framework="np") as weights:
        made = weights.metadata()
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
