"""RAP-SAM (Xu et al. 2024, arXiv 2401.10228): prompts and panoptic masks off one encoder.

A prompt is one point or one box; there is no background point, no second point on an object and no
earlier mask. The published code pads each picture to a multiple of 32 of its own, sums over that
padding, and so answers for that size: a graph has one, and gives the published numbers for the
pictures that have it (`--input-size`). The weights are on a drive, which no program downloads.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

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
    (r"^panoptic_head\.panoptic_cls\.0\.", "panoptic.classes."),
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
