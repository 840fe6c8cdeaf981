"""SAM 2 and SAM 2.1 (Ravi et al. 2024, arXiv 2408.00714): Hiera encoders, the image path.

A published file holds the whole video model. The parts that track objects from frame to frame are
not used for an image: see `IMAGE_UNUSED`. The two releases compute the same for an image; 2.1's
files have two more parts for the video (`SAM2_1`), which tell them apart.

Cases cover 2.0 tiny and all of 2.1; by their published configurations
(`sam2/configs/sam2/*.yaml`), the other three of 2.0 have 2.1's networks.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from exporter.bundle.rules import MaskRule, Preprocess, Stability
from exporter.variants import Layout, Memory, Published, Sizes, Slots, Variant
from exporter.variants import _sam2_of_transformers as hub
from exporter.variants import _video as video
from exporter.variants.sam import APACHE, MEAN, STD

if TYPE_CHECKING:
    from exporter.models.sam import Sam

PREPROCESS = Preprocess(
    resize="stretch",
    size=1024,
    interpolation="float_bilinear",
    pad_value=(0.0, 0.0, 0.0),
    mean=MEAN,
    std=STD,
)
MASK = MaskRule(
    threshold=0.0,
    single=0,
    multi=(1, 2, 3),
    upscale="bilinear_once",
    low_res_size=256,
    stability=Stability(delta=0.05, least=0.98),
    logit_limit=32.0,
)
PROMPTING = Slots(high_res=((1, 32, 256, 256), (1, 64, 128, 128)), pad_with_box=True)
SIZES = Sizes(step=32)
"""The position embedding is resized to the first stage's map, and another one fills it in windows
of 8 x 8 cells of 4 pixels; `image_size` is a setting of the published models."""

IMAGE_UNUSED = (
    "memory_attention.",  # looks at earlier frames
    "memory_encoder.",  # makes a frame's memory
    "maskmem_tpos_enc",  # how long ago a memory was
    "no_mem_pos_enc",  # position of the memory that a first frame does not have
    "mask_downsample.",  # a given mask as an object pointer
    "obj_ptr_proj.",  # object pointers
    "no_obj_ptr",  # pointer of an object that is not seen
    "sam_mask_decoder.pred_obj_score_head.",  # whether it is seen; the image predictor never asks
)
"""Prefixes of tensors for the video alone."""

SAM2_1 = (
    "no_obj_embed_spatial",  # memory of an object that is not seen
    "obj_ptr_tpos_proj.",  # how long ago an object pointer was
)
"""Prefixes of tensors for the video alone, in 2.1 only."""

_OURS = (
    (r"^obj_ptr_proj\.", "mask_decoder.obj_ptr_proj."),
    (r"^no_mem_embed$", "image_encoder.no_mem_embed"),
    (r"^sam_mask_decoder\.conv_s", "image_encoder.conv_s"),
    (r"^sam_mask_decoder\.(transformer\.layers\.\d+\.mlp)\.layers\.0\.", r"mask_decoder.\1.lin1."),
    (r"^sam_mask_decoder\.(transformer\.layers\.\d+\.mlp)\.layers\.1\.", r"mask_decoder.\1.lin2."),
    (r"^sam_(mask_decoder|prompt_encoder)\.", r"\1."),
)


def rename(name: str, *, unused: tuple[str, ...] = IMAGE_UNUSED) -> str | None:
    """Translate SAM 2's name of a tensor to ours; None for the video's tensors (`unused`)."""
    if name.startswith(unused):
        return None
    for pattern, ours in _OURS:
        renamed, count = re.subn(pattern, ours, name)
        if count:
            return renamed
    return name


def layouts(size: Mapping[str, int | tuple[int, ...]]) -> tuple[Layout, Layout]:
    """Make the file's layouts in SAM 2.0 and in 2.1.

    Args:
        size: fields of `exporter.models.hiera.HieraSize`.
    """
    build = functools.partial(_build, size)
    later = functools.partial(rename, unused=IMAGE_UNUSED + SAM2_1)
    marks = ("no_obj_embed_spatial", "obj_ptr_tpos_proj.weight")
    return Layout("sam2", rename, build), Layout("sam2.1", later, build, marks=marks)


def hub_layouts(size: Mapping[str, int | tuple[int, ...]], release: str) -> tuple[Layout, Layout]:
    """Make the layouts of transformers' image model and of its video model.

    The image model's tensors are the same in both releases, and so is its arithmetic.

    Args:
        size: see `layouts`.
        release: "2.0" or "2.1".
    """
    build, later = functools.partial(_build, size), release == "2.1"
    image = functools.partial(hub.rename, unused=hub.SCORE)
    unused = hub.UNUSED + hub.UNUSED_2_1 if later else hub.UNUSED
    video = functools.partial(hub.rename, unused=unused)
    marks = hub.MARKS_2_1 if later else hub.MARKS
    return (
        Layout("transformers", image, build, restore=hub.restore),
        Layout("transformers-video", video, build, marks=marks, restore=hub.restore),
    )


def memory(size: Mapping[str, int | tuple[int, ...]], release: str) -> Memory:
    """Say how SAM 2 follows objects.

    Args:
        size: see `layouts`.
        release: "2.0" or "2.1".
    """
    later = release == "2.1"
    image, every = layouts(size)[later], functools.partial(rename, unused=video.UNUSED)
    layout = video.memory_layout(image, every, pointer_time=later, marks_absence=later)
    return Memory((layout,), pointer_time=later)


def _build(size: Mapping[str, int | tuple[int, ...]], image_size: int = PREPROCESS.size) -> Sam:
    from exporter.models.hiera import Hiera, HieraSize
    from exporter.models.sam import geometry
    from exporter.models.sam2 import Sam2, Sam2Encoder

    trunk = HieraSize(**size, image_size=image_size)  # type: ignore[arg-type]
    return Sam2(Sam2Encoder(Hiera(trunk)), geometry(image_size)).eval()


@dataclass(frozen=True)
class _Row:
    name: str
    parameters: int
    size: Mapping[str, int | tuple[int, ...]]


TINY = _Row("tiny", 31_308_880, {})
SMALL = _Row("small", 38_406_736, {"depths": (1, 2, 11, 2), "global_blocks": (7, 10, 13)})
_ROWS = (
    TINY,
    SMALL,
    _Row(
        "base_plus",
        73_196_560,
        {
            "width": 112,
            "heads": 2,
            "depths": (2, 3, 16, 3),
            "global_blocks": (12, 16, 20),
            "background": 14,
        },
    ),
    _Row(
        "large",
        216_793_024,
        {
            "width": 144,
            "heads": 2,
            "depths": (2, 6, 36, 4),
            "global_blocks": (23, 33, 43),
            "windows": (8, 4, 16, 8),
        },
    ),
)


def _variant(row: _Row, release: str, folder: str) -> Variant:
    layout = layouts(row.size)[release == "2.1"]
    file = f"{layout.name}_hiera_{row.name}.pt"
    return Variant(
        name=f"{layout.name.replace('.', '_')}_hiera_{row.name}",
        family="sam2",
        summary=f"SAM {release}, Hiera-{row.name.replace('_', ' ')} image encoder (image path)",
        parameters=row.parameters,
        preprocess=PREPROCESS,
        mask=MASK,
        prompting=PROMPTING,
        licence=APACHE,
        repository="https://github.com/facebookresearch/sam2",
        paper="arXiv:2408.00714",
        published=Published(
            file, f"https://dl.fbaipublicfiles.com/segment_anything_2/{folder}/{file}"
        ),
        layouts=(layout, *hub_layouts(row.size, release)),
        sizes=SIZES,
        memory=memory(row.size, release),
    )


VARIANTS = tuple(
    _variant(row, release, folder)
    for release, folder in (("2.0", "072824"), ("2.1", "092824"))
    for row in _ROWS
)
