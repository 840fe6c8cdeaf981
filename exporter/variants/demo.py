"""The embedded default: SAM's blocks at a quarter of their width, trained on made-up scenes.

It lets everything here be tried and tested without a download. It knows textured shapes, not
photographs; see the README for its limits, `exporter/demo/` for the network and
`profiles/lab/demo/` for its training.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from exporter.bundle.rules import MaskRule
from exporter.variants import Layout, Published, Sizes, Slots, Variant
from exporter.variants.sam import APACHE, PREPROCESS, published_names

if TYPE_CHECKING:
    from exporter.models.point_proposer import PointProposer
    from exporter.models.sam import Sam

SIZE = 192


def build(image_size: int = SIZE) -> Sam:
    """Build the untrained network."""
    from exporter.demo import network

    return network.build(image_size).eval()


def proposer() -> PointProposer:
    """Load the head that proposes points for this network's weights."""
    from exporter.demo import network

    return network.load_proposer()


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
    ),
)
