"""A small EdgeTAM's memory encoder, lowered: the published numbers, all of it in XNNPACK."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

from exporter.bundle.tensors import GraphSpec, TensorSpec
from exporter.graphs import graph_of
from exporter.graphs.memory_encoder import MemoryEncoder
from exporter.models.layers import freeze
from exporter.models.memory_bank import MemorySize
from exporter.models.sam import Geometry
from exporter.models.sam2_video import Sam2Video
from exporter.precision import load_precision
from exporter.targets import Options, load_target
from profiles.lab.bench.operations import count
from profiles.lab.bench.published_memory_encoder import PublishedMemoryEncoder
from runtimes.engines import CheckedGraph, choose_engine, run_canonical
from runtimes.measures import floor_of, psnr_db
from tests.unit.models.test_memory import Nothing
from tests.unit.small_networks import filled, noise

GRID = 8

pytestmark = pytest.mark.parity


@pytest.mark.parametrize("target", ["tflite", "onnx"])
def test_a_memory_encoder_with_a_perceiver(target: str, tmp_path: Path) -> None:
    size = MemorySize(GRID, depth=1, latents=4)
    sam = filled(Sam2Video(Nothing(), size, Geometry(16 * GRID, GRID)), "perceiver")
    theirs = PublishedMemoryEncoder(copy.deepcopy(sam))
    given = {
        "image_embeddings": noise(1, 256, GRID, GRID),
        "mask_logits": 8 * noise(1, 1, 4 * GRID, 4 * GRID),
        "from_prompt": torch.zeros(1),
    }
    layouts = ("NCHW", "NCHW", "B")
    spec = GraphSpec(
        "memory_encoder",
        tuple(
            TensorSpec(name, tuple(value.shape), "float32", layout)
            for (name, value), layout in zip(given.items(), layouts, strict=True)
        ),
        (TensorSpec("memory", (1, size.tokens, 64), "float32", "BTC"),),
        "frame",
    )
    graph = graph_of(spec, MemoryEncoder(freeze(sam)))
    file = load_target(target).lower(graph, load_precision("fp32"), tmp_path, Options())
    session = CheckedGraph(file.spec, choose_engine(target).open(tmp_path / file.file, file, 2))
    made = run_canonical(session, file.spec, {name: v.numpy() for name, v in given.items()})
    expected = theirs(given["image_embeddings"], given["mask_logits"])
    least = floor_of("fp32", spec.name, "memory", "psnr_db")
    assert psnr_db(expected.numpy(), made["memory"]) >= least
    found = count(tmp_path / file.file)
    assert found.max_rank <= 4
    if target == "tflite":
        assert (found.partitions, found.outside) == (1, {})
