"""Names that people know variants by: their files, their pages on a hub, other libraries'."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from exporter.variants import Variant

KNOWN = {
    # keys of the registries in the published code
    "default": "sam_vit_h",
    "vit_b": "sam_vit_b",
    "vit_l": "sam_vit_l",
    "vit_h": "sam_vit_h",
    "vit_t": "mobile_sam",
    "vit_tiny": "light_hq",
    "repvit": "repvit_sam",
    # words of the papers
    "sam-hq": "hq_vit_h",
    "hq-sam": "hq_vit_h",
    "rwkv-sam": "rwkv_sam_small",
    "efficientsam-ti": "efficient_sam_vitt",
    "efficientsam-s": "efficient_sam_vits",
    # transformers, and its pages on the hub
    "sam-vit-base": "sam_vit_b",
    "sam-vit-large": "sam_vit_l",
    "sam-vit-huge": "sam_vit_h",
    "sam-hq-vit-base": "hq_vit_b",
    "sam-hq-vit-large": "hq_vit_l",
    "sam-hq-vit-huge": "hq_vit_h",
    "slimsam-uniform-50": "slimsam_50",
    "slimsam-uniform-77": "slimsam_77",
    # Ultralytics' files
    "sam_b": "sam_vit_b",
    "sam_l": "sam_vit_l",
    "sam_h": "sam_vit_h",
    "sam2_t": "sam2_hiera_tiny",
    "sam2_s": "sam2_hiera_small",
    "sam2_b": "sam2_hiera_base_plus",
    "sam2_l": "sam2_hiera_large",
    "sam2.1_t": "sam2_1_hiera_tiny",
    "sam2.1_s": "sam2_1_hiera_small",
    "sam2.1_b": "sam2_1_hiera_base_plus",
    "sam2.1_l": "sam2_1_hiera_large",
    # settings' files of SAM 2
    "sam2_hiera_t": "sam2_hiera_tiny",
    "sam2_hiera_s": "sam2_hiera_small",
    "sam2_hiera_b+": "sam2_hiera_base_plus",
    "sam2_hiera_l": "sam2_hiera_large",
    "sam2.1_hiera_t": "sam2_1_hiera_tiny",
    "sam2.1_hiera_s": "sam2_1_hiera_small",
    "sam2.1_hiera_b+": "sam2_1_hiera_base_plus",
    "sam2.1_hiera_l": "sam2_1_hiera_large",
}
FILES = frozenset({".pt", ".pth", ".bin", ".safetensors", ".onnx", ".yaml", ".zip"})
"""Ends of the names of files; other dots are part of a name: `sam2.1`."""


def aliases(name: str, variants: Iterable[Variant]) -> dict[str, str]:
    """Map other names to ours: the known ones, the published files' and `name` without its folder.

    Args:
        name: as a user spelt it; `facebook/sam2-hiera-tiny` and `weights/sam_b.pt` are compared by
            their last part, without the end of a file's name.
        variants: every variant.
    """
    ours = list(variants)
    table = {_bare(v.published.file): v.name for v in reversed(ours)} | KNOWN
    table |= {v.name: v.name for v in ours}
    bare = _bare(name[-200:])
    plain = {key.replace("-", "_"): value for key, value in table.items()}
    meant = plain.get(bare.replace("-", "_"))
    return table | ({name.rpartition("/")[2]: meant} if meant else {})


def _bare(name: str) -> str:
    path = PurePath(name.casefold())
    return path.stem if path.suffix in FILES else path.name
