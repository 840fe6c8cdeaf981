"""MobileSAM (Zhang et al. 2023, arXiv 2306.14289) and TinySAM (Shu et al. 2023, arXiv 2312.13789).

Both put TinyViT-5M before SAM's decoder, with the same tensor names and shapes: a checkpoint alone
does not tell them apart. They differ in the mask rule. TinySAM's predictor always returns tokens
1..3 and never token 0.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from exporter.variants import Layout, Published, Variant
from exporter.variants.sam import APACHE, MASK, PREPROCESS

if TYPE_CHECKING:
    from exporter.models.sam import Sam


def rename(name: str) -> str | None:
    """TinyViT's classifier (`norm_head`, `head`) takes no part in SAM: the encoder ends before it."""
    unused = ("image_encoder.norm_head.", "image_encoder.head.")
    return None if name.startswith(unused) else name


def build() -> Sam:
    """An untrained MobileSAM or TinySAM."""
    from exporter.models.mask_decoder import DecoderSize
    from exporter.models.sam import Geometry, Sam
    from exporter.models.tiny_vit import TinyViT, TinyViTSize

    return Sam(TinyViT(TinyViTSize()), Geometry(1024, 64), DecoderSize()).eval()


_LAYOUTS = (Layout("segment-anything", rename, build),)

VARIANTS = (
    Variant(
        name="mobile_sam",
        family="tiny_vit",
        summary="MobileSAM: TinyViT-5M image encoder",
        parameters=10_130_092,
        embedding=(1, 256, 64, 64),
        preprocess=PREPROCESS,
        mask=MASK,
        mask_tokens=4,
        licence=APACHE,
        repository="https://github.com/ChaoningZhang/MobileSAM",
        paper="arXiv:2306.14289",
        published=Published(
            "mobile_sam.pt",
            "https://raw.githubusercontent.com/ChaoningZhang/MobileSAM/master/weights/mobile_sam.pt",
        ),
        layouts=_LAYOUTS,
    ),
    Variant(
        name="tinysam",
        family="tiny_vit",
        summary="TinySAM: TinyViT-5M distilled with hard prompts",
        parameters=10_130_092,
        embedding=(1, 256, 64, 64),
        preprocess=PREPROCESS,
        mask=dataclasses.replace(MASK, single=-1),
        mask_tokens=4,
        licence=APACHE,
        repository="https://github.com/xinghaochen/TinySAM",
        paper="arXiv:2312.13789",
        published=Published(
            "tinysam_42.3.pth",
            "https://github.com/xinghaochen/TinySAM/releases/download/3.0/tinysam_42.3.pth",
        ),
        layouts=_LAYOUTS,
    ),
)
