"""A variant at another input size: rules, shapes and networks that follow, or a refusal."""

from __future__ import annotations

import pytest
import torch

from exporter.checkpoints.tables import NoInitialisation
from exporter.errors import RequestError
from exporter.graphs import Named, graphs_of
from exporter.host_rules import mask_rule, prompt_rule
from exporter.job import Job, settle
from exporter.models.layers import freeze
from exporter.variants import Slots, load_variant, variants
from exporter.variants._sizes import at_grid, find_grid, resize

ABLE = [v for v in variants().values() if v.sizes is not None]
ONE_A_FAMILY = list({v.family: v.name for v in reversed(ABLE)}.values())
OTHER = {"demo": 128, "efficientvit_sam": 256}


@pytest.mark.parametrize("name", ONE_A_FAMILY)
def test_the_networks_outputs_have_the_shapes_of_the_rules(name):
    published = load_variant(name)
    variant = resize(published, OTHER.get(published.family, 320))
    with torch.device("meta"), NoInitialisation(), torch.no_grad():
        network = freeze(variant.layouts[0].build())
        for graph in graphs_of(network, variant, prompt_rule(variant)):
            given = {t.name: torch.zeros(t.shape) for t in graph.spec.inputs}
            made = Named(graph)(**given)
            assert {n: tuple(t.shape) for n, t in made.items()} == {
                t.name: t.shape for t in graph.spec.outputs
            }


def test_the_rules_follow():
    variant = resize(load_variant("hq_vit_b"), 512)
    assert (variant.preprocess.size, variant.published_size) == (512, 1024)
    assert variant.mask.low_res_size == 128
    assert isinstance(variant.prompting, Slots)
    assert variant.prompting.embedding == (1, 256, 32, 32)
    assert variant.prompting.high_res == ((1, 32, 128, 128),)
    assert mask_rule(resize(load_variant("mobile_sam"), 256), "stability").low_res_size == 64


def test_prompts_and_masks_stay_in_a_frame_that_the_published_code_fixes():
    variant = resize(load_variant("efficientvit_sam_xl0"), 512)
    assert (variant.preprocess.size, variant.preprocess.frame_size) == (512, 1024)
    assert (variant.mask.low_res_size, variant.prompting.embedding[2]) == (256, 64)
    back = resize(resize(load_variant("efficientvit_sam_l0"), 1024), 512)
    assert back is load_variant("efficientvit_sam_l0")


def test_the_published_size_is_the_published_variant():
    demo = load_variant("demo")
    assert resize(demo, 192) is demo
    assert resize(resize(demo, 96), 192) is demo
    assert resize(resize(demo, 96), 128) == resize(resize(demo, 96), 128)
    assert resize(resize(demo, 96), 128).published_size == 192


@pytest.mark.parametrize("name", [v.name for v in ABLE])
def test_every_size_that_is_named_can_be_had(name):
    variant = load_variant(name)
    sizes = variant.sizes
    assert variant.preprocess.size in sizes
    for side in (sizes.least, sizes.most):
        assert resize(variant, side).preprocess.size == side
    for wrong in (sizes.least - sizes.step, sizes.least + 1, sizes.most + sizes.step):
        with pytest.raises(RequestError, match=f"{name} cannot have .*{sizes.least}.*published"):
            resize(variant, wrong)


@pytest.mark.parametrize("name", ["nanosam_resnet18", "squeeze_sam"])
def test_a_variant_of_one_size_says_so(name):
    with pytest.raises(RequestError, match=rf"^{name} has one input size, \d+.*--input-size$"):
        resize(load_variant(name), 256)


def test_a_job_asks_for_a_size_and_the_bundle_is_named_after_it():
    order = settle(Job(("onnx",), input_size=128), load_variant("demo"))
    assert order.variant.preprocess.size == 128
    assert order.bundle_name(order.targets[0]) == "demo-onnx-fp16-128"
    plain = settle(Job(("onnx",), input_size=192), load_variant("demo"))
    assert plain.bundle_name(plain.targets[0]) == "demo-onnx-fp16"
    with pytest.raises(RequestError, match="input_size"):
        Job(("onnx",), input_size=0)


def test_a_files_own_grid_is_read_from_its_table_of_positions():
    shapes = {"a.pos_embed": (1, 32, 32, 768), "b.weight": (32, 32)}
    assert find_grid([shapes]) == 32
    assert find_grid([shapes, {"pos_embed": (1, 64, 64, 768)}]) is None
    assert find_grid([{"image_encoder.pos_embed": (1, 197, 192)}]) is None  # EfficientSAM's
    assert at_grid(load_variant("sam_vit_b"), 32).preprocess.size == 512
    assert at_grid(load_variant("sam_vit_b"), 7) is load_variant("sam_vit_b")
    assert at_grid(load_variant("mobile_sam"), 32) is load_variant("mobile_sam")
