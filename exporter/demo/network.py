"""The demo network: SAM's decoder at a quarter of its width behind a TinyViT of three stages."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from safetensors.torch import load_file

from exporter.models.mask_decoder import DecoderSize
from exporter.models.memory_bank import MemorySize
from exporter.models.point_proposer import PointProposer
from exporter.models.sam import Geometry, Sam
from exporter.models.sam2_video import SamVideo
from exporter.models.tiny_vit import TinyViT, TinyViTSize

WEIGHTS = Path(__file__).with_name("demo.safetensors")
"""The trained weights, stored as float16."""
PROPOSER = Path(__file__).with_name("proposer.safetensors")
"""The same of the head that proposes points, trained on this network's embedding."""
MEMORY = Path(__file__).with_name("memory.safetensors")
"""The same of a video's prompt encoder, mask decoder and memory: all but the image encoder."""

MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)
"""Of RGB in 0..255; SAM's."""

IMAGE_SIZE = 192
GRID = 24
ENCODER_NAME = "image_encoder."
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

FRAMES_BACK = 2
"""Tracked frames that a frame looks back at, besides the prompted one."""
POINTERS_BACK = 7
MEMORY_WIDTH = 32


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


def build_video(image_size: int = IMAGE_SIZE) -> SamVideo:
    """Build the network with its memory, untrained."""
    plain = build(image_size)
    size = MemorySize(
        grid=plain.geometry.grid,
        depth=1,
        marks_absence=True,
        width=WIDTH,
        memory_width=MEMORY_WIDTH,
        hidden=4 * WIDTH,
        times=FRAMES_BACK + 1,
    )
    return SamVideo(plain.image_encoder, size, plain.geometry, DECODER)


def load_video(memory: Path = MEMORY, weights: Path = WEIGHTS) -> SamVideo:
    """Load the trained network with its memory, in float32 and eval mode, not frozen."""
    sam = build_video()
    encoder = {name: t for name, t in load_file(weights).items() if name.startswith(ENCODER_NAME)}
    sam.load_state_dict(encoder | load_file(memory), strict=True)
    return sam.eval()


def load_proposer(weights: Path = PROPOSER) -> PointProposer:
    """Load the trained head that proposes points, in float32 and eval mode."""
    head = PointProposer(WIDTH)
    head.load_state_dict(load_file(weights), strict=True)
    return head.eval()
