"""SAM (Kirillov et al. 2023, arXiv 2304.02643): ViT-B, ViT-L, ViT-H.

Two layouts are published: segment-anything's own files, and Hugging Face `SamModel`. They differ in
names and in one number, the epsilon of the decoder's layer norms: 1e-5 in the first, 1e-6 in the
second.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from exporter.bundle.licence import Licence
from exporter.bundle.rules import MaskRule, Preprocess
from exporter.variants import Layout, Published, Sizes, Variant

if TYPE_CHECKING:
    from exporter.models.sam import Sam

MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)

PREPROCESS = Preprocess(
    resize="longest_side",
    size=1024,
    interpolation="pillow_bilinear",
    pad_value=MEAN,
    mean=MEAN,
    std=STD,
)
MASK = MaskRule(threshold=0.0, single=0, multi=(1, 2, 3), upscale="bilinear", low_res_size=256)
STABLE = dataclasses.replace(MASK, score="stability")
"""`--use-stability-score` of segment-anything's ONNX export, which other projects adopted."""
SIZES = Sizes(step=16, most=1536, patch=16)
"""Of a ViT. At 1536 pixels a global block's attention has five times the weights of 1024."""
APACHE = Licence("Apache-2.0", "https://www.apache.org/licenses/LICENSE-2.0", commercial_use=True)


@dataclass(frozen=True)
class _Row:
    name: str
    size: str
    parameters: int
    file: str


_ROWS = (
    _Row("sam_vit_b", "B", 93_735_472, "sam_vit_b_01ec64.pth"),
    _Row("sam_vit_l", "L", 312_342_832, "sam_vit_l_0b3195.pth"),
    _Row("sam_vit_h", "H", 641_090_608, "sam_vit_h_4b8939.pth"),
)

# Hugging Face's name -> segment-anything's, first match wins; applied to the whole name.
_HUGGING_FACE = (
    (r"^vision_encoder\.layers\.(\d+)\.layer_norm", r"image_encoder.blocks.\1.norm"),
    (r"^vision_encoder\.layers\.", "image_encoder.blocks."),
    (r"^vision_encoder\.patch_embed\.projection\.", "image_encoder.patch_embed.proj."),
    (r"^vision_encoder\.neck\.conv1\.", "image_encoder.neck.0."),
    (r"^vision_encoder\.neck\.layer_norm1\.", "image_encoder.neck.1."),
    (r"^vision_encoder\.neck\.conv2\.", "image_encoder.neck.2."),
    (r"^vision_encoder\.neck\.layer_norm2\.", "image_encoder.neck.3."),
    (r"^vision_encoder\.", "image_encoder."),
    (
        r"^(?:shared_image_embedding|prompt_encoder\.shared_embedding)\.positional_embedding$",
        "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix",
    ),
    (r"^prompt_encoder\.point_embed\.", "prompt_encoder.point_embeddings."),
    (r"^prompt_encoder\.mask_embed\.conv1\.", "prompt_encoder.mask_downscaling.0."),
    (r"^prompt_encoder\.mask_embed\.layer_norm1\.", "prompt_encoder.mask_downscaling.1."),
    (r"^prompt_encoder\.mask_embed\.conv2\.", "prompt_encoder.mask_downscaling.3."),
    (r"^prompt_encoder\.mask_embed\.layer_norm2\.", "prompt_encoder.mask_downscaling.4."),
    (r"^prompt_encoder\.mask_embed\.conv3\.", "prompt_encoder.mask_downscaling.6."),
    (r"^mask_decoder\.upscale_conv1\.", "mask_decoder.output_upscaling.0."),
    (r"^mask_decoder\.upscale_layer_norm\.", "mask_decoder.output_upscaling.1."),
    (r"^mask_decoder\.upscale_conv2\.", "mask_decoder.output_upscaling.3."),
    (r"^(mask_decoder\..*)\.proj_in\.", r"\1.layers.0."),
    (r"^(mask_decoder\.(?:output_hyper|iou_pred).*)\.layers\.0\.", r"\1.layers.1."),
    (r"^(mask_decoder\..*)\.proj_out\.", r"\1.layers.2."),
    (
        r"^mask_decoder\.transformer\.layer_norm_final_attn\.",
        "mask_decoder.transformer.norm_final_attn.",
    ),
    (r"^(mask_decoder\.transformer\.layers\.\d+)\.layer_norm", r"\1.norm"),
)


def published_names(name: str) -> str:
    """Keep segment-anything's own names."""
    return name


def hugging_face_names(name: str) -> str:
    """Translate `SamModel`'s name of a tensor to segment-anything's.

    The positional embedding is one tied tensor that a file may hold under either name or both;
    `load_strict` accepts two names for one tensor if their values are equal.
    """
    for pattern, ours in _HUGGING_FACE:
        renamed, count = re.subn(pattern, ours, name)
        if count:
            return renamed
    return name


def _build(size: str, layer_eps: float, image_size: int = PREPROCESS.size) -> Sam:
    from exporter.models import vit
    from exporter.models.mask_decoder import DecoderSize
    from exporter.models.sam import Sam, geometry

    encoder = vit.ViT(dataclasses.replace(vit.SIZES[size], image_size=image_size))
    return Sam(encoder, geometry(image_size), DecoderSize(layer_eps=layer_eps)).eval()


def _variant(row: _Row) -> Variant:
    return Variant(
        name=row.name,
        family="sam",
        summary=f"Segment Anything, ViT-{row.size} image encoder",
        parameters=row.parameters,
        preprocess=PREPROCESS,
        mask=MASK,
        licence=APACHE,
        repository="https://github.com/facebookresearch/segment-anything",
        paper="arXiv:2304.02643",
        published=Published(
            row.file,
            f"https://dl.fbaipublicfiles.com/segment_anything/{row.file}",
            # The published file name ends with the first digits of its sha256.
            row.file.rsplit("_", 1)[1].removesuffix(".pth"),
        ),
        layouts=(
            Layout("segment-anything", published_names, functools.partial(_build, row.size, 1e-5)),
            Layout("hugging-face", hugging_face_names, functools.partial(_build, row.size, 1e-6)),
        ),
        stability=STABLE,
        sizes=SIZES,
    )


VARIANTS = tuple(_variant(row) for row in _ROWS)
