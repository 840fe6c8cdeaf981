"""MobileSAM (Zhang et al. 2023, arXiv 2306.14289): TinyViT-5M before SAM's decoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporter.variants import Layout, Published, Sizes, Variant
from exporter.variants.sam import APACHE, MASK, PREPROCESS, STABLE

if TYPE_CHECKING:
    from exporter.models.sam import Sam


def rename(name: str) -> str | None:
    """Drop TinyViT's classifier (`norm_head`, `head`), which takes no part in SAM."""
    unused = ("image_encoder.norm_head.", "image_encoder.head.")
    return None if name.startswith(unused) else name


def build(image_size: int = PREPROCESS.size) -> Sam:
    """Build an untrained MobileSAM (TinySAM has the same network)."""
    from exporter.models.sam import Sam, geometry
    from exporter.models.tiny_vit import TinyViT, TinyViTSize

    return Sam(TinyViT(TinyViTSize(image_size)), geometry(image_size)).eval()


SIZES = Sizes(step=16)
"""Of a TinyViT: a window's biases know nothing of the map around it, and a map is padded to whole
windows."""
LAYOUTS = (Layout("segment-anything", rename, build),)

VARIANTS = (
    Variant(
        name="mobile_sam",
        family="mobile_sam",
        summary="MobileSAM: TinyViT-5M image encoder",
        parameters=9_808_452,
        preprocess=PREPROCESS,
        mask=MASK,
        licence=APACHE,
        repository="https://github.com/ChaoningZhang/MobileSAM",
        paper="arXiv:2306.14289",
        published=Published(
            "mobile_sam.pt",
            "https://raw.githubusercontent.com/ChaoningZhang/MobileSAM/master/weights/mobile_sam.pt",
        ),
        layouts=LAYOUTS,
        stability=STABLE,
        sizes=SIZES,
    ),
)
