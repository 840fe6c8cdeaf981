"""Cases of one topic -> `TOPIC.json` and the arrays they name, `TOPIC.bin`."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Case = dict[str, Any]


@dataclass
class Topic:
    """One topic's cases, and the bytes of their arrays."""

    name: str
    cases: list[Case] = field(default_factory=list)
    content: bytearray = field(default_factory=bytearray)
    places: dict[bytes, int] = field(default_factory=dict)

    def add(self, name: str, **values: Any) -> None:
        """Add a case; arrays among its values go into the binary file."""
        self.cases.append({"name": name, **{key: self._plain(v) for key, v in values.items()}})

    def write(self, folder: Path) -> None:
        """Write both files; without arrays, only the JSON."""
        text = json.dumps(self.cases, indent=1, sort_keys=True, allow_nan=False) + "\n"
        (folder / f"{self.name}.json").write_text(text, encoding="ascii", newline="\n")
        if self.content:
            (folder / f"{self.name}.bin").write_bytes(self.content)

    def _plain(self, value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return self._place(value)
        if isinstance(value, dict):
            return {key: self._plain(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._plain(item) for item in value]
        if isinstance(value, float) and not math.isfinite(value):
            return str(value)  # "nan", "inf" or "-inf", which JSON cannot hold
        return value

    def _place(self, array: Array) -> Case:
        """Append an array's bytes, unless they are there already; returns where they are."""
        packed, kind = array, str(array.dtype)
        if array.dtype == np.bool_:
            packed, kind = np.packbits(array), "bits"
        if kind not in ("bits", "uint8", "float32"):
            raise TypeError(f"golden vectors hold no {kind}")
        stored = packed.astype(packed.dtype.newbyteorder("<")).tobytes()
        if stored not in self.places:
            self.places[stored] = len(self.content)
            self.content += stored + bytes(-len(stored) % 4)
        return {"dtype": kind, "shape": list(array.shape), "offset": self.places[stored]}
