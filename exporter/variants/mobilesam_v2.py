"""MobileSAMv2 (Zhang et al. 2023, arXiv 2312.09579): three image encoders, one retrained decoder.

The decoder, trained for boxes, is a file of its own in the repository; the encoders are in one
archive on Google Drive. The detector that proposes boxes in the published segment-everything (a
YOLOv8, under the AGPL) is not included: prompts come from the app.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporter.variants import (
    DECODER_PARTS,
    ENCODER_PARTS,
    Layout,
    Published,
    SecondFile,
    Sizes,
    Variant,
    mobile_sam,
    sam,
)
from exporter.variants.sam import APACHE, MASK, PREPROCESS

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from exporter.models.sam import Sam

_ARCHIVE = "https://drive.google.com/file/d/1dE-YAG-1mFCBmao2rHDp0n-PP4eH7SjE/view"
_REPOSITORY = "https://raw.githubusercontent.com/ChaoningZhang/MobileSAM/master/MobileSAMv2"
_DECODER_FILE = "Prompt_guided_Mask_Decoder.pt"


def encoder_names(name: str) -> str:
    """Prefix the names of `sam_vit_h.pt`, which holds the image encoder alone."""
    return ENCODER_PARTS[0] + name


def tiny_vit_names(name: str) -> str | None:
    """Prefix the names and drop TinyViT's classifier (`norm_head`, `head`), no part of SAM."""
    return mobile_sam.rename(encoder_names(name))


def efficientvit_names(name: str) -> str | None:
    """Keep the image encoder, as the published loader does, and drop the rest of `l2.pt`."""
    return name if name.startswith(ENCODER_PARTS) else None


def decoder_names(name: str) -> str:
    """Join the names of two state dicts in one file; the missing letter is published so."""
    for published, ours in zip(("PromtEncoder.", "MaskDecoder."), DECODER_PARTS, strict=True):
        if name.startswith(published):
            return ours + name.removeprefix(published)
    return name


def _build_efficientvit() -> Sam:
    from exporter.models.efficientvit import EfficientViTSize, HalvedEfficientViT
    from exporter.models.sam import Sam

    size = EfficientViTSize(512, depths=(1, 2, 2, 8, 8), neck_depth=12)
    return Sam(HalvedEfficientViT(size)).eval()


def _variant(
    name: str, parameters: int, encoder: str, file: str, layout: Layout, sizes: Sizes | None = None
) -> Variant:
    return Variant(
        name=f"mobilesam_v2_{name}",
        family="mobilesam_v2",
        summary=f"MobileSAMv2: {encoder} image encoder, decoder retrained for boxes",
        parameters=parameters,
        preprocess=PREPROCESS,
        mask=MASK,
        licence=APACHE,
        repository="https://github.com/ChaoningZhang/MobileSAM",
        paper="arXiv:2312.09579",
        published=Published(file, _ARCHIVE, by_hand=True),
        layouts=(layout,),
        decoder=SecondFile(
            Published(_DECODER_FILE, f"{_REPOSITORY}/PromptGuidedDecoder/{_DECODER_FILE}"),
            # Any module with SAM's decoder will do: its encoder is ignored.
            (Layout("prompt-guided", decoder_names, mobile_sam.build, parts=DECODER_PARTS),),
        ),
        sizes=sizes,
    )


def _layout(rename: Callable[[str], str | None], build: Callable[[], nn.Module]) -> Layout:
    return Layout("mobilesam-v2", rename, build, parts=ENCODER_PARTS)


_VIT_H = next(v for v in sam.VARIANTS if v.name == "sam_vit_h")

VARIANTS = (
    _variant(
        "tiny_vit",
        9_808_452,
        "TinyViT-5M",
        "mobile_sam.pt",
        _layout(tiny_vit_names, mobile_sam.build),
        mobile_sam.SIZES,
    ),
    _variant(
        "efficientvit_l2",
        61_328_592,
        "EfficientViT-L2",
        "l2.pt",
        _layout(efficientvit_names, _build_efficientvit),
    ),
    _variant(
        "sam_vit_h",
        641_090_608,
        "SAM's ViT-H",
        "sam_vit_h.pt",
        _layout(encoder_names, _VIT_H.layouts[0].build),
        sam.SIZES,
    ),
)
