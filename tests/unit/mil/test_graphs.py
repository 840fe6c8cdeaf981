"""The project's own graphs, small, with random weights: lowered, saved, run, held against torch."""

from __future__ import annotations

import coremltools as ct
import numpy as np
import pytest
import torch

from exporter.graphs.image_encoder import ImageEncoder
from exporter.graphs.mask_decoder import MaskDecoder
from exporter.models.layers import freeze
from exporter.models.mask_decoder import DecoderSize
from exporter.models.sam import Geometry, Sam
from exporter.models.vit import ViT, ViTSize
from runtimes.engines.mil import load_package
from tests.unit.mil.building import TARGETS

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
FLOORS_DB = {"float32": 90, "float16": 45}  # 24 and 11 bits of mantissa, a dozen layers
INPUTS = ("image_embeddings", "point_coords", "point_labels", "mask_input", "has_mask_input")


@pytest.fixture(scope="module")
def graphs():
    """The image encoder and the mask decoder with example inputs and torch's outputs."""
    generator = torch.Generator().manual_seed(0)
    size = ViTSize(
        width=32, depth=2, heads=2, global_blocks=(1,), image_size=64, window=3, out_width=32
    )
    decoder = DecoderSize(width=32, heads=4, mlp_width=64, iou_hidden=32)
    sam = Sam(ViT(size), Geometry(64, 4), decoder)
    for parameter in sam.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.2
    freeze(sam)
    image = torch.randint(0, 256, (1, 3, 64, 64), generator=generator).float()
    prompts = (
        torch.randn(1, 32, 4, 4, generator=generator),
        torch.rand(1, 8, 2, generator=generator) * 63,
        torch.tensor([[1.0, 0, 2, 3, -1, -2, -2, -2]]),
        torch.randn(1, 1, 16, 16, generator=generator),
        torch.ones(1),
    )
    pairs = {
        "image_encoder": (ImageEncoder(sam.image_encoder, MEAN, STD).eval(), (image,)),
        "mask_decoder": (MaskDecoder(sam, INPUTS, 1).eval(), prompts),
    }
    with torch.no_grad():
        return {
            name: (torch.jit.trace(module, example), example, module(*example))
            for name, (module, example) in pairs.items()
        }


def _psnr_db(expected, result):
    """Peak signal to noise; higher is closer."""
    noise = np.sqrt(np.mean((expected.astype(np.float64) - result) ** 2))
    return 20 * np.log10(np.abs(expected).max() / noise)


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("target", ["iOS16", "iOS18"])
@pytest.mark.parametrize("graph", ["image_encoder", "mask_decoder"])
def test_graph_agrees_with_torch(graph, target, precision, graphs, tmp_path):
    traced, example, expected = graphs[graph]
    names = [f"input_{index}" for index in range(len(example))]
    ct.convert(
        traced,
        inputs=[
            ct.TensorType(name=name, shape=tuple(t.shape), dtype=np.float32)
            for name, t in zip(names, example, strict=True)
        ],
        minimum_deployment_target=TARGETS[target],
        compute_precision=ct.precision[precision.upper()],
        skip_model_load=True,
    ).save(str(tmp_path / "graph.mlpackage"))
    program = load_package(tmp_path / "graph.mlpackage")
    inputs = {name: t.numpy() for name, t in zip(names, example, strict=True)}
    results = list(program.run(inputs).values())
    expected = expected if isinstance(expected, tuple) else (expected,)
    for want, have in zip(expected, results, strict=True):
        assert _psnr_db(want.numpy(), have) > FLOORS_DB[precision]
