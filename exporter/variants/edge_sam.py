"""EdgeSAM (Zhou et al. 2023, arXiv 2312.06660): RepViT-M1 distilled with prompts in the loop.

`edge_sam` and `edge_sam_3x` are one network; the second was trained on three times the images.
The image embedding is the published predictor's: its last stage is resized bicubically. (The ONNX
and Core ML files that the authors publish resize bilinearly, so their embeddings differ.)
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from exporter.bundle.licence import Licence
from exporter.variants import Layout, Published, Sizes, Variant
from exporter.variants.sam import MASK, PREPROCESS

if TYPE_CHECKING:
    from exporter.models.sam import Sam

S_LAB = Licence(
    "NTU S-Lab License 1.0",
    "https://github.com/chongzhou96/EdgeSAM/blob/master/LICENSE",
    commercial_use=False,
)
WEIGHTS = "https://huggingface.co/spaces/chongzhou/EdgeSAM/resolve/main/weights"


def rename(name: str) -> str | None:
    """Drop the box detector (`fpn`, `rpn_head`), which takes no part in segmenting.

    The authors' `scripts/convert_weights.py` adds it to a checkpoint on request.
    """
    return None if name.startswith(("fpn.", "rpn_head.")) else name


def build(image_size: int = PREPROCESS.size) -> Sam:
    """Build an untrained EdgeSAM; its last stage has a cell for each 32 pixels."""
    from exporter.models.repvit import EdgeRepViT
    from exporter.models.sam import Sam, geometry

    shape = geometry(image_size)
    return Sam(EdgeRepViT(grid=shape.grid), shape).eval()


def _variant(name: str, summary: str) -> Variant:
    return Variant(
        name=name,
        family="edge_sam",
        summary=summary,
        parameters=9_582_112,
        preprocess=PREPROCESS,
        mask=MASK,
        licence=S_LAB,
        repository="https://github.com/chongzhou96/EdgeSAM",
        paper="arXiv:2312.06660",
        published=Published(f"{name}.pth", f"{WEIGHTS}/{name}.pth"),
        layouts=(Layout("segment-anything", rename, build),),
        stability=STABILITY,
        sizes=Sizes(step=32),
    )


STABILITY = dataclasses.replace(MASK, single=-1, multi=(0, 1, 2, 3), score="stability")
"""With this score the published decoders return all four masks, and the demo takes the best. The
IoU token was not distilled, so the authors advise this score."""

VARIANTS = (
    _variant("edge_sam", "EdgeSAM: RepViT-M1 image encoder, not for commercial use"),
    _variant("edge_sam_3x", "EdgeSAM trained on 3 % of SA-1B, not for commercial use"),
)
