"""EfficientViT-SAM (Zhang et al. 2024, arXiv 2402.05008): L0, L1, L2 at 512, XL0, XL1 at 1024.

Prompts and masks live in a 1024 x 1024 frame whatever the size of the image input. The published
builder sets epsilon 1e-6 in every norm, SAM's decoder included.
"""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from exporter.variants import Layout, Published, Sizes, Variant
from exporter.variants.sam import APACHE, MASK, PREPROCESS, published_names

if TYPE_CHECKING:
    from exporter.models.efficientvit import EfficientViTSize
    from exporter.models.sam import Sam

FRAME = 1024
GRID = 64


@dataclass(frozen=True)
class _Row:
    name: str
    parameters: int
    image_size: int
    depths: tuple[int, ...]
    neck_depth: int


_ROWS = (
    _Row("l0", 34_792_784, 512, (1, 1, 1, 4, 4), 4),
    _Row("l1", 47_650_128, 512, (1, 1, 1, 6, 6), 8),
    _Row("l2", 61_328_592, 512, (1, 2, 2, 8, 8), 12),
    _Row("xl0", 116_957_904, 1024, (0, 1, 1, 2, 3, 3), 6),
    _Row("xl1", 203_346_128, 1024, (1, 2, 2, 4, 6, 6), 12),
)


def _size(row: _Row, image_size: int) -> EfficientViTSize:
    from exporter.models.efficientvit import EfficientViTSize

    large = EfficientViTSize(
        image_size, depths=row.depths, neck_depth=row.neck_depth, embedding=GRID
    )
    if len(row.depths) == len(large.widths):
        return large
    return dataclasses.replace(
        large,
        widths=(32, 64, 128, 256, 512, 1024),
        blocks=("res", "fmb", "fmb", "fmb", "att", "att"),
        expand=(1, 4, 4, 4, 4, 6),
        neck=(5, 4, 3),
        neck_expand=4,
        aggregate=3,
    )


def _build(row: _Row, image_size: int) -> Sam:
    from exporter.models.efficientvit import EfficientViT
    from exporter.models.mask_decoder import DecoderSize
    from exporter.models.sam import Geometry, Sam

    decoder = DecoderSize(layer_eps=1e-6, final_eps=1e-6)
    geometry = Geometry(image_size, GRID, FRAME)
    return Sam(EfficientViT(_size(row, image_size)), geometry, decoder).eval()


def _variant(row: _Row) -> Variant:
    frame = FRAME if row.image_size != FRAME else None
    file = f"efficientvit_sam_{row.name}.pt"
    build = functools.partial(_build, row, image_size=row.image_size)
    return Variant(
        name=f"efficientvit_sam_{row.name}",
        family="efficientvit_sam",
        summary=f"EfficientViT-SAM-{row.name.upper()}: linear attention, input {row.image_size}",
        parameters=row.parameters,
        preprocess=dataclasses.replace(PREPROCESS, size=row.image_size, frame_size=frame),
        mask=MASK,
        licence=APACHE,
        repository="https://github.com/mit-han-lab/efficientvit",
        paper="arXiv:2402.05008",
        published=Published(
            file, f"https://huggingface.co/mit-han-lab/efficientvit-sam/resolve/main/{file}"
        ),
        layouts=(Layout("efficientvit", published_names, build),),
        # The neck enlarges whatever it gets to 64 x 64. Each stage halves the map.
        sizes=Sizes(step=2 ** len(row.depths), least=256, most=1024, frame=FRAME),
    )


VARIANTS = tuple(_variant(row) for row in _ROWS)
