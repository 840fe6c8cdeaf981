"""Measure how much torch itself loses with filled weights, which limits any lowering.

    python -m profiles.lab.matrix.conditioning repvit_sam mobile_sam

A network whose own float32 is far from its float64, or that moves far if its weights are rounded to
float16, misses floors whatever lowers it. Trained weights are another matter.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from exporter.bundle.preprocess import Floats
from exporter.bundle.voxels import Cube, volume_input
from exporter.goldens import SEED
from exporter.graphs import graphs_of
from exporter.host_rules import prompt_rule
from exporter.models.layers import freeze
from exporter.scenes.scene import scene
from exporter.scenes.volume import volume_scene
from exporter.variants import Variant, VolumeSlots, load_variant
from profiles.lab.matrix.fill import fill


@dataclass(frozen=True)
class Conditioning:
    """PSNR of a variant's first graph on the goldens' picture, in dB; its first output.

    Attributes:
        float64_db: torch's float32 against torch's float64.
        half_weights_db: torch's float32 with weights rounded to float16, against without.
    """

    float64_db: float
    half_weights_db: float


def conditioning(variant: Variant) -> Conditioning:
    """Run the filled network three times."""
    network = freeze(fill(variant))
    graph = graphs_of(network, variant, prompt_rule(variant))[0]
    image = torch.from_numpy(_seen(variant))
    rest = graph.example[1:]
    with torch.no_grad():
        plain = _first(graph.module, image, *rest)
        rounded = _first(_round_weights(graph.module), image, *rest)
        exact = _first(graph.module.double(), image.double(), *(t.double() for t in rest))
    return Conditioning(_psnr_db(plain.double(), exact), _psnr_db(rounded, plain))


def _seen(variant: Variant) -> Floats:
    """Make the input of the goldens: a picture, or a normalised volume."""
    side = variant.preprocess.size
    if isinstance(variant.prompting, VolumeSlots):
        cube = Cube((side, side, side), (0, 0, 0), side)
        return volume_input(volume_scene(SEED, cube.shape).values, cube)
    picture = scene(SEED, *variant.preprocess.shape).image.transpose(2, 0, 1)[None]
    return np.ascontiguousarray(picture, dtype=np.float32)


def _round_weights(module: nn.Module) -> nn.Module:
    other = copy.deepcopy(module)
    for tensor in (*other.parameters(), *other.buffers()):
        if tensor.is_floating_point():
            tensor.copy_(tensor.half())
    return other


def _first(module: nn.Module, *inputs: Tensor) -> Tensor:
    found: Tensor | tuple[Tensor, ...] = module(*inputs)
    return found if isinstance(found, Tensor) else found[0]


def _psnr_db(actual: Tensor, expected: Tensor) -> float:
    error = (actual - expected).pow(2).mean().sqrt()
    return float(20 * torch.log10(expected.abs().max() / error))


def main(argv: Sequence[str] | None = None) -> int:
    """Print a line for each variant."""
    parser = argparse.ArgumentParser(
        "python -m profiles.lab.matrix.conditioning", description=__doc__
    )
    parser.add_argument("variants", nargs="+", metavar="VARIANT")
    for name in parser.parse_args(argv).variants:
        found = conditioning(load_variant(name))
        print(
            f"{name}: float32 is {found.float64_db:.0f} dB from float64; "
            f"weights rounded to float16 give {found.half_weights_db:.0f} dB"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
