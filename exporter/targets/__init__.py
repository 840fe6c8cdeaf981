"""The formats a graph can be lowered to, one file each.

To add a target: a file here with `TARGET`, a `Target`. Its `lower` writes one file (or folder) and
returns its `GraphFile`; it changes nothing else. If nothing here can run the format yet, add an
engine in `runtimes/engines/`. Toolkits are imported inside functions.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from exporter import catalog
from exporter.bundle.manifest import GraphFile
from exporter.bundle.rules import Interpolation, Preprocess
from exporter.errors import LoweringError, RequestError

if TYPE_CHECKING:
    from exporter.graphs import Graph

MINIMUM_IOS = (16, 17, 18)

ImageInput = Literal["image", "tensor"]
IMAGE_INPUTS: tuple[ImageInput, ...] = get_args(ImageInput)

_OF_BYTES: dict[Interpolation, Interpolation] = {
    "float_bilinear": "pillow_bilinear",
    "float_bilinear_plain": "bilinear_plain",
}
"""An interpolation that is never rounded -> the one that gives whole numbers."""


@dataclass(frozen=True)
class Options:
    """What only some targets read.

    Attributes:
        minimum_ios: oldest iOS a Core ML package runs on. 18 keeps attention one operation.
        image_input: what a Core ML package takes as `image`: an 8-bit RGB image, or a float tensor
            as every other target.
    """

    minimum_ios: int = 16
    image_input: ImageInput = "image"


@dataclass(frozen=True)
class Target:
    """One format.

    Attributes:
        name: what `--target` takes.
        precisions: what `--precision` may be.
        packages: distributions it needs; their versions go into the manifest.
        extra: what to install to get them.
        image_type: whether it has a type for images, which holds bytes; `Options.image_input` may
            turn it down.
        platform: where the result runs.
        lower: (graph, precision, folder, options) -> the file it wrote in `folder`.
    """

    name: str
    precisions: tuple[str, ...]
    packages: tuple[str, ...]
    extra: str
    image_type: bool
    platform: Callable[[Options], str]
    lower: Callable[[Graph, str, Path, Options], GraphFile]

    def takes_bytes(self, options: Options) -> bool:
        """Whether `image` holds whole numbers from 0 to 255."""
        return self.image_type and options.image_input == "image"

    def preprocess(self, published: Preprocess, options: Options) -> Preprocess:
        """The published rule as this target's image input can hold it.

        Bytes hold no fractions: resized pixels are rounded, by 0.009 at most after normalisation,
        and if the padding's colour has fractions, the graph writes the padding.
        """
        if not self.takes_bytes(options):
            return published
        return dataclasses.replace(
            published,
            interpolation=_OF_BYTES.get(published.interpolation, published.interpolation),
            padded_by="host" if _pads_with_bytes(published) else "graph",
        )

    def require(self, precision: str) -> None:
        """RequestError if the toolkit is not installed or has no such precision."""
        if precision not in self.precisions:
            raise RequestError(
                f"{self.name} cannot be exported in {precision}; "
                f"it can in: {', '.join(self.precisions)}"
            )
        absent = [p for p in self.packages if importlib.util.find_spec(p.replace("-", "_")) is None]
        if absent:
            raise RequestError(
                f"--target {self.name} needs {', '.join(absent)}: "
                f"pip install 'sam-export[{self.extra}]'"
            )

    def versions(self) -> dict[str, str]:
        """Of the packages, for the manifest."""
        return {name: importlib.metadata.version(name) for name in self.packages}


def _pads_with_bytes(rule: Preprocess) -> bool:
    """Whether bytes hold the padding, if there is any.

    Raises:
        LoweringError: neither do bytes hold it nor can a graph write it.
    """
    if rule.resize == "stretch" or all(value.is_integer() for value in rule.pad_value):
        return True
    if rule.resize != "longest_side" or rule.pad_value != rule.mean:
        raise LoweringError(
            f"an 8-bit image cannot hold padding of {rule.pad_value}, and a graph writes only the "
            "mean, right and below: give --image-input tensor"
        )
    return False


def names() -> tuple[str, ...]:
    """Every target."""
    return catalog.names("exporter.targets")


def load_target(name: str) -> Target:
    """The target called `name`; RequestError with the list of those there are."""
    target: Target = catalog.load("exporter.targets", name, "TARGET")
    return target
