"""The decoder for segmenting everything, in three graphs, gives the numbers of the one it is."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from exporter.bundle.tensors import TensorSpec
from exporter.demo import network
from exporter.errors import RequestError
from exporter.graphs import Named, absorbed
from exporter.host_rules import EVERYTHING, as_everything, is_everything
from exporter.job import Job, settle
from exporter.models.layers import freeze
from exporter.models.mask_decoder import DecoderSize
from exporter.models.rwkv import RwkvSize
from exporter.models.rwkv_sam import RwkvSam
from exporter.models.sam import Geometry, Sam
from exporter.models.sam2 import Sam2
from exporter.scenes.scene import HELD_OUT, scene
from exporter.variants import load_variant
from exporter.variants._sizes import resize
from runtimes.everything.steps.peaks import peaks
from tests.unit.small_networks import assert_equal, filled, noise, split

GRID = 4
SIZE = DecoderSize(width=32, heads=4, mlp_width=48, iou_hidden=32)


class Encoder(torch.nn.Module):
    def forward(self, image):
        return image


def small(like: str):
    """A network of SAM's, SAM 2's or RWKV-SAM's form, and its variant with the same shapes."""
    geometry = Geometry(image_size=64, grid=GRID)
    variant = load_variant(like)
    slots = dataclasses.replace(variant.prompting, embedding=(1, SIZE.width, GRID, GRID))
    if variant.family == "rwkv_sam":
        network = RwkvSam(RwkvSize(64, (8, 12, 16), (1, 1, 1)))
        slots = dataclasses.replace(
            slots, embedding=(1, 256, GRID, GRID), high_res=((1, 64, 4 * GRID, 4 * GRID),)
        )
    elif slots.high_res:
        network = Sam2(Encoder(), geometry)
        slots = dataclasses.replace(
            slots,
            embedding=(1, 256, GRID, GRID),
            high_res=((1, 32, 4 * GRID, 4 * GRID), (1, 64, 2 * GRID, 2 * GRID)),
        )
    else:
        network = Sam(Encoder(), geometry, SIZE)
    mask = dataclasses.replace(variant.mask, low_res_size=4 * GRID)
    preprocess = dataclasses.replace(variant.preprocess, size=64)
    variant = dataclasses.replace(variant, prompting=slots, mask=mask, preprocess=preprocess)
    return freeze(filled(network, "everything")), variant


def zeros_of(spec: TensorSpec):
    return torch.zeros(spec.shape)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("form", ["plain", "absorbed"])
@pytest.mark.parametrize("like", ["mobile_sam", "sam2_1_hiera_tiny", "rwkv_sam_small"])
def test_three_graphs_are_the_decoder(like, form, batch):
    network, variant = small(like)
    several, slots = as_everything(variant, None)
    assert slots == 2
    decoder = next(g for g in split(network, variant, batch, 2) if g.spec.name == "mask_decoder")
    graphs = split(network, several, batch, 2)
    assert [g.spec.name for g in graphs] == list(several.prompting.graphs)
    given = {
        tensor.name: noise(*tensor.shape)
        for tensor in decoder.spec.inputs
        if tensor.name.startswith(("image_embeddings", "high_res"))
    }
    given["point_coords"] = noise(batch, 2, 2) * 20 + 30
    given["point_labels"] = torch.tensor([[1.0, -1.0]] * batch)
    whole = given | {t.name: zeros_of(t) for t in decoder.spec.inputs if "mask_input" in t.name}
    expected = Named(decoder)(**{t.name: whole[t.name] for t in decoder.spec.inputs})
    with torch.no_grad():
        for graph in graphs[1:]:
            if form == "absorbed":
                with absorbed(graph.module):
                    found = Named(graph)(**{t.name: given[t.name] for t in graph.spec.inputs})
            else:
                found = Named(graph)(**{t.name: given[t.name] for t in graph.spec.inputs})
            given |= found
    for name, array in expected.items():
        assert_equal(given[name], array)


@pytest.mark.parametrize("name", ["fastsam_s", "squeeze_sam", "hq_vit_b", "efficient_sam_vitt"])
def test_other_decoders_are_refused(name):
    with pytest.raises(RequestError, match="its ordinary bundle does it as well"):
        as_everything(load_variant(name), None)


def test_nothing_is_found_in_a_volume_by_a_grid():
    with pytest.raises(RequestError, match="a volume is segmented by clicks"):
        as_everything(load_variant("fastsam3d"), None)


def test_a_head_that_proposes_is_for_the_weights_and_the_size_that_it_was_trained_on():
    demo = load_variant("demo")
    several, _ = as_everything(demo, None)
    assert several.prompting.graphs == (*EVERYTHING, "point_proposer")
    assert is_everything(several)
    for variant, published in ((demo, False), (resize(demo, 256), True)):
        assert as_everything(variant, None, published=published)[0].prompting.graphs == EVERYTHING
    own = Job(("onnx",), variant="demo", everything=True, checkpoint="own.pt")
    assert settle(own, demo).variant.prompting.graphs == EVERYTHING


def test_the_demos_head_scores_the_middles_of_objects():
    demo, _ = as_everything(load_variant("demo"), None)
    graphs = {graph.spec.name: graph for graph in split(freeze(network.load()), demo, 1, 2)}
    proposed = met = objects = 0
    for seed in range(HELD_OUT + 700, HELD_OUT + 705):
        shown = scene(seed, 192, 192)
        image = torch.from_numpy(shown.image).permute(2, 0, 1)[None].float()
        embedding = Named(graphs["image_encoder"])(image=image)
        scores = Named(graphs["point_proposer"])(**embedding)["point_scores"]
        assert scores.shape == (1, 1, 24, 24)
        places, rated = peaks(scores[0, 0].detach().numpy())
        clicks = (places[rated > 0.3] * 8).astype(int)
        proposed += len(clicks)
        objects += len(shown.instances)
        met += sum(mask[clicks[:, 1], clicks[:, 0]].any() for mask in shown.instances)
    assert met >= 0.8 * objects
    assert proposed <= 2 * objects
