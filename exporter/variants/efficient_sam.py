"""EfficientSAM (Xiong et al. 2023, arXiv 2312.00863): a plain ViT pretrained to see as SAM does.

A set holds six prompts, corners of a box included; the published code reads no more. It takes no
earlier mask. Its `forward` returns mask tokens 1..3 and its examples take the one with the highest
predicted IoU, hence `single` is -1: token 0 exists, but the authors advise against it
(yformer/EfficientSAM, issue 36). The small variant is published inside a .zip: unpack it and pass
the file by `--checkpoint`.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from exporter.bundle.rules import MaskRule, Preprocess
from exporter.variants import Layout, Published, Sizes, Slots, Variant
from exporter.variants.sam import APACHE

if TYPE_CHECKING:
    from exporter.models.efficient_sam import EfficientSam

# Published for pixels in 0..1; the graph takes 0..255.
MEAN = (0.485 * 255, 0.456 * 255, 0.406 * 255)
STD = (0.229 * 255, 0.224 * 255, 0.225 * 255)

PREPROCESS = Preprocess(
    resize="stretch",
    size=1024,
    interpolation="float_bilinear_plain",
    pad_value=MEAN,
    mean=MEAN,
    std=STD,
)
MASK = MaskRule(threshold=0.0, single=-1, multi=(1, 2, 3), upscale="bicubic_once", low_res_size=256)
REPOSITORY = "https://github.com/yformer/EfficientSAM"

# Published name -> ours, every match.
_NAMES = (
    (r"^image_encoder\.(pos_embed|patch_embed|blocks)", r"image_encoder.trunk.\1"),
    (r"^(image_encoder\..*\.mlp)\.fc1\.", r"\1.layers.0."),
    (r"^(image_encoder\..*\.mlp)\.fc2\.", r"\1.layers.1."),
    (r"^image_encoder\.neck\.0\.", "image_encoder.neck.convs.0.conv_1x1."),
    (r"^image_encoder\.neck\.1\.", "image_encoder.neck.convs.0.norm_0."),
    (r"^image_encoder\.neck\.2\.", "image_encoder.neck.convs.0.conv_3x3."),
    (r"^image_encoder\.neck\.3\.", "image_encoder.neck.convs.0.norm_1."),
    (r"^prompt_encoder\.invalid_points\.", "prompt_encoder.not_a_point_embed."),
    (r"^prompt_encoder\.point_embeddings\.", "prompt_encoder.point_embeddings.0."),
    (r"^prompt_encoder\.bbox_top_left_embeddings\.", "prompt_encoder.point_embeddings.1."),
    (r"^prompt_encoder\.bbox_bottom_right_embeddings\.", "prompt_encoder.point_embeddings.2."),
    (r"^mask_decoder\.final_output_upscaling_layers\.0\.", "mask_decoder.output_upscaling."),
    (r"^mask_decoder\.final_output_upscaling_layers\.1\.0\.", "mask_decoder.output_upscaling.3."),
    (r"^(mask_decoder\.transformer\..*\.mlp)\.layers\.0\.0\.", r"\1.lin1."),
    (r"^(mask_decoder\.transformer\..*\.mlp)\.fc\.", r"\1.lin2."),
    (r"^(mask_decoder\.(?:output|iou)_.*\.layers\.\d)\.0\.", r"\1."),
    (r"^(mask_decoder\.(?:output|iou)_.*)\.fc\.", r"\1.layers.2."),
)


@dataclass(frozen=True)
class _Row:
    letter: str
    word: str
    parameters: int
    zipped: bool


_ROWS = (
    _Row("t", "tiny", 10_223_204, zipped=False),
    _Row("s", "small", 26_413_028, zipped=True),
)


def rename(name: str) -> str:
    """Translate a published tensor's name to ours."""
    for pattern, ours in _NAMES:
        name = re.sub(pattern, ours, name)
    return name


def _build(row: _Row, image_size: int = PREPROCESS.size) -> EfficientSam:
    from exporter.models.efficient_sam import EfficientSam
    from exporter.models.efficient_tam import SIZES

    size = dataclasses.replace(SIZES[row.word], image_size=image_size)
    return EfficientSam(dataclasses.replace(size, global_blocks=tuple(range(size.depth)))).eval()


def _published(row: _Row) -> Published:
    file = f"efficient_sam_vit{row.letter}.pt"
    if row.zipped:
        return Published(file, f"{REPOSITORY}/blob/main/weights/{file}.zip", by_hand=True)
    return Published(file, f"{REPOSITORY}/raw/main/weights/{file}")


def _variant(row: _Row) -> Variant:
    return Variant(
        name=f"efficient_sam_vit{row.letter}",
        family="efficient_sam",
        summary=f"EfficientSAM, ViT-{row.word} image encoder; six prompts, no earlier mask",
        parameters=row.parameters,
        preprocess=PREPROCESS,
        mask=MASK,
        prompting=Slots(takes_mask=False, most=6, pad_without_box=False),
        licence=APACHE,
        repository=REPOSITORY,
        paper="arXiv:2312.00863",
        published=_published(row),
        layouts=(Layout("efficient-sam", rename, functools.partial(_build, row)),),
        # A setting of the published classes, which resize the position embedding to any grid; the
        # published builders set 1024.
        sizes=Sizes(step=16, most=1536),
    )


VARIANTS = tuple(_variant(row) for row in _ROWS)
