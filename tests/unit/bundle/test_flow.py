"""The order of graphs and what feeds what, from names alone."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from exporter.bundle.flow import feeds, of_masks, order_graphs, repeated_graphs
from exporter.bundle.tensors import GraphSpec, TensorSpec


@dataclass(frozen=True)
class Graph:
    spec: GraphSpec


def graph(name, inputs, outputs, runs):
    tensors = [
        tuple(TensorSpec(n, (1,), "float32", "N") for n in names) for names in (inputs, outputs)
    ]
    return Graph(GraphSpec(name, *tensors, runs))


ENCODER = graph("image_encoder", ["image"], ["image_embeddings", "high_res_feats_0"], "image")
DECODER = graph(
    "mask_decoder",
    ["image_embeddings", "high_res_feats_0", "point_coords"],
    ["low_res_masks", "object_pointers"],
    "prompt",
)
ATTENTION = graph("memory_attention", ["image_embeddings", "memory"], ["image_embeddings"], "frame")
MEMORY = graph("memory_encoder", ["image_embeddings", "low_res_masks"], ["memory"], "frame")


@pytest.mark.parametrize(
    "given",
    [
        [ENCODER, DECODER],
        [DECODER, ENCODER],
        [MEMORY, DECODER, ENCODER],
        [DECODER, MEMORY, ENCODER],
    ],
)
def test_a_graph_comes_after_those_that_feed_it(given):
    names = [each.spec.name for each in order_graphs(given)]
    assert names == ["image_encoder", "mask_decoder", "memory_encoder"][: len(given)]


def test_within_one_rank_the_feeder_comes_first_and_a_ring_ends():
    late = graph("late", ["b"], ["c"], "prompt")
    early = graph("early", ["a"], ["b"], "prompt")
    assert order_graphs([late, early]) == (early, late)
    assert set(order_graphs([MEMORY, ATTENTION])) == {MEMORY, ATTENTION}
    assert order_graphs([]) == ()


def test_an_output_feeds_inputs_of_its_name():
    fed = feeds(DECODER, [ENCODER])
    assert {name: feed.graph for name, feed in fed.items()} == {
        "image_embeddings": "image_encoder",
        "high_res_feats_0": "image_encoder",
    }
    assert fed["image_embeddings"].output == ENCODER.spec.outputs[0]
    assert feeds(ENCODER, []) == {}


def test_of_two_that_give_a_name_the_later_feeds():
    assert feeds(DECODER, [ENCODER, ATTENTION])["image_embeddings"].graph == "memory_attention"


def test_what_finds_everything_is_no_part_of_a_mask():
    every = graph("panoptic", ["image_embeddings"], ["panoptic_masks"], "panoptic")
    assert of_masks([every, DECODER, ENCODER]) == (ENCODER, DECODER)
    assert order_graphs([every, DECODER, ENCODER]) == (ENCODER, DECODER, every)
    assert repeated_graphs([every, DECODER, ENCODER]) == (DECODER,)


def test_the_repeated_graphs_are_those_that_answer_prompts():
    assert repeated_graphs([ENCODER, DECODER]) == (DECODER,)
    assert repeated_graphs([MEMORY, DECODER, ENCODER]) == (DECODER,)
    assert repeated_graphs([graph("segmenter", ["image"], ["boxes"], "image")]) == ()
    assert repeated_graphs([graph("segmenter", ["image"], ["low_res_masks"], "prompt")]) == ()


def test_a_prompt_encoder_answers_prompts_too_and_before_the_decoder_it_feeds():
    prompt_encoder = graph("prompt_encoder", ["points"], ["point_coords"], "prompt")
    assert repeated_graphs([MEMORY, DECODER, prompt_encoder, ENCODER]) == (prompt_encoder, DECODER)
    assert repeated_graphs([DECODER, prompt_encoder]) == ()
