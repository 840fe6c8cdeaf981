"""Small twins of the variants of one graph, lowered for real: same numbers, nothing hard to run."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from exporter.graphs import Graph
from exporter.models.layers import freeze
from exporter.models.squeeze_sam import SqueezeSam
from exporter.models.yolov8_seg import YoloSize, Yolov8Seg
from exporter.precision import load_precision
from exporter.targets import Options, groups, load_target
from exporter.variants import load_variant
from profiles.lab.bench.operations import count
from runtimes.engines import CheckedGraph, choose_engine, engine_in, run_canonical
from runtimes.measures import floor_of, psnr_db
from tests.conformance import fill
from tests.unit.small_networks import filled, split

SALT = "one graph"

pytestmark = pytest.mark.parity


def _detector() -> Graph:
    """FastSAM with six blocks in its widest layers, as size x has, at 64 x 64."""
    variant = load_variant("fastsam_x")
    size = dataclasses.replace(variant.preprocess, size=64)
    mask = dataclasses.replace(variant.mask, low_res_size=16)
    small = dataclasses.replace(variant, preprocess=size, mask=mask)
    network = Yolov8Seg(YoloSize(depth=1.0, width=0.125), (64, 64))
    # A larger gain makes softmaxes of random weights jump between bins, in float16 elsewhere.
    return split(freeze(filled(network, SALT, 1.2)), small, batch=1, slots=8)[0]


def _drawn() -> Graph:
    """SqueezeSAM at 256 x 256: its last level is one pixel."""
    variant = load_variant("squeeze_sam")
    size = dataclasses.replace(variant.preprocess, size=256)
    mask = dataclasses.replace(variant.mask, low_res_size=128)
    small = dataclasses.replace(variant, preprocess=size, mask=mask)
    return split(freeze(filled(SqueezeSam(), SALT, 1.0)), small, batch=1, slots=8)[0]


@pytest.fixture(scope="module", params=[_detector, _drawn], ids=["fastsam", "squeeze_sam"])
def graph(request: pytest.FixtureRequest) -> Graph:
    return request.param()


def _inputs(graph: Graph) -> dict[str, np.ndarray]:
    size = graph.spec.inputs[0].shape[-1]
    image = fill.picture(5, size, size).transpose(2, 0, 1)[None].astype(np.float32)
    drawn = np.zeros((1, 2, size, size), np.float32)
    drawn[0, 0], drawn[0, 1, 40:48, 30:40] = 1, 1
    given = {"image": np.ascontiguousarray(image), "prompt_masks": drawn}
    return {tensor.name: given[tensor.name] for tensor in graph.spec.inputs}


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("target", groups()["all"])
def test_lowered(graph: Graph, target: str, precision: str, tmp_path: Path) -> None:
    file = load_target(target).lower(graph, load_precision(precision), tmp_path, Options())
    kind = choose_engine(target, engine_in(target, "quick"))
    session = CheckedGraph(file.spec, kind.open(tmp_path / file.file, file, 2))
    inputs = _inputs(graph)
    made = run_canonical(session, file.spec, inputs)
    with torch.no_grad():
        expected = graph.module(*map(torch.from_numpy, inputs.values()))
    for tensor, theirs in zip(graph.spec.outputs, expected, strict=True):
        least = floor_of(precision, graph.spec.name, tensor.name, "psnr_db")
        assert psnr_db(theirs.numpy(), made[tensor.name]) >= least, tensor.name
    if kind.reference:
        return  # Core AI's: nothing counts the operations of its files
    found = count(tmp_path / file.file)
    assert found.max_rank <= 4
    if target == "tflite":
        assert (found.partitions, found.outside) == (1, {})
        assert not {"GATHER_ND", "BROADCAST_TO", "CUSTOM"} & set(found.operations)
