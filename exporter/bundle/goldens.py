"""Seeded inputs and the float32 torch outputs of every graph, as `goldens.npz` keeps them.

An array's key is `GRAPH/CASE/NAME`. An array that all cases of a graph share is kept once, as
`GRAPH/*/NAME`; if an earlier graph gives it, it is that graph's output in its first case. Images
are NCHW, whatever layout the graph takes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from exporter.bundle.agreement import END_TO_END, VIDEO
from exporter.bundle.npz import list_arrays, read_array
from exporter.bundle.tensors import GraphSpec
from exporter.errors import BundleError

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]

GOLDENS = "goldens.npz"
SHARED = "*"
PICTURE, SIZE = "picture", "size"
"""Key of the width and height of a picture that few bits are measured on, if it does not fill the
input; no bundle has it."""
OF_PICTURES = frozenset(
    {"picture", "image", "facts", "points", "box", "multimask", "refines", "masks", "scores"}
    | {"logits", "point_coords", "point_labels", "prompt_masks"}
)
"""Names that `exporter.bundle.end_to_end` gives its arrays."""
CHAIN = "chain"
"""The one case of VIDEO: frames that an object is followed through."""
OF_VIDEO = frozenset(
    {"frames", "click", "lost", "low_res_masks", "object_score_logits", "seen", "forgotten"}
)
"""Names that `exporter.chain` gives its arrays."""
MOST_OF_VIDEO = 2**22
"""Bytes of its frames, however small the graphs' own tensors are."""
MOST_CASES = 32
_WIDEST = 8
"""Bytes of the widest number."""
_AGAIN = "export the bundle again"


def key(graph: str, case: str, name: str) -> str:
    """Spell a key, here only; `case` is SHARED for an array of every case."""
    return f"{graph}/{case}/{name}"


class Goldens:
    """The arrays of a bundle, each read when it is asked for.

    Args:
        keys: of all arrays.
        read: key -> array. BundleError if it cannot be read.
        place: for messages.
    """

    def __init__(self, keys: Iterable[str], read: Callable[[str], Array], place: str) -> None:
        self.place = place
        self._read = read
        self._kept: dict[str, Array] = {}
        self._cases: dict[str, set[str]] = {}
        self._keys = frozenset(keys)
        for parts in (each.split("/") for each in self._keys):
            if len(parts) == 3:
                self._cases.setdefault(parts[0], set()).add(parts[1])

    @classmethod
    def of(cls, arrays: Mapping[str, Array]) -> Goldens:
        """Wrap arrays in memory."""
        return cls(arrays, arrays.__getitem__, GOLDENS)

    @classmethod
    def open(cls, path: Path, specs: Sequence[GraphSpec]) -> Goldens:
        """Open a file of goldens.

        Args:
            path: of the file.
            specs: the graphs'; an array that they do not allow is refused before it is inflated.

        Raises:
            BundleError: it cannot be read, or holds more than the graphs' goldens.
        """
        limit = Limits.of(specs)
        entries = list_arrays(path, limit.most, limit.all)
        return cls(entries, lambda each: read_array(path, entries[each]), str(path))

    def cases(self, graph: str) -> list[str]:
        """List the cases of a graph, sorted. BundleError if there is none."""
        names = sorted(self._cases.get(graph, set()) - {SHARED})
        if not names:
            raise BundleError(f"{self.place} has no case of graph {graph!r}; {_AGAIN}")
        return names

    def owns(self, graph: str, case: str, name: str) -> bool:
        """Tell whether the case has an array of its own, not the shared one."""
        return key(graph, case, name) in self._keys

    def array(self, graph: str, case: str, name: str) -> Array:
        """Read a case's array, or the one its graph's cases share. BundleError if missing."""
        for each in (key(graph, case, name), key(graph, SHARED, name)):
            if each in self._keys:
                if each not in self._kept:
                    self._kept[each] = self._read(each)
                return self._kept[each]
        raise BundleError(f"{self.place} is missing {key(graph, case, name)}; {_AGAIN}")

    def inputs(self, spec: GraphSpec, case: str) -> dict[str, Array]:
        """Read a case's canonical inputs, float32; the graph's dtype is set with its layout."""
        return {t.name: self.expected(spec, case, t.name) for t in spec.inputs}

    def expected(self, spec: GraphSpec, case: str, name: str) -> Floats:
        """Read one array of a case, float32."""
        return self.array(spec.name, case, name).astype(np.float32)


MOST_OF_PICTURES = 2**25
"""Bytes of one array of a picture whatever the graphs' shapes: a bit a pixel of 300 detections."""


@dataclass(frozen=True)
class Limits:
    """Bytes that goldens may have.

    Attributes:
        tensors: graph, name -> bytes of that array.
        extra: of each array of `exporter.bundle.end_to_end`.
    """

    tensors: Mapping[tuple[str, str], int]
    extra: int

    @classmethod
    def of(cls, specs: Sequence[GraphSpec]) -> Limits:
        """Take them from the graphs' shapes."""
        tensors = {
            (spec.name, tensor.name): math.prod(tensor.shape) * _WIDEST
            for spec in specs
            for tensor in (*spec.inputs, *spec.outputs)
        }
        return cls(tensors, max((2**20, *tensors.values())))

    @property
    def all(self) -> int:
        """Of all arrays together."""
        return MOST_CASES * (sum(self.tensors.values()) + self.extra)

    def most(self, each: str) -> int:
        """Of the array of a key; 0 if there should be none."""
        parts = each.split("/")
        if len(parts) != 3:
            return 0
        graph, _, name = parts
        if graph == END_TO_END:
            return max(self.extra, MOST_OF_PICTURES) if name in OF_PICTURES else 0
        if graph == VIDEO:
            return max(self.extra, MOST_OF_VIDEO) if name in OF_VIDEO else 0
        return self.tensors.get((graph, name), 0)
