"""The demo's bundle for everything: as its ordinary one, in fewer runs of less."""

from __future__ import annotations

import numpy as np
import pytest

from exporter.bundle.folder import open_bundle
from exporter.bundle.goldens import GOLDENS
from exporter.checkpoints.reading import read_checkpoint
from exporter.cli import main
from exporter.demo import network
from exporter.departure import savings
from exporter.errors import PromptError
from exporter.host_rules import as_everything, prompt_rule
from exporter.scenes.scene import scene
from exporter.variants import load_variant
from exporter.variants._sizes import resize
from profiles.lab.everything.published import PublishedGenerator, Thresholds
from runtimes.everything import everything
from runtimes.everything.bundles import predictor_of
from runtimes.gate import judge
from runtimes.segmenters import open_segmenter

pytestmark = pytest.mark.parity
OPTIONS = {"points_per_side": 6, "stability_score_offset": 0.2, "pred_iou_thresh": 0.9}


@pytest.fixture(scope="module")
def several(tmp_path_factory, weights):
    folder = tmp_path_factory.mktemp("everything")
    argv = ["--target", "onnx", "--precision", "fp32", "--everything", "--quiet"]
    assert main([*argv, "--checkpoint", str(weights), "--output", str(folder)]) == 0
    return open_bundle(folder / "demo-onnx-fp32-everything")


def test_it_gives_the_masks_of_the_ordinary_bundle(several, demo_bundle):
    image = scene(30_000_001, 160, 240).image
    one = everything(open_segmenter(demo_bundle("onnx", "fp32")), image, **OPTIONS)
    segmenter = open_segmenter(several)
    runs = dict.fromkeys((graph.spec.name for graph in several.manifest.graphs), 0)
    for name, loaded in segmenter._loaded.items():
        segmenter._loaded[name] = Counted(name, loaded, runs)
    found = everything(segmenter, image, **OPTIONS)
    assert [each.area for each in found] == pytest.approx([each.area for each in one], abs=2)
    assert len(found) > 0
    assert found.left.nms == one.left.nms
    assert runs["image_encoder"] == runs["image_side"] == 1
    assert runs["token_decoder"] == 36
    assert 0 < runs["mask_head"] < 36  # for those alone that pass


class Counted:
    def __init__(self, name, inner, runs):
        self.name, self.inner, self.runs = name, inner, runs

    def run(self, inputs):
        self.runs[self.name] += 1
        return self.inner.run(inputs)


def test_single_objects_work_as_well(several, demo_bundle):
    image = scene(30_000_002, 160, 240).image
    ordinary, ours = open_segmenter(demo_bundle("onnx", "fp32")), open_segmenter(several)
    for segmenter in (ordinary, ours):
        segmenter.set_image(image)
    for prompts in ({"points": [(100, 80)], "labels": [1]}, {"box": (20, 30, 200, 140)}):
        wanted, found = ordinary.predict(**prompts), ours.predict(**prompts)
        np.testing.assert_allclose(found.low_res_masks, wanted.low_res_masks, atol=1e-3)
    with pytest.raises(PromptError, match="takes no earlier mask"):
        ours.predict([(100, 80)], [1], mask_input=found.low_res_masks[0])


def test_its_figures_follow_the_prompt_through_both_graphs(several):
    figures = {(f.graph, f.output, f.measure): f.value for f in several.manifest.parity}
    whole = "image_encoder+image_side+token_decoder+mask_head"
    assert figures[whole, "low_res_masks", "mask_iou"] > 0.999
    assert figures["mask_head", "low_res_masks", "prompt_sensitivity"] > 0.99


def test_it_brings_the_source_that_runs_it_in_an_app(several):
    everything = "core/src/main/kotlin/segmentanything/everything/Methods.kt"
    assert (several.path / "kotlin" / everything).is_file()
    assert "made for finding every object" in (several.path / "README.md").read_text()


def test_refining_needs_the_ordinary_bundle(several):
    image = scene(30_000_002, 160, 240).image
    with pytest.raises(PromptError, match="takes no earlier mask"):
        everything(predictor_of(open_segmenter(several)), image, points_per_side=2, use_m2m=True)


def test_it_keeps_the_masks_of_the_published_generator_in_torch(several):
    image = scene(30_000_003, 160, 240).image
    ours = {"pred_iou_thresh": 0.7, "stability_score_thresh": 0.85}
    found = everything(
        open_segmenter(several), image, points_per_side=6, stability_score_offset=0.2, **ours
    )
    published = PublishedGenerator(network.load().requires_grad_(requires_grad=False))
    wanted = published.generate(image, 6, Thresholds(0.7, 0.85, 0.2))
    assert len(found) == len(wanted) > 3
    for one, other in zip(found, wanted, strict=True):
        assert one.predicted_iou == pytest.approx(other["predicted_iou"], abs=1e-4)
        assert (one.mask != other["segmentation"]).sum() <= 2


def test_two_graphs_of_one_prompt_are_judged_together(several):
    """As few bits are: one graph rates the masks that the next one makes of each prompt."""
    found = {f.measure: f.value for f in judge(several, [several.path / GOLDENS])}
    assert found["mean_mask_iou"] > 0.999
    assert found["iou_prediction_error"] < 1e-4
    assert found["least_prompt_sensitivity"] > 0.999


def test_another_size_says_what_it_saves_in_every_graph(weights):
    shapes = {name: tuple(t.shape) for name, t in read_checkpoint(weights).tensors.items()}
    variant, slots = as_everything(resize(load_variant("demo"), 128), None)
    lines = list(savings(variant, variant.layouts[0].name, shapes, prompt_rule(variant, 1, slots)))
    assert [line.split()[0] for line in lines] == list(variant.prompting.graphs)
    assert all("% saved" in line for line in lines[:2])
