"""The embedded default, lowered to every target in both precisions, then used as an app uses it.

Nothing here depends on how good its weights are, only on the bundles giving what torch gives.
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from exporter.bundle.agreement import END_TO_END
from exporter.bundle.folder import hash_file, open_bundle, same_job, tree_files
from exporter.bundle.preprocess import Frame, binarise, image_input, resized_size, upscale
from exporter.bundle.prompts import Prompts, pack
from exporter.bundle.rules import LABELS, PromptRule
from exporter.checkpoints.fit import load_strict
from exporter.checkpoints.reading import read_checkpoint
from exporter.job import Job, Place
from exporter.models.layers import freeze
from exporter.pipeline import export
from exporter.scenes.scene import HELD_OUT, scene
from exporter.targets import Options
from exporter.variants import load_variant
from runtimes.engines import load_graph, run_canonical
from runtimes.engines.mil.package import load_package
from runtimes.measures import find_misses
from runtimes.segmenters.slots import SlotSegmenter
from tests.unit.small_networks import split

ROOT = Path(__file__).parents[2]
TARGETS = ("coreml", "onnx", "tflite")
PRECISIONS = ("fp32", "fp16")
MASK_IOU = {"fp32": 0.99, "fp16": 0.95}
SMALL = 500
"""Pixels; a smaller mask is mostly contour."""

pytestmark = [
    pytest.mark.parity,
    pytest.mark.filterwarnings("ignore"),  # the toolkits': torch versions, deprecations
]


@dataclass
class Torch:
    """The demo model in torch, used as `Segmenter` uses a bundle; padding is exact."""

    rule = PromptRule(1, 8, LABELS, pad_without_box=True)

    def __init__(self, weights: Path) -> None:
        self.variant = load_variant("demo")
        sam, _ = load_strict(self.variant, read_checkpoint(weights))
        self.encoder, self.decoder = split(freeze(sam), self.variant, 1, self.rule.slots)
        self.embeddings = torch.zeros(0)
        self.frame = Frame((0, 0), (0, 0), 0)

    def set_image(self, rgb) -> None:
        image, self.frame = image_input(rgb, self.variant.preprocess)
        with torch.no_grad():
            self.embeddings = self.encoder.module(torch.from_numpy(image))

    def logits(self, prompts: Prompts, previous=None):
        """(M, h, w) of all mask tokens."""
        low = self.variant.mask.low_res_size
        mask = np.zeros((1, 1, low, low), np.float32)
        if previous is not None:
            mask[:] = previous
        given = np.full(1, float(previous is not None), np.float32)
        inputs = (*pack(prompts, self.frame, self.rule), mask, given)
        with torch.no_grad():
            masks, _ = self.decoder.module(self.embeddings, *map(torch.from_numpy, inputs))
        return masks[0].numpy()

    def mask(self, prompts: Prompts, previous=None):
        """(H, W) of token 0 at the size of the image."""
        single = self.logits(prompts, previous)[[self.variant.mask.single]]
        return binarise(upscale(single, self.frame), self.variant.mask)[0]


@pytest.fixture(scope="session")
def model(weights):
    return Torch(weights)


@pytest.fixture(params=[(t, p) for p in PRECISIONS for t in TARGETS], ids="-".join)
def bundle(request, demo_bundle):
    return demo_bundle(*request.param)


@pytest.fixture
def segmenter(bundle):
    return SlotSegmenter(bundle)


def iou(a, b) -> float:
    return float((a & b).sum() / max((a | b).sum(), 1))


def box_of(instance):
    rows, cols = np.nonzero(instance)
    return float(cols.min()), float(rows.min()), float(cols.max() + 1), float(rows.max() + 1)


def inside(instance):
    """A pixel of the object, near its middle."""
    rows, cols = np.nonzero(instance)
    i = int(np.argmin((rows - rows.mean()) ** 2 + (cols - cols.mean()) ** 2))
    return float(cols[i]), float(rows[i])


def test_the_bundle_is_whole_and_every_figure_reaches_its_floor(bundle):
    manifest = open_bundle(bundle.path).manifest
    assert find_misses(manifest.parity) == []
    floors = {f.measure for f in manifest.parity if f.floor is not None}
    assert {"psnr_db", "mask_iou", "prompt_sensitivity"} <= floors
    graphs = {(f.graph, f.output) for f in manifest.parity if f.graph != END_TO_END}
    assert {(f.graph, f.output) for f in manifest.parity} - graphs
    assert graphs == {
        ("image_encoder", "image_embeddings"),
        ("mask_decoder", "low_res_masks"),
        ("mask_decoder", "iou_predictions"),
        ("image_encoder+mask_decoder", "low_res_masks"),
    }
    present = set(tree_files(bundle.path)) - {".gitattributes", "README.md"}
    assert present == {"manifest.json", *manifest.files}
    assert all(hash_file(bundle.path / n) == digest for n, digest in manifest.files.items())
    assert manifest.source.sha256
    assert [g.spec.name for g in manifest.graphs] == ["image_encoder", "mask_decoder"]
    for graph in manifest.graphs:
        whole = [n for n in present if n == graph.file or n.startswith(f"{graph.file}/")]
        assert graph.bytes == sum((bundle.path / n).stat().st_size for n in whole)


def test_half_precision_halves_the_files(demo_bundle):
    for target in TARGETS:
        single, half = (
            {g.spec.name: g.bytes for g in demo_bundle(target, p).manifest.graphs}
            for p in PRECISIONS
        )
        assert half["image_encoder"] < 0.65 * single["image_encoder"]


@pytest.fixture(scope="session")
def again(tmp_path_factory, weights):
    """The fp16 bundles once more: another process, another hash seed, another folder."""
    folder = tmp_path_factory.mktemp("again")
    command = [sys.executable, "-m", "exporter.cli", "--target", "all", "--precision", "fp16"]
    command += ["--checkpoint", str(weights), "--output", str(folder), "--quiet"]
    environment = os.environ | {"PYTHONHASHSEED": "7"}
    ran = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return folder


@pytest.mark.parametrize("target", TARGETS)
def test_the_same_job_gives_the_same_bytes(target, demo_bundle, again):
    first = demo_bundle(target, "fp16")
    second = open_bundle(again / first.path.name)
    assert second.manifest.files == first.manifest.files
    assert same_job(first.manifest, second.manifest)
    when = {name: getattr(first.manifest, name) for name in ("created", "content_sha256")}
    assert dataclasses.replace(second.manifest, **when) == first.manifest


def test_masks_are_those_of_torch(bundle, segmenter, model):
    compared = 0
    for seed in range(HELD_OUT + 500, HELD_OUT + 503):
        picture = scene(seed, 256, 256)
        segmenter.set_image(picture.image)
        model.set_image(picture.image)
        for instance in picture.instances:
            box = box_of(instance)
            expected = model.mask(Prompts(box=box))
            if expected.sum() <= SMALL:
                continue
            compared += 1
            found = segmenter.predict(box=box)
            assert found.masks.shape == (1, 256, 256)
            assert iou(found.masks[0], expected) >= MASK_IOU[bundle.manifest.precision]
    assert compared >= 3, "the scenes gave too few masks to compare"


def test_every_kind_of_prompt_follows_torch(bundle, segmenter, model):
    picture = scene(HELD_OUT + 500, 256, 256)
    first, second = picture.instances[:2]
    segmenter.set_image(picture.image)
    model.set_image(picture.image)
    click = segmenter.predict([inside(first)], [1], multimask=True)
    assert click.masks.shape == (3, 256, 256)
    assert click.iou_predictions.shape == (3,)
    previous = click.low_res_masks[click.best]
    cases = {
        "points": (Prompts((inside(first), inside(second)), (1, 0)), None),
        "seven points": (Prompts((inside(first), inside(second)) * 3, (1, 0) * 3), None),
        "box with point": (Prompts((inside(second),), (0,), box_of(first)), None),
        "refinement": (Prompts((inside(first),), (1,)), previous),
    }
    # 11-bit mantissas in a dozen blocks, and a peak error, not a mean one: a per cent of the peak.
    tolerance = {"fp32": 1e-4, "fp16": 2e-2}[bundle.manifest.precision]
    given = []
    for name, (prompts, mask) in cases.items():
        expected = model.logits(prompts, mask)[0]
        found = segmenter.predict(
            prompts.points, prompts.labels, prompts.box, mask_input=mask
        ).low_res_masks[0]
        assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max(), name
        given.append(found)
    for i, one in enumerate(given):
        for other in given[:i]:
            assert np.abs(one - other).max() > 0.01 * np.abs(one).max()


def test_refinement_reads_the_previous_mask(segmenter):
    picture = scene(HELD_OUT + 500, 256, 256)
    points, labels = [inside(picture.instances[0])], [1]
    segmenter.set_image(picture.image)
    blank = segmenter.predict(points, labels)
    low = blank.low_res_masks.shape[-1]
    half = np.full((low, low), -10.0, np.float32)
    half[:, : low // 2] = 10.0
    refined = segmenter.predict(points, labels, mask_input=half)
    assert np.abs(refined.low_res_masks - blank.low_res_masks).max() > 0.1


@pytest.mark.parametrize("target", TARGETS)
def test_two_prompt_sets_of_four_slots(target, tmp_path, weights, model):
    job = Job((target,), "fp32", "demo", weights, batch=2, slots=4)
    (bundle,) = export(job, Place(tmp_path))
    assert find_misses(bundle.manifest.parity) == []
    decoder = bundle.manifest.graph("mask_decoder").spec
    assert [t.shape for t in decoder.inputs if t.name == "point_coords"] == [(2, 4, 2)]
    picture = scene(HELD_OUT + 501, 192, 192)
    segmenter = SlotSegmenter(bundle)
    segmenter.set_image(picture.image)
    model.set_image(picture.image)
    sets = (
        Prompts((inside(picture.instances[0]),), (1,)),
        Prompts((inside(picture.instances[0]),), (0,), box_of(picture.instances[1])),
    )
    for prompts, found in zip(sets, segmenter.predict_many(sets), strict=True):
        expected = model.logits(prompts)[0]
        np.testing.assert_allclose(
            found.low_res_masks[0], expected, atol=1e-4 * np.abs(expected).max(), rtol=0
        )


@pytest.mark.parametrize("size", [(200, 320), (320, 200), (31, 320)], ids=str)
def test_core_mls_padding_is_exact(demo_bundle, model, size):
    """Its image holds 124, 116, 104 where the mean is 123.675, 116.28, 103.53."""
    bundle = demo_bundle("coreml", "fp32")
    rule = bundle.manifest.preprocess
    assert rule == dataclasses.replace(model.variant.preprocess, padded_by="graph")
    encoder = bundle.manifest.graph("image_encoder").spec
    assert [(t.name, t.dtype) for t in encoder.inputs] == [
        ("image", "uint8"),
        ("resized_size", "float32"),
    ]
    segmenter, boxes = SlotSegmenter(bundle), 0
    for seed in range(HELD_OUT + 510, HELD_OUT + 514):
        picture = scene(seed, *size)
        segmenter.set_image(picture.image)
        model.set_image(picture.image)
        for instance in picture.instances:
            expected = model.mask(Prompts(box=box_of(instance)))
            found = segmenter.predict(box=box_of(instance)).masks[0]
            assert (found != expected).mean() <= 0.001
            boxes += 1
    assert boxes >= 3


@pytest.mark.parametrize("precision", PRECISIONS)
def test_core_mls_padding_may_hold_anything(demo_bundle, precision):
    bundle = demo_bundle("coreml", precision)
    spec = bundle.manifest.graph("image_encoder").spec
    session = load_graph(bundle, "image_encoder")
    picture = scene(HELD_OUT + 510, 200, 320).image
    image, frame = image_input(picture, bundle.manifest.preprocess)
    size = resized_size(frame)
    expected = run_canonical(session, spec, {"image": image, "resized_size": size})
    width, height = frame.resized
    for left in (np.zeros_like(image), np.full_like(image, 255), noise_like(image)):
        left[..., :height, :width] = image[..., :height, :width]
        found = run_canonical(session, spec, {"image": left, "resized_size": size})
        np.testing.assert_array_equal(found["image_embeddings"], expected["image_embeddings"])
    image[..., height - 1, :] = 0  # the last row of the picture does count
    found = run_canonical(session, spec, {"image": image, "resized_size": size})
    assert np.abs(found["image_embeddings"] - expected["image_embeddings"]).max() > 0.01


def noise_like(image):
    return np.random.default_rng(0).integers(0, 256, image.shape).astype(np.float32)


def test_the_goldens_hold_a_padded_picture_for_core_ml_alone(demo_bundle):
    for target in TARGETS:
        cases = demo_bundle(target, "fp16").goldens().cases("image_encoder")
        assert cases == (["scene", "scene_padded"] if target == "coreml" else ["scene"])


def test_a_float_image_holds_the_published_padding(tmp_path, weights, model):
    job = Job(("coreml",), "fp32", "demo", weights, options=Options(image_input="tensor"))
    (bundle,) = export(job, Place(tmp_path))
    assert find_misses(bundle.manifest.parity) == []
    assert bundle.manifest.preprocess == model.variant.preprocess
    assert bundle.manifest.graph("image_encoder").spec == model.encoder.spec
    picture = scene(HELD_OUT + 510, 200, 320)
    segmenter = SlotSegmenter(bundle)
    segmenter.set_image(picture.image)
    model.set_image(picture.image)
    for instance in picture.instances:
        expected = model.mask(Prompts(box=box_of(instance)))
        found = segmenter.predict(box=box_of(instance)).masks[0]
        assert (found != expected).mean() <= 0.001


def test_ios_18_keeps_attention_whole(tmp_path, weights):
    job = Job(("coreml",), "fp16", "demo", weights, options=Options(minimum_ios=18))
    (bundle,) = export(job, Place(tmp_path))
    assert find_misses(bundle.manifest.parity) == []
    assert bundle.manifest.platform == "iOS 18 or later"
    counts = load_package(bundle.file("mask_decoder")).operation_counts
    # Two blocks of three attentions, and the last one.
    assert counts["scaled_dot_product_attention"] == 7
    assert "softmax" not in counts


def test_ios_16_has_no_attention_operation(demo_bundle):
    counts = load_package(demo_bundle("coreml", "fp16").file("mask_decoder")).operation_counts
    assert "scaled_dot_product_attention" not in counts
    assert counts["softmax"] == 7


def test_core_ml_ranks_masks_by_float32_scores(demo_bundle):
    """Half scores tie, and the first of equal ones is chosen."""
    constants = load_package(demo_bundle("coreml", "fp16").file("mask_decoder")).graph.constants
    kinds = {
        str(value.dtype)
        for name, value in constants.items()
        if "iou_prediction_head" in name and name.endswith("_weight")
    }
    assert kinds == {"float32"}
