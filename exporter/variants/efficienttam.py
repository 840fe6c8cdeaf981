"""EfficientTAM (Xiong et al. 2024, arXiv 2411.18933), for images: a plain ViT, SAM 2's decoder.

All files of one width hold tensors of the same names and shapes: `_1` and `_2` look back at frames
in other ways, and the 512 x 512 forms resize the position embedding to a smaller grid. So a file
does not reveal its form. The decoder gets no maps of higher resolution.
"""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from exporter.variants import Layout, Memory, Published, Sizes, Slots, Variant, sam2
from exporter.variants._video import UNUSED, memory_layout
from exporter.variants.sam import APACHE

if TYPE_CHECKING:
    from exporter.models.sam import Sam

PATCH = 16
SIZES = Sizes(step=PATCH)
"""The position embedding of 14 x 14 places is resized to any grid."""


@dataclass(frozen=True)
class _Row:
    letter: str
    word: str
    parameters: int


@dataclass(frozen=True)
class _Form:
    ending: str
    what: str
    image_size: int
    pooling: str = "none"


_ROWS = (_Row("ti", "tiny", 10_228_912), _Row("s", "small", 26_418_736))
_FORMS = (
    _Form("", "", 1024),
    _Form("_512x512", ", input 512", 512),
    _Form("_1", ", its first efficient memory", 1024, "logits"),
    _Form("_2", ", its second efficient memory", 1024, "keys"),
)


def _build(row: _Row, image_size: int) -> Sam:
    from exporter.models.efficient_tam import SIZES, EfficientTamEncoder
    from exporter.models.sam import Geometry
    from exporter.models.sam2 import Sam2

    size = dataclasses.replace(SIZES[row.word], image_size=image_size)
    return Sam2(EfficientTamEncoder(size), Geometry(image_size, size.grid)).eval()


def _variant(row: _Row, form: _Form) -> Variant:
    grid = form.image_size // PATCH
    file = f"efficienttam_{row.letter}{form.ending}.pt"
    build = functools.partial(_build, row, image_size=form.image_size)
    layout = Layout("efficienttam", sam2.rename, build)
    every = functools.partial(sam2.rename, unused=UNUSED)
    remembers = memory_layout(layout, every, pooling=form.pooling)
    return Variant(
        name=f"efficienttam_{row.letter}{form.ending}",
        family="efficienttam",
        summary=f"EfficientTAM-{row.word}: plain ViT trunk (image path){form.what}",
        parameters=row.parameters,
        preprocess=dataclasses.replace(sam2.PREPROCESS, size=form.image_size),
        mask=dataclasses.replace(sam2.MASK, low_res_size=4 * grid),
        prompting=Slots(embedding=(1, 256, grid, grid), pad_with_box=True),
        licence=APACHE,
        repository="https://github.com/yformer/EfficientTAM",
        paper="arXiv:2411.18933",
        published=Published(
            file, f"https://huggingface.co/yunyangx/efficient-track-anything/resolve/main/{file}"
        ),
        layouts=(layout,),
        sizes=SIZES,
        memory=Memory((remembers,), pooled=form.pooling != "none"),
    )


VARIANTS = tuple(_variant(row, form) for row in _ROWS for form in _FORMS)
