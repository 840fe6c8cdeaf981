"""What blocks of the demo lose in few bits, simulated in torch."""

from __future__ import annotations

import numpy as np
import pytest

from exporter.checkpoints.obtain import Given, obtain
from exporter.goldens import record
from exporter.graphs import graphs_of
from exporter.job import Job, settle
from exporter.models.layers import freeze
from exporter.pipeline import draft
from exporter.precision import load_precision
from exporter.products import products
from exporter.progress import silent
from exporter.rounding import Rounding
from exporter.sensitivity import Bench, measure_blocks
from exporter.variants import load_variant


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """The trained demo with one scene."""
    variant = load_variant("demo")
    order = settle(Job(("onnx",), "int8", "demo"), variant)
    network, source = obtain(variant, Given(), silent)
    graphs = graphs_of(freeze(network), variant, order.prompts)
    picture = tmp_path_factory.mktemp("scenes") / "scene.npz"
    np.savez(picture, **record(graphs, order.prompts, order.mask, seed=10_500_000))
    return Bench(graphs, draft(order, order.targets[0], source), (picture,))


def test_nothing_changed_loses_nothing(bench):
    assert bench.mean_mask_iou(Rounding(load_precision("int8"), frozenset())) == 1.0


def test_blocks_are_measured_alone_and_sorted_by_loss_for_a_weight(bench):
    chosen = [
        each
        for each in products(bench.graphs[0])
        if each.block.endswith(("layers.0", "neck", "layers.2.blocks.1"))
    ]
    said = []
    precision = load_precision("int8")
    blocks = measure_blocks(bench, chosen, precision, said.append)
    assert {block.name for block in blocks} == {each.block for each in chosen}
    assert blocks[0].name == "image_encoder.layers.0"  # a fiftieth of the weights
    losses = [(1 - block.mean_mask_iou) / block.weights for block in blocks]
    assert losses == sorted(losses, reverse=True)
    assert all(0.97 < block.mean_mask_iou < 1 for block in blocks)
    assert sum(block.weights for block in blocks) == sum(each.weights for each in chosen)
    assert len(said) == 3
    assert said[0].startswith("block 1 of 3: image_encoder.layers.0 alone keeps 0.99")


def test_upscaling_in_8_bits_loses_more_than_the_whole_transformer(bench):
    """The reason for what stays float in a decoder of few bits."""
    decoder = products(bench.graphs[1])

    def loss(part):
        modules = frozenset(each.module for each in decoder if part in each.module)
        return 1 - bench.mean_mask_iou(Rounding(load_precision("int8-weights"), modules))

    assert loss("output_upscaling") > loss("transformer") > 0


def test_fine_layers_have_no_ranges(bench):
    found = bench.ranges()
    assert not any("patch_embed" in name or "layers.0.blocks" in name for name in found)
    assert "image_encoder.neck.0" in found
    assert all(each.low <= each.high for each in found.values())
