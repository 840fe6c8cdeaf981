"""SAM 2's tensors as transformers names them: `Sam2Model`, and `Sam2VideoModel` around it.

The four embeddings of prompt labels are one tensor there, and the positional matrix is stored
twice. The hub's own files are the video model's, whose other parts are not used for an image.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

SCORE = ("mask_decoder.pred_obj_score_head.",)
"""Whether an object is seen; the image predictor never asks."""

UNUSED = (
    *SCORE,
    "memory_attention.",  # looks at earlier frames
    "memory_encoder.",  # makes a frame's memory
    "memory_temporal_positional_encoding",  # how long ago a memory was
    "no_memory_positional_encoding",  # position of the memory that a first frame does not have
    "mask_downsample.",  # a given mask as an object pointer
    "object_pointer_proj.",  # object pointers
    "no_object_pointer",  # pointer of an object that is not seen
)
"""Prefixes of tensors for the video alone."""

UNUSED_2_1 = (
    "occlusion_spatial_embedding_parameter",  # memory of an object that is not seen
    "temporal_positional_encoding_projection_layer.",  # how long ago an object pointer was
)
"""Prefixes of tensors for the video alone, in 2.1 only."""

MARKS = ("memory_temporal_positional_encoding",)
"""A tensor of the video model, which the image model lacks."""
MARKS_2_1 = (*MARKS, "occlusion_spatial_embedding_parameter")

_POINTS = "prompt_encoder.point_embed.weight"
_MLP = r"(mask_decoder\.(?:iou_prediction_head|output_hypernetworks_mlps\.\d))"

# Every pattern whose words are in a name is applied, in this order.
_OURS = (
    (
        r"^vision_encoder\.backbone\.patch_embed\.projection\.",
        "image_encoder.trunk.patch_embed.proj.",
    ),
    (r"^vision_encoder\.backbone\.", "image_encoder.trunk."),
    (r"^vision_encoder\.neck\.convs\.(\d)\.", r"image_encoder.neck.convs.\1.conv."),
    (r"^no_memory_embedding$", "image_encoder.no_mem_embed"),
    (r"^mask_decoder\.conv_s", "image_encoder.conv_s"),
    (r"^(image_encoder\.trunk\.blocks\.\d+\.mlp)\.proj_in\.", r"\1.layers.0."),
    (r"^(image_encoder\.trunk\.blocks\.\d+\.mlp)\.proj_out\.", r"\1.layers.1."),
    (r"^(mask_decoder\.transformer\.layers\.\d\.mlp)\.proj_in\.", r"\1.lin1."),
    (r"^(mask_decoder\.transformer\.layers\.\d\.mlp)\.proj_out\.", r"\1.lin2."),
    (rf"^{_MLP}\.layers\.0\.", r"\1.layers.1."),
    (rf"^{_MLP}\.proj_in\.", r"\1.layers.0."),
    (rf"^{_MLP}\.proj_out\.", r"\1.layers.2."),
    (r"\.layer_norm_final_attn\.", ".norm_final_attn."),
    (r"\.layer_norm(\d)\.", r".norm\1."),
    (r"\.o_proj\.", ".out_proj."),
    (r"^mask_decoder\.upscale_conv1\.", "mask_decoder.output_upscaling.0."),
    (r"^mask_decoder\.upscale_layer_norm\.", "mask_decoder.output_upscaling.1."),
    (r"^mask_decoder\.upscale_conv2\.", "mask_decoder.output_upscaling.3."),
    (
        r"^(?:shared_image_embedding|prompt_encoder\.shared_embedding)\.positional_embedding$",
        "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix",
    ),
    (r"^prompt_encoder\.mask_embed\.conv1\.", "prompt_encoder.mask_downscaling.0."),
    (r"^prompt_encoder\.mask_embed\.norm1\.", "prompt_encoder.mask_downscaling.1."),
    (r"^prompt_encoder\.mask_embed\.conv2\.", "prompt_encoder.mask_downscaling.3."),
    (r"^prompt_encoder\.mask_embed\.norm2\.", "prompt_encoder.mask_downscaling.4."),
    (r"^prompt_encoder\.mask_embed\.conv3\.", "prompt_encoder.mask_downscaling.6."),
)


def rename(name: str, *, unused: tuple[str, ...]) -> str | None:
    """Translate a name to ours; None for the video's tensors (`unused`)."""
    if name.startswith(unused):
        return None
    for pattern, ours in _OURS:
        name = re.sub(pattern, ours, name)
    return name


def restore(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Split the embeddings of prompt labels (4, C) into four of (1, C)."""
    apart = dict(tensors)
    points = apart.get(_POINTS)
    if points is not None and points.dim() == 2:
        del apart[_POINTS]
        for label, row in enumerate(points[:, None]):
            apart[f"prompt_encoder.point_embeddings.{label}.weight"] = row
    return apart
