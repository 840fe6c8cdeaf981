"""RWKV-SAM (Yuan et al. 2024, arXiv 2406.19369): convolutions and RWKV blocks before SAM's decoder.

No weights are published, and no configuration for inference: the small one's numbers are those of
its classes put together as the distillation configuration asks. `rwkv_sam` reads widths and depths
off the file: the code has tiny, base and large ones too.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from exporter.bundle.licence import Licence
from exporter.variants import Layout, Published, Sizes, Slots, Variant
from exporter.variants.sam import MASK, PREPROCESS

if TYPE_CHECKING:
    from torch import Tensor

    from exporter.models.rwkv_sam import RwkvSam

REPOSITORY = "https://github.com/HarborYuan/ovsam"
S_LAB = Licence("NTU S-Lab License 1.0", f"{REPOSITORY}/blob/main/LICENSE", commercial_use=False)

SIZES = Sizes(step=64, least=256, most=1536)
"""Nothing depends on the side but the number of tokens, which is 16 times a square number."""

_MIX, _MIX_IMAGE = "mask_decoder.mix_feat_proj.0.", "mask_decoder.mix_image."
_FEATURE = 32
"""Channels of the upscaled mask feature, before the maps' in the mix's first convolution."""

_OURS = (
    (r"^backbone\.", "image_encoder.backbone."),
    (r"^neck\.out_proj\.", "image_encoder.neck."),
    (r"^pe\.", "prompt_encoder."),
    (r"^mask_decoder\.mask_decoder\.", "mask_decoder."),
    (r"^mask_decoder\.(hr_feat_proj|mr_feat_proj|mix_image)\.", r"image_encoder.\1."),
)

MOST_WIDTHS = (160, 320, 1024)
"""The large one's. A file cannot ask for more."""
MOST_DEPTHS = (8, 16, 64)


def rename(name: str) -> str:
    """Translate a published name, or one of `split`, to ours: maps are made by the encoder."""
    for pattern, ours in _OURS:
        renamed, count = re.subn(pattern, ours, name)
        if count:
            return renamed
    return name


def split(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Split the mix's first convolution: the feature's share is the decoder's, the maps' is not."""
    found = dict(tensors)
    weight = found.get(f"{_MIX}weight")
    if weight is not None and weight.ndim == 4 and weight.shape[1] > _FEATURE:
        found[f"{_MIX}weight"] = weight[:, :_FEATURE]
        found[f"{_MIX_IMAGE}weight"] = weight[:, _FEATURE:]
        if f"{_MIX}bias" in found:
            found[f"{_MIX_IMAGE}bias"] = found.pop(f"{_MIX}bias")
    return found


def build(image_size: int = PREPROCESS.size) -> RwkvSam:
    """Build an untrained RWKV-SAM small."""
    from exporter.models.rwkv import RwkvSize
    from exporter.models.rwkv_sam import RwkvSam

    return RwkvSam(RwkvSize(image_size)).eval()


def build_for(
    shapes: Mapping[str, tuple[int, ...]], image_size: int = PREPROCESS.size
) -> RwkvSam | None:
    """Build an untrained RWKV-SAM of a file's widths and depths; None if they are no such ones.

    Args:
        shapes: of the file's tensors, by our names.
        image_size: side of the input.
    """
    from exporter.models.rwkv import RwkvSize
    from exporter.models.rwkv_sam import RwkvSam

    backbone = "image_encoder.backbone."
    maps = ("stem.conv2.weight", "conv_final_pool.norm.weight", "final_norm.weight")
    first, second, width = ((*shapes.get(backbone + name, ()), 0)[0] for name in maps)
    depths = (
        _count(shapes, f"{backbone}conv_stages.0."),
        _count(shapes, f"{backbone}conv_stages.1."),
        _count(shapes, f"{backbone}layers."),
    )
    asked = zip((first, second, width, *depths), MOST_WIDTHS + MOST_DEPTHS, strict=True)
    if not all(1 <= each <= most for each, most in asked) or width % 4:
        return None
    return RwkvSam(RwkvSize(image_size, (first, second, width), depths)).eval()


def _count(shapes: Mapping[str, tuple[int, ...]], prefix: str) -> int:
    inside = (name.removeprefix(prefix) for name in shapes if name.startswith(prefix))
    return len({name.partition(".")[0] for name in inside})


_SMALL = Variant(
    name="rwkv_sam_small",
    family="rwkv_sam",
    summary="RWKV-SAM small: weighted averages instead of attention, not for commercial use",
    parameters=24_242_480,
    preprocess=dataclasses.replace(PREPROCESS, interpolation="opencv_bilinear"),
    mask=dataclasses.replace(MASK, multi=(0,)),
    prompting=Slots(high_res=((1, 64, 256, 256),), mask_tokens=1),
    licence=S_LAB,
    repository=REPOSITORY,
    paper="arXiv:2406.19369",
    published=Published("rwkv_sam_small.pth", REPOSITORY, awaited=True),
    layouts=(Layout("ovsam", rename, build, restore=split),),
    sizes=SIZES,
)

VARIANTS = (
    _SMALL,
    dataclasses.replace(
        _SMALL,
        name="rwkv_sam",
        summary="any RWKV-SAM: widths and depths are read from --checkpoint (the small one's "
        "without), not for commercial use",
        layouts=(Layout("ovsam", rename, build, build_for, restore=split),),
    ),
)
