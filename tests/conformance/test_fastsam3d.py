"""FastSAM3D against the published code: from the voxels to the mask, click after click.

The graphs are those that are exported, rank 4 and with empty slots, and the host's work is numpy's.
Then the same through an exported ONNX file and `sam-run`'s segmenter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch

from exporter.bundle.volume_cases import masks_of_outputs
from exporter.bundle.voxels import (
    Clicks,
    Cube,
    VolumeMasks,
    decoder_inputs,
    volume_input,
    volume_rule,
)
from exporter.checkpoints.fit import load_strict
from exporter.goldens import run
from exporter.graphs import Graph
from exporter.models.layers import freeze
from exporter.precision import load_precision
from exporter.targets import Options, load_target
from exporter.variants import load_variant
from runtimes.engines.ort import ENGINE
from runtimes.segmenters.volume import VolumeSegmenter
from tests.conformance import published_case
from tests.conformance.published_case import PublishedCase
from tests.unit.small_networks import split
from tests.unit.volume_manifest import manifest_of

RELATIVE = 1e-4  # of the array's absolute maximum
IOU = 1e-4  # absolute
PIXELS = 0.999  # share of the stored voxels that agree
PREPROCESSED = 1e-3  # absolute
MOST_RANK = 4
Predict = Callable[[Mapping[str, Any], Clicks, Any], VolumeMasks]

pytestmark = pytest.mark.conformance


@pytest.fixture(scope="module")
def case() -> PublishedCase:
    return published_case.load("fastsam3d")


@pytest.fixture(scope="module")
def graphs(case: PublishedCase) -> tuple[Graph, ...]:
    variant = load_variant(case.name)
    network, _ = load_strict(variant, case.checkpoint(), case.decoder_checkpoint())
    assert sum(each.numel() for each in network.parameters()) == variant.parameters
    assert variant.parameters == case.facts["arch"]["parameters"]
    freeze(network)
    position = network.prompt_encoder.dense_position().transpose(1, 2).reshape(1, -1, 8, 8, 8)
    expected, ours, most = case.stored("dense_position", position.numpy())
    assert np.abs(ours - expected).max() <= RELATIVE * most
    return split(network, variant)


def whole(case: PublishedCase) -> Cube:
    x, y, z = case.volume().shape
    return Cube((x, y, z), (0, 0, 0), x)


def check(case: PublishedCase, predict: Predict) -> None:
    """Every prompt case, each after the one that it refines."""
    kept: dict[str, VolumeMasks] = {}
    for name, prompt in case.facts["prompts"].items():
        points = tuple((float(x), float(y), float(z)) for x, y, z in prompt["points"])
        clicks = Clicks(points, tuple(prompt["labels"]))
        earlier = kept[prompt["mask_from"]].low_res_masks[0] if "mask_from" in prompt else None
        found = kept[name] = predict(prompt, clicks, earlier)
        expected, ours, most = case.stored(f"{name}.low_res_masks", found.low_res_masks)
        assert np.abs(ours - expected).max() <= RELATIVE * most, name
        expected, ours, _ = case.stored(f"{name}.iou", found.iou_predictions)
        assert np.abs(ours - expected).max() <= IOU, name
        expected, ours, _ = case.stored(f"{name}.mask", found.masks)
        assert (ours == expected).mean() >= PIXELS, name
    assert len(kept) == 5


def blank(prompt: Mapping[str, Any]) -> bool:
    """Whether a case gives no mask at all."""
    return "mask_input" not in prompt and "mask_from" not in prompt


def test_the_graphs_in_torch(case: PublishedCase, graphs: tuple[Graph, ...]) -> None:
    encoder, decoder = graphs
    cube = whole(case)
    volume = volume_input(case.volume(), cube)
    expected, ours, _ = case.stored("preprocessed", volume[None])
    np.testing.assert_allclose(ours, expected, atol=PREPROCESSED, rtol=0)
    embedded = run(encoder, {"volume": volume})
    expected, ours, most = case.stored(
        "image_embeddings", embedded["image_embeddings"].reshape(1, -1, 8, 8, 8)
    )
    assert np.abs(ours - expected).max() <= RELATIVE * most
    manifest = manifest_of(graphs)
    _, rule = volume_rule(manifest)

    def predict(prompt: Mapping[str, Any], clicks: Clicks, earlier: Any) -> VolumeMasks:
        low = manifest.mask.low_res_size
        given = decoder_inputs(clicks, cube, rule, low, earlier, no_mask=blank(prompt))
        outputs = run(decoder, embedded | given)
        return masks_of_outputs(manifest, outputs, cube, multimask=prompt["multimask"])

    check(case, predict)


def test_no_tensor_has_more_than_four_axes(graphs: tuple[Graph, ...]) -> None:
    for graph in graphs:
        program = torch.export.export(graph.module, graph.example).run_decompositions()
        ranks = {
            value.ndim
            for node in program.graph.nodes
            if isinstance(value := node.meta.get("val"), torch.Tensor)
            and not node.name.startswith("p_")  # a parameter as published, which nothing reads
        }
        assert max(ranks) <= MOST_RANK, graph.spec.name


@pytest.mark.parity
def test_the_exported_graphs_with_the_runtime(case, graphs, tmp_path) -> None:
    target, precision = load_target("onnx"), load_precision("fp32")
    files = tuple(target.lower(graph, precision, tmp_path, Options()) for graph in graphs)
    manifest = manifest_of(graphs, files)
    by_name = {file.spec.name: file for file in files}
    segmenter = VolumeSegmenter(
        bundle_of(manifest, tmp_path),
        load=lambda name: ENGINE.open(tmp_path / by_name[name].file, by_name[name], 2),
    )
    segmenter.set_volume(case.volume(), whole(case))

    def predict(prompt: Mapping[str, Any], clicks: Clicks, earlier: Any) -> VolumeMasks:
        return segmenter.predict_clicks(
            clicks, earlier, multimask=prompt["multimask"], no_mask=blank(prompt)
        )

    check(case, predict)


def bundle_of(manifest, folder):
    from exporter.bundle.folder import Bundle

    return Bundle(folder, manifest)
