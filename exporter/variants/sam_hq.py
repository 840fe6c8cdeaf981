"""SAM-HQ (Ke et al. 2023, arXiv 2306.01567): SAM and MobileSAM with sharper masks.

Two layouts are published: the authors' own files, and Hugging Face `SamHQModel` (ViT-B, L and H).
The names of both are read off the code; no file was at hand to check them against. For both layouts
the numbers equal the authors' code with given weights (`tests/conformance/cases`): the
`transformers` package, up to 5.23.0 at least, upscales the decoder's input embedding, with rows and
columns exchanged, instead of its transformer's output, so its masks are not SAM-HQ's.

The authors' option `hq_token_only` (the high-quality token's mask alone) is not offered.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from exporter.variants import Layout, Published, Sizes, Slots, Variant, mobile_sam, sam
from exporter.variants.sam import APACHE, MASK, PREPROCESS, hugging_face_names

if TYPE_CHECKING:
    from exporter.models.sam import Sam


@dataclass(frozen=True)
class _Row:
    name: str
    encoder: str
    parameters: int
    file: str


_ROWS = (
    _Row("hq_vit_b", "ViT-B", 94_806_576, "sam_hq_vit_b.pth"),
    _Row("hq_vit_l", "ViT-L", 313_676_080, "sam_hq_vit_l.pth"),
    _Row("hq_vit_h", "ViT-H", 642_686_000, "sam_hq_vit_h.pth"),
)
_LIGHT = _Row("light_hq", "TinyViT-5M", 10_256_964, "sam_hq_vit_tiny.pth")

# Hugging Face's name -> the authors', for parts that SAM does not have; first match wins.
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
    """Translate the authors' name to ours: parts that need the image alone are the encoder's."""
    if name.startswith("image_encoder."):
        return name.replace("image_encoder.", "image_encoder.trunk.", 1)
    early = ("mask_decoder.compress_vit_feat.", "mask_decoder.embedding_encoder.")
    if name.startswith(early):
        return name.replace("mask_decoder.", "image_encoder.", 1)
    return name


def hugging_face_layout(name: str) -> str:
    """Translate `SamHQModel`'s name of a tensor to ours."""
    for pattern, theirs in _HUGGING_FACE:
        renamed, count = re.subn(pattern, theirs, name)
        if count:
            return published_names(renamed)
    return published_names(hugging_face_names(name))


def light_names(name: str) -> str | None:
    """Translate as `published_names` does, and drop TinyViT's classifier."""
    kept = mobile_sam.rename(name)
    return None if kept is None else published_names(kept)


def _build(size: str, image_size: int = PREPROCESS.size) -> Sam:
    from exporter.models.sam import geometry
    from exporter.models.sam_hq import HqSam, TappedViT
    from exporter.models.vit import SIZES

    trunk = TappedViT(dataclasses.replace(SIZES[size], image_size=image_size))
    return HqSam(trunk, geometry(image_size)).eval()


def _build_light(image_size: int = PREPROCESS.size) -> Sam:
    from exporter.models.sam import geometry
    from exporter.models.sam_hq import HqSam, TappedTinyViT
    from exporter.models.tiny_vit import TinyViTSize

    return HqSam(TappedTinyViT(TinyViTSize(image_size)), geometry(image_size)).eval()


def _variant(row: _Row, layouts: tuple[Layout, ...], sizes: Sizes) -> Variant:
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
        sizes=sizes,
    )


def _layouts(row: _Row) -> tuple[Layout, ...]:
    build = functools.partial(_build, row.encoder.removeprefix("ViT-"))
    return (
        Layout("segment-anything", published_names, build),
        Layout("hugging-face", hugging_face_layout, build),
    )


VARIANTS = (
    *(_variant(row, _layouts(row), sam.SIZES) for row in _ROWS),
    _variant(_LIGHT, (Layout("segment-anything", light_names, _build_light),), mobile_sam.SIZES),
)
