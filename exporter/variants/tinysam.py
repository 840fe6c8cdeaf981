"""TinySAM (Shu et al. 2023, arXiv 2312.13789): MobileSAM's network, distilled with hard prompts.

Tensor names and shapes are MobileSAM's, so a checkpoint alone does not tell the two apart. Only the
mask rule differs: TinySAM's predictor always returns tokens 1..3 and never token 0.
"""

from __future__ import annotations

import dataclasses

from exporter.variants import Published, Variant
from exporter.variants.mobile_sam import LAYOUTS, SIZES
from exporter.variants.sam import APACHE, MASK, PREPROCESS

VARIANTS = (
    Variant(
        name="tinysam",
        family="tinysam",
        summary="TinySAM: TinyViT-5M distilled with hard prompts",
        parameters=9_808_452,
        preprocess=PREPROCESS,
        mask=dataclasses.replace(MASK, single=-1),
        licence=APACHE,
        repository="https://github.com/xinghaochen/TinySAM",
        paper="arXiv:2312.13789",
        published=Published(
            "tinysam_42.3.pth",
            "https://github.com/xinghaochen/TinySAM/releases/download/3.0/tinysam_42.3.pth",
        ),
        layouts=LAYOUTS,
        sizes=SIZES,
    ),
)
