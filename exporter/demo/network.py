"""The demo network: SAM's decoder at a quarter of its width behind a TinyViT of three stages."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from safetensors.torch import load_file

from exporter.models.mask_decoder import DecoderSize
from exporter.models.point_proposer import PointProposer
from exporter.models.sam import Geometry, Sam
from exporter.models.tiny_vit import TinyViT, TinyViTSize

WEIGHTS = Path(__file__).with_name("demo.safetensors")
"""The trained weights, stored as float16."""
PROPOSER = Path(__file__).with_name("proposer.safetensors")
"""The same of the head that proposes points, trained on this network's embedding."""

MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)
"""Of RGB in 0..255; SAM's."""

IMAGE_SIZE = 192
GRID = 24
WIDTH = 64
ENCODER = TinyViTSize(
    image_size=IMAGE_SIZE,
    widths=(24, 64, 96),
    depths=(1, 2, 3),
    heads=(1, 2, 3),
    windows=(8, 8, 6),  # the windows of 6 cells straddle the borders of those of 8
    merge_strides=(2, 1),
    expand_ratio=3,
    out_width=WIDTH,
)
DECODER = DecoderSize(width=WIDTH, heads=4, mlp_width=256, iou_hidden=WIDTH)


def build(image_size: int = IMAGE_SIZE) -> Sam:
    """Build the network, untrained: image (1, 3, S, S) -> embedding (1, 64, S / 8, S / 8)."""
    grid = image_size * GRID // IMAGE_SIZE
    encoder = TinyViT(dataclasses.replace(ENCODER, image_size=image_size))
    return Sam(encoder, Geometry(image_size, grid), DECODER)


def load(weights: Path = WEIGHTS) -> Sam:
    """Load the trained network in float32 and eval mode, not frozen."""
    sam = build()
    sam.load_state_dict(load_file(weights), strict=True)
    return sam.eval()


def load_proposer(weights: Path = PROPOSER) -> PointProposer:
    """Load the trained head that proposes points, in float32 and eval mode."""
    head = PointProposer(WIDTH)
    head.load_state_dict(load_file(weights), strict=True)
    return head.eval()
