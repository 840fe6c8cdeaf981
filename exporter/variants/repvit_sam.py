"""RepViT-SAM (Wang et al. 2023, arXiv 2312.05760): RepViT before SAM's decoder.

The published file is the network's training state, with separate batch norms and parallel branches;
they are folded when the model is frozen. Nothing in the file is unused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporter.variants import Layout, Published, Sizes, Variant
from exporter.variants.sam import APACHE, MASK, PREPROCESS, STABLE, published_names

if TYPE_CHECKING:
    from exporter.models.sam import Sam


def build(image_size: int = PREPROCESS.size) -> Sam:
    """Build an untrained RepViT-SAM; its encoder is convolutions alone, so of any size."""
    from exporter.models.repvit import RepViT
    from exporter.models.sam import Sam, geometry

    return Sam(RepViT(), geometry(image_size)).eval()


VARIANTS = (
    Variant(
        name="repvit_sam",
        family="repvit_sam",
        summary="RepViT-SAM: RepViT-M2.3 image encoder",
        parameters=27_223_480,
        preprocess=PREPROCESS,
        mask=MASK,
        licence=APACHE,
        repository="https://github.com/THU-MIG/RepViT",
        paper="arXiv:2312.05760",
        published=Published(
            "repvit_sam.pt",
            "https://github.com/THU-MIG/RepViT/releases/download/v1.0/repvit_sam.pt",
        ),
        layouts=(Layout("segment-anything", published_names, build),),
        stability=STABLE,
        sizes=Sizes(step=16),
    ),
)
