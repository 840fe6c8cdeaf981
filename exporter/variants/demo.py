"""The embedded default: SAM's blocks at a quarter of their width, trained on made-up scenes.

It lets everything here be tried and tested without a download. It knows textured shapes, not
photographs; see the README for its limits, `exporter/demo/` for the network and
`profiles/lab/demo/` for its training.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from exporter.bundle.rules import MaskRule
from exporter.variants import (
    DECODER_PARTS,
    ENCODER_PARTS,
    Layout,
    Memory,
    Published,
    SecondFile,
    Sizes,
    Slots,
    Variant,
)
from exporter.variants.sam import APACHE, PREPROCESS, published_names

if TYPE_CHECKING:
    from exporter.models.point_proposer import PointProposer
    from exporter.models.sam import Sam
    from exporter.models.sam2_video import SamVideo

SIZE = 192


def build(image_size: int = SIZE) -> Sam:
    """Build the untrained network."""
    from exporter.demo import network

    return network.build(image_size).eval()


def build_video(image_size: int = SIZE) -> SamVideo:
    """Build the untrained network with its memory."""
    from exporter.demo import network

    return network.build_video(image_size).eval()


def encoder_names(name: str) -> str | None:
    """Keep the image encoder's names: a video's decoder is in the memory's file."""
    return name if name.startswith(ENCODER_PARTS) else None


def proposer() -> PointProposer:
    """Load the head that proposes points for this network's weights."""
    from exporter.demo import network

    return network.load_proposer()


MEMORY_PARTS = (
    *DECODER_PARTS,
    *("memory_attention.", "memory_encoder.", "mask_downsample."),
    *("maskmem_tpos_enc", "no_obj_ptr", "no_obj_embed_spatial"),
)
MEMORY = Memory(
    (Layout("segment-anything", encoder_names, build_video, parts=ENCODER_PARTS),),
    second=SecondFile(
        Published("memory.safetensors", ""),
        (Layout("memory", published_names, build_video, parts=MEMORY_PARTS),),
    ),
    frames_back=2,
    pointers_back=7,
    width=32,
    interpolation="pillow_bilinear",
)
"""See `exporter.demo.network`; a video's prompt encoder and mask decoder were trained with it."""

MASK = MaskRule(threshold=0.0, single=0, multi=(1, 2, 3), upscale="bilinear", low_res_size=96)

VARIANTS = (
    Variant(
        name="demo",
        family="demo",
        summary="embedded default, trained on generated scenes: for trying and testing",
        parameters=707_824,
        preprocess=dataclasses.replace(PREPROCESS, size=SIZE),
        mask=MASK,
        prompting=Slots(embedding=(1, 64, 24, 24)),
        licence=APACHE,
        repository="embedded (exporter/demo)",
        paper="",
        published=Published("demo.safetensors", ""),
        layouts=(Layout("segment-anything", published_names, build),),
        stability=dataclasses.replace(MASK, score="stability"),
        sizes=Sizes(step=8, least=96, most=512),
        proposer=proposer,
        memory=MEMORY,
    ),
)
