"""RAP-SAM (Xu et al. 2024, arXiv 2401.10228): prompts and panoptic masks off one encoder.

A prompt is one point or one box; there is no background point, no second point on an object and no
earlier mask. The published code pads each picture to a multiple of 32 of its own, sums over that
padding, and so answers for that size: a graph has one, and gives the published numbers for the
pictures that have it (`--input-size`). The weights are on a drive, which no program downloads.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

from exporter.bundle.licence import Licence
from exporter.bundle.rules import MaskRule, Preprocess
from exporter.variants import Layout, Panoptic, Published, Sizes, Slots, Variant

if TYPE_CHECKING:
    from torch import nn

MIT = Licence("MIT", "https://github.com/xushilin1/RAP-SAM/blob/main/LICENSE", commercial_use=True)
MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)
INPUT = (800, 1344)
"""Of a photograph of 5 to 3, as the published test resizes and pads it."""
LIMITS = (1333, 800)
STRIDE, STEP = 4, 32

PREPROCESS = Preprocess(
    resize="within",
    size=max(INPUT),
    interpolation="opencv_bilinear",
    pad_value=MEAN,
    mean=MEAN,
    std=STD,
    sides=INPUT,
    limits=LIMITS,
)
MASK = MaskRule(
    threshold=0.0, single=0, multi=(0,), upscale="bilinear", low_res_size=max(INPUT) // STRIDE
)

# Published part of a name -> ours, the first that matches.
_NAMES = (
    (r"^backbone\.", "image_encoder.backbone."),
    (r"^neck\.deconv\.deform_conv(\d)\.dcn", r"image_encoder.fusion.up\1.deformable.dcn"),
    (r"^neck\.deconv\.deform_conv(\d)\.", r"image_encoder.fusion.up\1."),
    (r"^neck\.deconv\.", "image_encoder.fusion."),
    (r"^neck\.loc_conv\.", "image_encoder.loc_conv."),
    (r"^panoptic_head\.mask_heads\.(\d)\.ffn\.layers\.0\.0\.", r"mask_decoder.stages.\1.ffn.0."),
    (r"^panoptic_head\.mask_heads\.(\d)\.ffn\.layers\.1\.", r"mask_decoder.stages.\1.ffn.2."),
    (r"^panoptic_head\.mask_heads\.", "mask_decoder.stages."),
    (r"^panoptic_head\.kernels\.", "panoptic.kernels."),
    (r"^panoptic_head\.panoptic_attn\.", "panoptic.update."),
    (r"^panoptic_head\.panoptic_cls\.0\.", "panoptic.project."),
    (r"^panoptic_head\.", "mask_decoder."),
)
_TRAINING = re.compile(r"^panoptic_head\.mask_heads\.\d\.(cls_fcs|cls_proj|iou_embed)\.")
"""Classes and IoUs of the stages, which only their losses read: the adapters' are the answer."""


def rename(name: str) -> str | None:
    """`neck.deconv.deform_conv1.dcn.weight` -> `image_encoder.fusion.up1.deformable.dcn.weight`."""
    if _TRAINING.match(name):
        return None
    for published, ours in _NAMES:
        if re.match(published, name):
            return re.sub(published, ours, name)
    return name


def build(image_size: tuple[int, int] = INPUT) -> nn.Module:
    """Build an untrained RAP-SAM for an input of that height and width."""
    from exporter.models.rap_sam import RapSam, RapSamSize

    return RapSam(RapSamSize(input_size=image_size)).eval()


VARIANTS = (
    Variant(
        name="rap_sam_r50",
        family="rap_sam",
        summary="RAP-SAM, ResNet-50: a point or a box, and panoptic masks with --classifier",
        parameters=45_671_698,
        preprocess=PREPROCESS,
        mask=MASK,
        prompting=Slots(
            embedding=(1, 256, INPUT[0] // STRIDE, INPUT[1] // STRIDE),
            mask_tokens=1,
            takes_mask=False,
            most=2,
            pad_without_box=False,
            point_or_box=True,
            graphs=("image_encoder", "box_decoder"),
        ),
        licence=MIT,
        repository="https://github.com/xushilin1/RAP-SAM",
        paper="arXiv:2401.10228",
        published=Published(
            "rapsam_r50_12e.pth", "https://github.com/xushilin1/RAP-SAM", by_hand=True
        ),
        layouts=(Layout("rap-sam", rename, functools.partial(build)),),
        sizes=Sizes(step=STEP, any_aspect=True),
        panoptic=Panoptic(width=768),
    ),
)
