"""EdgeTAM (Zhou et al. 2025, arXiv 2501.07256): SAM 2 with a RepViT-M1 trunk, the image path.

The trunk's tensors have timm's names (`repvit_m1`, its stages as `stages_0` ...). timm counts the
last block of a stage to the step down into the next one; see `exporter.models.edge_tam`.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

from exporter.variants import Layout, Memory, Published, Variant, sam2
from exporter.variants._video import UNUSED, memory_layout
from exporter.variants.sam import APACHE

if TYPE_CHECKING:
    from exporter.models.sam import Sam

VIDEO = (
    *sam2.IMAGE_UNUSED,
    "spatial_perceiver.",  # condenses a frame's memory into fewer tokens
)

FIRST = (1, 5, 9, 25)
"""Index in our list of blocks of the first of timm's `stages_N.blocks`: the stem is 0, and a stage
ends with the next one's `pre_block`, which is followed by its step down."""

_TRUNK = "image_encoder.trunk.body."
_PLACE = r"^stages_([0-3])\.(blocks\.\d+|downsample(?:\.pre_block)?)"
_INSIDE = (
    (r"^stem\.conv1\.", "0.0."),
    (r"^stem\.conv2\.", "0.2."),
    (r"\.spatial_downsample\.", ".token_mixer.0."),
    (r"\.channel_downsample\.", ".token_mixer.2."),
    (r"\.token_mixer\.(conv1?)\.", r".token_mixer.0.\1."),
    (r"\.se\.", ".token_mixer.1."),
    (r"\.(?:ffn|channel_mixer)\.conv1\.", ".channel_mixer.m.0."),
    (r"\.(?:ffn|channel_mixer)\.conv2\.", ".channel_mixer.m.2."),
)


def rename(name: str, *, unused: tuple[str, ...] = VIDEO) -> str | None:
    """Translate EdgeTAM's name of a tensor to ours; None for the video's tensors (`unused`)."""
    if not name.startswith(_TRUNK):
        return sam2.rename(name, unused=unused)
    inside = re.sub(_PLACE, _block, name.removeprefix(_TRUNK))
    for pattern, ours in _INSIDE:
        inside, count = re.subn(pattern, ours, inside)
        if count:
            break
    return f"image_encoder.trunk.features.{inside}"


def _block(match: re.Match[str]) -> str:
    """Translate timm's name of a block to its number in our list."""
    first, what = FIRST[int(match[1])], match[2]
    if what.startswith("blocks."):
        return str(first + int(what.removeprefix("blocks.")))
    return str(first - 2 if what.endswith("pre_block") else first - 1)


def build(image_size: int = sam2.PREPROCESS.size) -> Sam:
    """Build an untrained EdgeTAM without its memory."""
    from exporter.models.edge_tam import EdgeTamTrunk
    from exporter.models.sam import geometry
    from exporter.models.sam2 import Sam2, Sam2Encoder

    return Sam2(Sam2Encoder(EdgeTamTrunk()), geometry(image_size)).eval()


LAYOUT = Layout("edgetam", rename, build)
LATENTS = 16
"""Side of each of the two squares of tokens that a memory has."""
MEMORY = Memory(
    (memory_layout(LAYOUT, functools.partial(rename, unused=UNUSED), depth=2, latents=LATENTS),),
    latents=LATENTS,
)

VARIANTS = (
    Variant(
        name="edgetam",
        family="edgetam",
        summary="EdgeTAM: RepViT-M1 trunk before SAM 2's decoder (image path)",
        parameters=8_988_800,
        preprocess=sam2.PREPROCESS,
        mask=sam2.MASK,
        prompting=sam2.PROMPTING,
        licence=APACHE,
        repository="https://github.com/facebookresearch/EdgeTAM",
        paper="arXiv:2501.07256",
        published=Published(
            "edgetam.pt",
            "https://github.com/facebookresearch/EdgeTAM/raw/main/checkpoints/edgetam.pt",
        ),
        layouts=(LAYOUT,),
        sizes=sam2.SIZES,
        memory=MEMORY,
    ),
)
