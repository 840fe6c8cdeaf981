"""SqueezeSAM (Varadarajan et al. 2023, arXiv 2312.06736): a U-Net that takes prompts as pictures.

Its code and its checkpoint were public for three weeks, in the history of yformer/EfficientSAM
(3477a43 is the last commit with both). The layout here is derived from that code; no copy of the
checkpoint was at hand, so neither it nor its numbers are verified against the real file. The paper
gives other sizes (14 MB in int8) than this network's 10.2 million parameters.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from exporter.bundle.rules import DrawnPrompts, MaskRule, Preprocess
from exporter.variants import Drawn, Layout, Published, Variant
from exporter.variants.sam import APACHE

if TYPE_CHECKING:
    from torch import nn

SIZE = 512
REPOSITORY = "https://github.com/yformer/EfficientSAM"
COMMIT = "3477a435dea34ac50838d7e8cd37f97e12a7caa4"

# Published part of a name -> ours, applied one after another.
_NAMES = (
    (r"^patch_embed\.proj\.0\.", "patch_embed."),
    (r"^patch_embed\.proj\.1\.", "patch_norm."),
    (r"^unet_encoder\.down_layers\.", "encoder."),
    (r"^unet_decoder\.unet_upscaling_layers\.", "decoder."),
    (r"^get_iou_predictions_and_mask_tokens\.(transformer\.)?", "transformer."),
    (r"^mask_decoder\.output_hypernetworks_mlps\.", "hypernetworks."),
    (r"^mask_decoder\.iou_prediction_head\.", "iou_head."),
    (r"\.maxpool_conv\.1\.", "."),
    (r"\.double_conv\.", "."),
    (r"\.conv\.0\.(weight|bias)$", r".conv.\1"),
    (r"\.upsampler_linear\.0\.", ".linear."),
    (r"\.mlp\.layers\.0\.0\.", ".mlp.layers.0."),
    (r"\.mlp\.fc\.", ".mlp.layers.1."),
    (r"^((hypernetworks\.\d+|iou_head)\.layers\.\d)\.0\.", r"\1."),
    (r"^(hypernetworks\.\d+|iou_head)\.fc\.", r"\1.layers.2."),
)


def rename(name: str) -> str | None:
    """`unet_encoder.down_layers.0.double_conv.1.conv.0.bias` -> `encoder.0.1.conv.bias`."""
    for published, ours in _NAMES:
        name = re.sub(published, ours, name)
    return name


def build() -> nn.Module:
    """Build an untrained SqueezeSAM."""
    from exporter.models.squeeze_sam import SqueezeSam

    return SqueezeSam().eval()


VARIANTS = (
    Variant(
        name="squeeze_sam",
        family="squeeze_sam",
        summary="SqueezeSAM: one U-Net, the prompt drawn into its input (not verified)",
        parameters=10_159_260,
        preprocess=Preprocess(
            resize="stretch",
            size=SIZE,
            interpolation="float_bilinear_plain",
            pad_value=(0.0, 0.0, 0.0),
            mean=(123.675, 116.28, 103.53),
            std=(58.395, 57.12, 57.375),
        ),
        mask=MaskRule(
            threshold=0.0,
            single=-1,
            multi=(1, 2, 3),
            upscale="bicubic_once",
            low_res_size=SIZE // 2,
        ),
        prompting=Drawn(
            DrawnPrompts(box_channel=0, point_channel=1, radius=5.0, background_points=False)
        ),
        licence=APACHE,
        repository=REPOSITORY,
        paper="arXiv:2312.06736",
        published=Published(
            "squeeze_sam.pt",
            f"https://raw.githubusercontent.com/yformer/EfficientSAM/{COMMIT}/weights/squeeze_sam.pt",
        ),
        layouts=(Layout("squeeze-sam", rename, build),),
    ),
)
