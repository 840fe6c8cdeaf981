"""The layers that few bits are for, found in torch by name and in a file by their order."""

from __future__ import annotations

import pytest
import torch

from exporter.errors import RequestError
from exporter.graphs import absorbed
from exporter.products import Product, Watch, match, named, products, select, weight_paths
from exporter.variants import load_variant
from tests.unit.small_networks import noise, split


@pytest.fixture(scope="module")
def graphs():
    from exporter.models.layers import freeze

    variant = load_variant("demo")
    return split(freeze(variant.layouts[0].build()), variant)


@pytest.fixture(scope="module")
def every(graphs):
    return [each for graph in graphs for each in products(graph)]


def test_blocks_are_the_items_of_long_lists_and_what_stands_around_them(every):
    blocks = list(dict.fromkeys(each.block for each in every))
    assert blocks == [
        "image_encoder.patch_embed",
        "image_encoder.layers.0",
        "image_encoder.layers.1.blocks",
        "image_encoder.layers.1.downsample",
        "image_encoder.layers.2.blocks.0",
        "image_encoder.layers.2.blocks.1",
        "image_encoder.layers.2.blocks.2",
        "image_encoder.neck",
        "prompt_encoder",
        "mask_decoder.transformer.layers.0",
        "mask_decoder.transformer.layers.1",
        "mask_decoder.transformer.final_attn_token_to_image",
        "mask_decoder.output_hypernetworks_mlps",
        "mask_decoder.output_upscaling",
        "mask_decoder.iou_prediction_head",
    ]


def test_every_weight_of_a_layer_is_found_with_its_owner(graphs, every):
    encoder = graphs[0].module
    shapes = {
        f"image_encoder.{name.removeprefix('network.')}".rpartition(".")[0]: tuple(tensor.shape)
        for name, tensor in encoder.named_parameters()
        if tensor.ndim >= 2 and name.endswith("weight")
    }
    assert {each.module: each.shape for each in every if "image_encoder" in each.module} == shapes


def test_an_absorbed_attention_calls_fewer_layers(graphs):
    plain = products(graphs[1])
    with absorbed(graphs[1].module):
        fewer = products(graphs[1])
    missing = {each.module for each in plain} - {each.module for each in fewer}
    assert missing == {
        f"mask_decoder.transformer.{part}"
        for part in (
            "layers.0.cross_attn_token_to_image.k_proj",
            "layers.0.cross_attn_image_to_token.q_proj",
            "layers.1.cross_attn_token_to_image.k_proj",
            "layers.1.cross_attn_image_to_token.q_proj",
            "final_attn_token_to_image.k_proj",
        )
    }


def test_patterns_name_modules_their_blocks_and_what_holds_them(every):
    neck = {"image_encoder.neck.0", "image_encoder.neck.2"}
    for pattern in ("image_encoder.neck", "*.neck", "image_encoder.neck.*", "*.neck.[02]"):
        assert select(every, [pattern], "--keep-float") == neck
    assert named(every, ["image_encoder.layers.2.blocks.?.mlp.fc1"]) == {
        f"image_encoder.layers.2.blocks.{at}.mlp.fc1" for at in range(3)
    }
    assert named(every, ["*"]) == {each.module for each in every}
    assert named(every, ["neck"]) == frozenset()


def test_a_pattern_that_names_nothing_is_an_error_with_the_blocks(every):
    with pytest.raises(RequestError) as error:
        select(every, ["*.neck", "*.nek\n"], "--keep-float")
    line = str(error.value)
    assert r"--keep-float '*.nek\n' names no part of this network; its blocks are image_enc" in line
    assert "mask_decoder.iou_prediction_head" in line


def layer(name, *shape):
    return Product(name, name.partition(".")[0], shape)


OURS = [
    layer("a.q", 8, 4),
    layer("a.k", 8, 4),
    layer("a.conv", 4, 3, 3, 3),
    layer("b.q", 8, 4),
    layer("b.k", 8, 4),
    layer("b.out", 5, 8),
]


def names(shapes):
    return [each and each.module for each in match(OURS, shapes)]


def test_layers_are_known_by_their_order_whatever_the_layout():
    turned = [(4, 8), (4, 8), (4, 3, 3, 3), (4, 8), (4, 8), (8, 5)]
    assert names(turned) == [each.module for each in OURS]
    channels_last = [(8, 1, 1, 4), (8, 4), (4, 3, 3, 3), (8, 4), (1, 8, 4), (5, 8)]
    assert names(channels_last) == [each.module for each in OURS]


def test_a_layer_that_a_converter_left_out_does_not_move_the_others_to_another_block():
    found = match(OURS, [(8, 4), (3, 3, 3, 4), (8, 4), (8, 4), (8, 5)])
    assert [each and each.block for each in found] == ["a", "a", "b", "b", "b"]


def test_a_layer_that_torch_has_not_is_nobodys():
    assert names([(2, 9), (8, 4), (8, 4), (4, 3, 3, 3), (8, 4), (8, 4), (5, 8)])[0] is None


def test_watching_changes_the_layers_that_are_named_and_no_others(graphs):
    (encoder, _) = graphs
    image = noise(*encoder.example[0].shape)
    seen = []

    def double_neck(path, x, weight):
        seen.append(path)
        return x, weight * 2 if path == "image_encoder.neck.2.weight" else weight

    with torch.no_grad():
        before = encoder.module(image)
        with Watch(weight_paths(encoder), double_neck):
            inside = encoder.module(image)
        after = encoder.module(image)
    assert len(seen) == len(products(encoder))
    assert torch.equal(before, after)
    # The neck ends with a norm, which takes a factor out again, all but its epsilon.
    assert not torch.equal(before, inside)
    assert torch.allclose(before, inside, atol=1e-2)
