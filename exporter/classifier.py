"""A panoptic head's classes: text embeddings in a file, and their names in a JSON beside it."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporter.bundle.manifest import Source
from exporter.bundle.rules import PanopticRule
from exporter.errors import RequestError
from exporter.printable import printable
from exporter.variants import Variant

if TYPE_CHECKING:
    from torch import Tensor, nn

COCO = (133, 80)
"""Classes of COCO's panoptic set, and how many of its first can be counted."""
MOST_CLASSES, MOST_TEMPLATES = 10_000, 1000
UNIT = 1e-3
"""By how much a text embedding's length may differ from 1: halves are stored so."""
_LONGEST, _MOST_NAMES = 200, 4_000_000


@dataclass(frozen=True)
class Classifier:
    """The classes that a panoptic graph tells apart.

    Attributes:
        path: the file they were read from.
        sha256: of that file.
        texts: (classes, templates, D) text embeddings, each of length 1.
        rule: for the manifest.
    """

    path: Path
    sha256: str
    texts: Tensor
    rule: PanopticRule

    def give(self, network: nn.Module, source: Source) -> Source:
        """Give a network its classes; returns the source with their file."""
        network.panoptic.classify_by(self.texts)  # type: ignore[operator, union-attr]
        return dataclasses.replace(source, classifier=self.path.name, classifier_sha256=self.sha256)


def classifier_of(variant: Variant, path: Path | str | None) -> Classifier | None:
    """Read the classes, if they are given. RequestError if the variant has none to find."""
    if path is None:
        return None
    if variant.panoptic is None:
        raise RequestError(f"{variant.name} has no classes to find: leave out --classifier")
    return read_classifier(Path(path), variant.panoptic.width)


def read_classifier(path: Path, width: int) -> Classifier:
    """Read a file with one tensor, bare or under any name, and the names beside it.

    Args:
        path: a file of `torch.save` or of safetensors. `FILE.json` beside it, with FILE's own
            ending left out, has the names: a list of texts, or of objects with `name` and
            `isthing`, as COCO's; the things come first.
        width: D of the network.

    Raises:
        CheckpointError: it cannot be read.
        RequestError: it holds no classifier of this width, or its names do not fit it.
    """
    from exporter.checkpoints.reading import read_checkpoint
    from exporter.checkpoints.values import NotFinite

    shown = printable(str(path))
    try:
        file = read_checkpoint(path)
    except NotFinite:
        raise RequestError(
            f"--classifier {shown} holds NaN or infinite values: give the published file, or "
            "compute the text embeddings again"
        ) from None
    if len(file.tensors) != 1:
        raise RequestError(
            f"--classifier {shown} holds {len(file.tensors)} tensors; a classifier is one, "
            f"(classes, templates, {width})"
        )
    (texts,) = file.tensors.values()
    if texts.ndim != 3 or not texts.is_floating_point() or 0 in texts.shape:
        raise RequestError(
            f"--classifier {shown} is {tuple(texts.shape)}; a classifier is (classes, templates, "
            f"{width})"
        )
    if texts.shape[2] != width:
        raise RequestError(
            f"--classifier {shown} has text embeddings of width {texts.shape[2]}, and this "
            f"network's are {width}: give the one of the text model that it was trained with"
        )
    if texts.shape[0] > MOST_CLASSES or texts.shape[1] > MOST_TEMPLATES:
        raise RequestError(
            f"--classifier {shown} has {texts.shape[0]} classes of {texts.shape[1]} templates; at "
            f"most {MOST_CLASSES} and {MOST_TEMPLATES} are taken"
        )
    if float((texts.float().norm(dim=-1) - 1.0).abs().max()) > UNIT:
        raise RequestError(
            f"--classifier {shown} has text embeddings that are not of length 1: divide each by "
            "its 2-norm, as the published file has them"
        )
    names, things = _names(path.with_suffix(".json"), texts.shape[0])
    return Classifier(path, file.sha256, texts.float(), PanopticRule(names, things))


def _names(path: Path, classes: int) -> tuple[tuple[str, ...], int]:
    """Read the names, or number the classes; and say how many of the first can be counted."""
    things = COCO[1] if classes == COCO[0] else classes
    if not path.is_file():
        return tuple(str(at) for at in range(classes)), things
    rows = _rows(path)
    if len(rows) != classes:
        raise RequestError(
            f"{printable(str(path))} names {len(rows)} classes, and the classifier has {classes}"
        )
    names = tuple(row["name"] if isinstance(row, dict) else row for row in rows)
    flags = [row.get("isthing") for row in rows if isinstance(row, dict)]
    if any(flag is not None for flag in flags):
        counted = [bool(flag) for flag in flags]
        things = sum(counted)
        if len(flags) != classes or counted != sorted(counted, reverse=True):
            raise RequestError(
                f"{printable(str(path))}: isthing is said of every class or of none, and the "
                "things come first, as in the published classifier"
            )
    return names, things


def _rows(path: Path) -> list[Any]:
    shown = printable(str(path))
    try:
        text = path.read_bytes()
        rows = json.loads(text) if len(text) <= _MOST_NAMES else None
    except (OSError, ValueError, RecursionError) as error:
        raise RequestError(f"{shown} cannot be read as JSON: {printable(str(error))}") from None
    if not isinstance(rows, list) or not all(map(_is_name, rows)):
        raise RequestError(
            f"{shown} holds no names of classes: give a list of texts, or of objects with name "
            "and isthing, one for each class"
        )
    return rows


def _is_name(row: object) -> bool:
    name = row.get("name") if isinstance(row, dict) else row
    return isinstance(name, str) and 0 < len(name) <= _LONGEST and name.isprintable()
