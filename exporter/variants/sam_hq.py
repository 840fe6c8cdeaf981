"""SAM-HQ (Ke et al. 2023, arXiv 2306.01567): SAM and MobileSAM with sharper masks.

Two layouts are published: the authors' own files, and Hugging Face `SamHQModel` (ViT-B, L and H).
The names of both are read off the code; no file was at hand to check them against. The numbers are
those of the authors' code with given weights (`tests/conformance/cases`), for both layouts: the
`transformers` package, up to 5.23.0 at least, upscales the embedding its decoder was given, rows
and columns exchanged, and not the one its transformer gives, so its masks are not SAM-HQ's.

The authors' option `hq_token_only` (the high-quality token's mask alone) is not offered.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from exporter.variants import Layout, Published, Slots, Variant, mobile_sam
from exporter.variants.sam import APACHE, MASK, PREPROCESS, hugging_face_names

if TYPE_CHECKING:
    from exporter.models.sam import Sam


@dataclass(frozen=True)
class _Row:
    name: str
    encoder: str
    parameters: int
    width: int
    depth: int
    heads: int
    global_blocks: tuple[int, ...]
    file: str


_ROWS = (
    _Row("hq_vit_b", "ViT-B", 94_806_576, 768, 12, 12, (2, 5, 8, 11), "sam_hq_vit_b.pth"),
    _Row("hq_vit_l", "ViT-L", 313_676_080, 1024, 24, 16, (5, 11, 17, 23), "sam_hq_vit_l.pth"),
    _Row("hq_vit_h", "ViT-H", 642_686_000, 1280, 32, 16, (7, 15, 23, 31), "sam_hq_vit_h.pth"),
)
_LIGHT = _Row("light_hq", "TinyViT-5M", 10_256_964, 0, 0, 0, (), "sam_hq_vit_tiny.pth")

# Hugging Face's name -> the authors', for what SAM does not have; first match wins.
_HUGGING_FACE = (
    (r"^mask_decoder\.hq_token\.", "mask_decoder.hf_token."),
    (r"^mask_decoder\.hq_mask_mlp\.proj_in\.", "mask_decoder.hf_mlp.layers.0."),
    (r"^mask_decoder\.hq_mask_mlp\.layers\.0\.", "mask_decoder.hf_mlp.layers.1."),
    (r"^mask_decoder\.hq_mask_mlp\.proj_out\.", "mask_decoder.hf_mlp.layers.2."),
    (r"^mask_decoder\.compress_vit_conv1\.", "mask_decoder.compress_vit_feat.0."),
    (r"^mask_decoder\.compress_vit_norm\.", "mask_decoder.compress_vit_feat.1."),
    (r"^mask_decoder\.compress_vit_conv2\.", "mask_decoder.compress_vit_feat.3."),
    (r"^mask_decoder\.encoder_conv1\.", "mask_decoder.embedding_encoder.0."),
    (r"^mask_decoder\.encoder_norm\.", "mask_decoder.embedding_encoder.1."),
    (r"^mask_decoder\.encoder_conv2\.", "mask_decoder.embedding_encoder.3."),
    (r"^mask_decoder\.mask_conv1\.", "mask_decoder.embedding_maskfeature.0."),
    (r"^mask_decoder\.mask_norm\.", "mask_decoder.embedding_maskfeature.1."),
    (r"^mask_decoder\.mask_conv2\.", "mask_decoder.embedding_maskfeature.3."),
)


def published_names(name: str) -> str:
    """The authors' name -> ours: what depends on the image alone belongs to the encoder."""
    if name.startswith("image_encoder."):
        return name.replace("image_encoder.", "image_encoder.trunk.", 1)
    early = ("mask_decoder.compress_vit_feat.", "mask_decoder.embedding_encoder.")
    if name.startswith(early):
        return name.replace("mask_decoder.", "image_encoder.", 1)
    return name


def hugging_face_layout(name: str) -> str:
    """`SamHQModel`'s name of a tensor -> ours."""
    for pattern, theirs in _HUGGING_FACE:
        renamed, count = re.subn(pattern, theirs, name)
        if count:
            return published_names(renamed)
    return published_names(hugging_face_names(name))


def light_names(name: str) -> str | None:
    """As `published_names`, without TinyViT's classifier."""
    kept = mobile_sam.rename(name)
    return None if kept is None else published_names(kept)


def _build(row: _Row) -> Sam:
    from exporter.models.mask_decoder import DecoderSize
    from exporter.models.sam import Geometry
    from exporter.models.sam_hq import HqSam, TappedViT
    from exporter.models.vit import ViTSize

    size = ViTSize(row.width, row.depth, row.heads, row.global_blocks)
    geometry = Geometry(size.image_size, size.grid)
    return HqSam(TappedViT(size), geometry, DecoderSize()).eval()


def _build_light() -> Sam:
    from exporter.models.mask_decoder import DecoderSize
    from exporter.models.sam import Geometry
    from exporter.models.sam_hq import HqSam, TappedTinyViT
    from exporter.models.tiny_vit import TinyViTSize

    return HqSam(TappedTinyViT(TinyViTSize()), Geometry(1024, 64), DecoderSize()).eval()


def _variant(row: _Row, layouts: tuple[Layout, ...]) -> Variant:
    return Variant(
        name=row.name,
        family="sam_hq",
        summary=f"SAM-HQ, {row.encoder} image encoder: sharper masks",
        parameters=row.parameters,
        preprocess=PREPROCESS,
        mask=MASK,
        prompting=Slots(high_res=((1, 32, 256, 256),)),
        licence=APACHE,
        repository="https://github.com/SysCV/sam-hq",
        paper="arXiv:2306.01567",
        published=Published(
            row.file, f"https://huggingface.co/lkeab/hq-sam/resolve/main/{row.file}"
        ),
        layouts=layouts,
    )


def _layouts(row: _Row) -> tuple[Layout, ...]:
    build = functools.partial(_build, row)
    return (
        Layout("segment-anything", published_names, build),
        Layout("hugging-face", hugging_face_layout, build),
    )


VARIANTS = (
    *(_variant(row, _layouts(row)) for row in _ROWS),
    _variant(_LIGHT, (Layout("segment-anything", light_names, _build_light),)),
)
