"""Edits that are said to help few bits change no number; and the test for bimodal keys."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from exporter.calibration import Range
from exporter.demo.network import build
from exporter.models.layers import freeze
from exporter.precision import BLOCK
from exporter.rounding import round_values, round_weight
from exporter.variants import load_variant
from profiles.lab.sensitivity import edits
from profiles.lab.sensitivity.operations import RoundedAttention, RoundedNorms
from profiles.lab.sensitivity.page import page
from tests.unit.small_networks import assert_equal, filled, noise, split


@pytest.fixture(scope="module")
def graphs():
    return split(freeze(filled(build(), "edits")), load_variant("demo"))


def test_equalised_channels_give_the_same_embedding(graphs):
    encoder = graphs[0]
    image = noise(*encoder.example[0].shape) * 50 + 100
    noted, handles = edits.Largest.watch(encoder.module)
    expected = encoder.module(image)
    for handle in handles:
        handle.remove()
    assert len(noted.found) == len(handles) == 10
    edited = edits.equalise(encoder, noted.found, 0.5)
    assert_equal(edited.module(image), expected)
    norm = next(edits.norms_before_linears(edited.module))[1]
    assert not torch.equal(norm.weight, next(edits.norms_before_linears(encoder.module))[1].weight)


def test_folded_signs_give_the_same_masks_and_turn_the_keys(graphs):
    decoder = graphs[1]
    given = [noise(*each.shape) for each in decoder.example]
    given[2] = torch.ones_like(given[2])  # labels
    expected = decoder.module(*given)
    two_humps = torch.cat([noise(200, 16) - 20, noise(200, 16) + 20], dim=1)
    keys = {name: two_humps for name, _ in edits.keys_to_image(decoder.module)}
    folded, turned = edits.fold_signs(decoder, keys)
    assert turned == len(keys) == 3
    for ours, torchs in zip(folded.module(*given), expected, strict=True):
        assert_equal(ours, torchs)
    before, after = (
        next(edits.keys_to_image(g.module))[1].k_proj.weight for g in (decoder, folded)
    )
    assert torch.equal(after[:16], -before[:16])
    assert torch.equal(after[16:], before[16:])


@pytest.mark.parametrize(
    ("centres", "bimodal"), [((0,), False), ((-20, 20), True), ((-40, 0, 40), False)]
)
def test_the_peak_test_counts_humps(centres, bimodal):
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.standard_normal(300) + centre for centre in centres])
    assert edits.is_bimodal(values) is bimodal
    assert not edits.is_bimodal(np.ones(100))


def test_a_rotation_is_undone_and_shares_an_outlier():
    turn = edits.hadamard(BLOCK)
    assert torch.allclose(turn @ turn.T, torch.eye(BLOCK), atol=1e-6)
    weight = noise(4, 2 * BLOCK)
    weight[:, 5] *= 30
    plain, rotated = round_weight(weight, 4), edits.rounded_rotated(weight, 4)
    assert (rotated - weight).square().mean() < (plain - weight).square().mean()
    assert torch.equal(edits.rounded_rotated(noise(4, 3), 4), round_weight(noise(4, 3), 4))


def test_operations_without_weights_are_rounded_within_their_mode():
    x, norm = noise(1, 2, 6, 8), torch.nn.LayerNorm(8)
    plain = torch.nn.functional.scaled_dot_product_attention(x, x, x)
    with torch.no_grad(), RoundedAttention():
        coarse = torch.nn.functional.scaled_dot_product_attention(x, x, x)
        untouched = norm(x)
    assert 0 < (coarse - plain).abs().max() < 0.05
    assert torch.equal(untouched, norm(x))
    with torch.no_grad(), RoundedNorms():
        coarse = norm(x)
    assert torch.equal(
        coarse, round_values(coarse, Range(float(coarse.min()), float(coarse.max())))
    )


def test_the_page_has_a_line_a_part_and_a_cell_a_precision():
    facts = {
        "command": "c",
        "date": "2026-01-01T00:00:00",
        "versions": {"torch": "2"},
        "machine": {"cpu": "x"},
    }
    row = {"part": "neck", "share": 0.5, "mean": 0.99, "p1": 0.9, "others": 0.01}
    rows = [
        row | {"table": "parts", "precision": "int8"},
        row | {"table": "parts", "precision": "int4-weights", "mean": 0.9},
        row | {"table": "edits", "precision": "", "part": "none"},
    ]
    text = page(facts, rows)
    assert "| neck | 50.0% | 0.9900, 0.900, 1.0% | - | 0.9000, 0.900, 1.0% |" in text
    assert "| none | - | 0.9900 | 0.900 | 1.0% |" in text
