"""Seeded inputs and the float32 torch outputs of every graph, as `goldens.npz` keeps them.

An array's key is `GRAPH/CASE/NAME`. An array that all cases of a graph share is kept once, as
`GRAPH/*/NAME`; if an earlier graph gives it, it is that graph's output in its first case. Images
are NCHW, whatever layout the graph takes.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from exporter.bundle.tensors import GraphSpec
from exporter.errors import BundleError

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]

GOLDENS = "goldens.npz"
SHARED = "*"
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
    def open(cls, path: Path) -> Goldens:
        """Open a file of goldens. BundleError if it cannot be read."""
        try:
            with np.load(path, allow_pickle=False) as stored:
                keys = tuple(stored.files)
        except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
            raise _unreadable(path, error) from None
        return cls(keys, lambda each: _read_one(path, each), str(path))

    def cases(self, graph: str) -> list[str]:
        """List the cases of a graph, sorted. BundleError if there is none."""
        names = sorted(self._cases.get(graph, set()) - {SHARED})
        if not names:
            raise BundleError(f"{self.place} has no case of graph {graph!r}; {_AGAIN}")
        return names

    def owns(self, graph: str, case: str, name: str) -> bool:
        """Whether the case has an array of its own, not the shared one."""
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


def _read_one(path: Path, each: str) -> Array:
    try:
        with np.load(path, allow_pickle=False) as stored:
            array: Array = stored[each]
            return array
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> BundleError:
    return BundleError(f"{path} cannot be read: {error}")
