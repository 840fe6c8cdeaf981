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
from typing import TYPE_CHECKING

from exporter import catalog
from exporter.bundle.manifest import GraphFile
from exporter.bundle.rules import Interpolation, Preprocess
from exporter.errors import RequestError

if TYPE_CHECKING:
    from exporter.graphs import Graph

MINIMUM_IOS = (16, 17, 18)

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
    """

    minimum_ios: int = 16


@dataclass(frozen=True)
class Target:
    """One format.

    Attributes:
        name: what `--target` takes.
        precisions: what `--precision` may be.
        packages: distributions it needs; their versions go into the manifest.
        extra: what to install to get them.
        whole_pixels: whether the image input holds bytes, so that padding must be whole numbers.
        platform: where the result runs.
        lower: (graph, precision, folder, options) -> the file it wrote in `folder`.
    """

    name: str
    precisions: tuple[str, ...]
    packages: tuple[str, ...]
    extra: str
    whole_pixels: bool
    platform: Callable[[Options], str]
    lower: Callable[[Graph, str, Path, Options], GraphFile]

    def preprocess(self, published: Preprocess) -> Preprocess:
        """The published rule as this target's image input can hold it.

        Padding is zero after normalisation, so its colour is the mean. A pixel buffer holds whole
        numbers only: there the mean is rounded, and so is every resized pixel; at most 0.009 after
        normalisation.
        """
        if not self.whole_pixels:
            return published
        red, green, blue = (float(round(v)) for v in published.pad_value)
        return dataclasses.replace(
            published,
            interpolation=_OF_BYTES.get(published.interpolation, published.interpolation),
            pad_value=(red, green, blue),
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


def names() -> tuple[str, ...]:
    """Every target."""
    return catalog.names("exporter.targets")


def load_target(name: str) -> Target:
    """The target called `name`; RequestError with the list of those there are."""
    target: Target = catalog.load("exporter.targets", name, "TARGET")
    return target
