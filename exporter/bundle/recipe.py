"""What of a network stayed float when it was brought to few bits, and why: `recipe.json`.

Given to another export by `--recipe`, it settles the same without measuring again. Standard library
and msgspec.
"""

from __future__ import annotations

import dataclasses
import hashlib
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from exporter.bundle.manifest import STORAGE, canonical
from exporter.bundle.ranges import Count, Name, Share
from exporter.bundle.reading import decode, parse
from exporter.errors import BundleError, RequestError
from exporter.printable import printable

RECIPE = "recipe.json"
RECIPE_VERSION = 1
MOST_BYTES = 2**20
"""Of a recipe; that of a network of 32 blocks has 8 KB."""

Parts = Annotated[tuple[Name, ...], Meta(max_length=4096)]


@dataclass(frozen=True)
class Block:
    """A block alone in few bits.

    Attributes:
        name: the path of its module.
        weights: how many it has.
        mean_mask_iou: of the masks with those of the float32 network, on calibration pictures.
    """

    name: Name
    weights: Count
    mean_mask_iou: Share


@dataclass(frozen=True)
class Trial:
    """The lowered graphs with some blocks in float.

    Attributes:
        keep_float: these.
        mean_mask_iou: of the gate (`runtimes.gate`).
        bytes: of all graphs.
    """

    keep_float: Parts
    mean_mask_iou: Share
    bytes: Count


@dataclass(frozen=True)
class Recipe:
    """What stays float, and the measurements that settled it.

    Attributes:
        sam_export: version of the exporter that wrote it.
        quantize_decoder: whether the decoder is in few bits too.
        keep_float: patterns of what stays float, see `exporter.products.select`.
        storage: of linear layers' weights, see `exporter.bundle.manifest.Manifest`.
        min_iou: what was asked for; None if nothing was measured.
        blocks: the most sensitive for its size first; empty if nothing was measured.
        trials: in the order they were made.
    """

    recipe_version: int
    sam_export: Name
    variant: Name
    precision: Name
    quantize_decoder: bool
    keep_float: Parts
    storage: Annotated[str, Meta(pattern=STORAGE)] = ""
    min_iou: Share | None = None
    blocks: Annotated[tuple[Block, ...], Meta(max_length=4096)] = ()
    trials: Annotated[tuple[Trial, ...], Meta(max_length=4096)] = ()

    def to_json(self) -> str:
        """Serialise to the one text of this content."""
        return canonical(dataclasses.asdict(self))

    @property
    def sha256(self) -> str:
        """Hash `to_json`: in hex."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def require(self, variant: str, precision: str, sam_export: str) -> None:
        """RequestError if it is of another variant or precision, or of another release's blocks."""
        for what, own, asked in (
            ("variant", self.variant, variant),
            ("precision", self.precision, precision),
        ):
            if own != asked:
                raise RequestError(
                    f"--recipe is of {what} {printable(own)}, and this export is of {asked}: give "
                    f"--{what} {printable(own)}, or another recipe"
                )
        if _series(self.sam_export) != _series(sam_export):
            raise RequestError(
                f"--recipe was written by sam-export {printable(self.sam_export)}, whose blocks "
                f"may have other names than those of {sam_export}: make it again with --min-iou "
                "or --keep-float"
            )


def read_recipe(path: Path) -> Recipe:
    """Read a recipe from anywhere. RequestError if it cannot be read or is none."""
    name = printable(str(path))
    try:
        if stat.S_ISFIFO(path.stat().st_mode):
            raise RequestError(f"--recipe {name} is a pipe: give the {RECIPE} of a bundle")
        with path.open("rb") as stream:
            content = stream.read(MOST_BYTES + 1)
    except OSError as error:
        raise RequestError(
            f"--recipe {name} cannot be read ({error.strerror}): give the {RECIPE} of a bundle"
        ) from None
    if len(content) > MOST_BYTES:
        raise RequestError(f"--recipe {name} has more than 1 MB: it is no {RECIPE}")
    try:
        data = decode(content, "recipe")
        version = data.get("recipe_version") if isinstance(data, dict) else None
        if version is not None and version != RECIPE_VERSION:
            raise BundleError(
                f"it has version {printable(str(version), 20)}, and this release reads "
                f"{RECIPE_VERSION}"
            )
        return parse(Recipe, data, "recipe")
    except BundleError as error:
        raise RequestError(f"--recipe {name}: {error}: give the {RECIPE} of a bundle") from None


def _series(version: str) -> str:
    """`0.1` of `0.1.7`: its releases name blocks alike."""
    return ".".join(version.split(".")[:2])
