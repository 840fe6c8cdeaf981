"""SlimSAM (Chen et al. 2024, arXiv 2312.05284): SAM ViT-B pruned to a half and to a quarter.

It is published three times. Pruned uniformly, every block alike: segment-anything's layout
(`SlimSAM-50-uniform.pth`) and Hugging Face's. Pruned globally, every block by its importance:
`SlimSAM-50.pth`, a pickled module of the training code with separate query, key and value layers,
whose widths are known only from the file. Its structure is read off the code (czg1225/SlimSAM,
`segment_anything_kd/modeling/image_encoder.py`, `prune_funcs.py`); no conformance case covers it.

`pruned_sam` takes every width from the file, in any of these layouts, for other people's pruned or
searched SAM ViTs.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from exporter.variants import Layout, Published, Variant
from exporter.variants.sam import (
    APACHE,
    MASK,
    PREPROCESS,
    SIZES,
    hugging_face_names,
    published_names,
)

if TYPE_CHECKING:
    from exporter.models.sam import Sam
    from exporter.models.vit import ViTSize

SEGMENT_ANYTHING_EPS = 1e-5
HUGGING_FACE_EPS = 1e-6
ENCODER = "image_encoder."


@dataclass(frozen=True)
class _Row:
    percent: int
    parameters: int
    width: int
    mlp: int


_ROWS = (_Row(50, 27_961_776, 384, 1536), _Row(77, 9_723_528, 168, 696))


def _sam(size: ViTSize, layer_eps: float) -> Sam:
    from exporter.models.mask_decoder import DecoderSize
    from exporter.models.sam import Sam, geometry
    from exporter.models.vit import ViT

    decoder = DecoderSize(layer_eps=layer_eps)
    return Sam(ViT(size), geometry(size.image_size), decoder).eval()


def _uniform(row: _Row, layer_eps: float, image_size: int = PREPROCESS.size) -> Sam:
    """ViT-B's blocks with its twelve heads, each narrower."""
    from exporter.models.vit import ViTSize

    size = ViTSize(row.width, image_size=image_size)
    blocks = tuple(dataclasses.replace(block, mlp=row.mlp) for block in size.block_sizes())
    return _sam(dataclasses.replace(size, blocks=blocks), layer_eps)


def _as_in_file(
    layer_eps: float,
    width: int | None,
    shapes: Mapping[str, tuple[int, ...]],
    image_size: int = PREPROCESS.size,
) -> Sam | None:
    """Build the module with the widths of the file; None if its embedding's is not `width`."""
    from exporter.models.vit import size_of

    size = size_of({n.removeprefix(ENCODER): s for n, s in shapes.items() if n.startswith(ENCODER)})
    if size is None or width not in (None, size.width):
        return None
    return _sam(dataclasses.replace(size, image_size=image_size), layer_eps)


def _variant(row: _Row) -> Variant:
    build = functools.partial(_uniform, row, SEGMENT_ANYTHING_EPS)
    from_hub = functools.partial(_uniform, row, HUGGING_FACE_EPS)
    pruned = functools.partial(_as_in_file, SEGMENT_ANYTHING_EPS, row.width)
    return Variant(
        name=f"slimsam_{row.percent}",
        family="slimsam",
        summary=f"SlimSAM-{row.percent}: SAM ViT-B with {row.percent} % pruned away",
        parameters=row.parameters,
        preprocess=PREPROCESS,
        mask=MASK,
        licence=APACHE,
        repository="https://github.com/czg1225/SlimSAM",
        paper="arXiv:2312.05284",
        published=Published(
            # Published as model.safetensors; renamed here because the cache holds both files.
            f"slimsam-uniform-{row.percent}.safetensors",
            f"https://huggingface.co/Zigeng/SlimSAM-uniform-{row.percent}/resolve/main/"
            "model.safetensors",
        ),
        layouts=(
            Layout("segment-anything", published_names, build),
            Layout("hugging-face", hugging_face_names, from_hub),
            Layout("slimsam-global", published_names, build, pruned),
        ),
        sizes=SIZES,
    )


def _any_width(name: str, rename: Callable[[str], str | None], layer_eps: float) -> Layout:
    build = functools.partial(_uniform, _ROWS[0], layer_eps)
    return Layout(name, rename, build, functools.partial(_as_in_file, layer_eps, None))


_SLIMSAM = tuple(_variant(row) for row in _ROWS)

VARIANTS = (
    *_SLIMSAM,
    dataclasses.replace(
        _SLIMSAM[0],
        name="pruned_sam",
        summary="any pruned SAM ViT: widths are read from --checkpoint (SlimSAM-50's without)",
        layouts=(
            _any_width("segment-anything", published_names, SEGMENT_ANYTHING_EPS),
            _any_width("hugging-face", hugging_face_names, HUGGING_FACE_EPS),
        ),
    ),
)
