"""Stand-ins for a video bundle's graphs: numbers stirred out of everything that a graph is given.

One bit of an input changes every output, so the last frames of a case tell whether a twin kept and
gave what this one did. Arithmetic is of 32 bits without a sign, and what does not fit is lost:

    stir(x)      x ^= x >> 16;  x *= 0x7FEB352D;  x ^= x >> 15;  x *= 0x846CA68B;  x ^= x >> 16
    whole(v)     floor(4096 v + 0.5), in doubles
    digest(row)  d = 0x811C9DC5; for each number n of the row, in order, d = (d ^ n) * 0x01000193

The seed of a call starts as `stir(digest(bytes of the graph's name) ^ salt)`. For each input, in
the order of the graph, `seed = stir(seed ^ digest(whole of each value))`. A bank is one input where
its values stand, and its ages are none: in place of the digest stands the sum, over the slots whose
age is not -1, of `stir(digest(whole(age)) ^ digest(whole of each value in the slot))`. So neither
what an empty slot holds nor the order of slots shows.

Value k of output o (0, 1, ... in the order of the graph) is
`(stir(seed + o * 0x9E3779B9 + k * 0x85EBCA6B) >> 16) / 4096 - 8`, and 4 more than that for
`object_score_logits`: an object is there on three frames of four. Where a case is `broken`, the
values of the output of that name are no numbers.

Byte i of the RGB picture of frame n is `stir(65536 n + i) & 255`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from exporter.bundle.layouts import Array
from exporter.bundle.preprocess import Bytes, Floats
from exporter.bundle.rules import LABELS
from exporter.bundle.tensors import GraphSpec, TensorSpec

FULL = 2**32 - 1
LETTERS = {
    "image_encoder": "I", "mask_decoder": "D", "memory_encoder": "M", "memory_query": "Q",
    "memory_attention": "A", "memory_attention_first": "F",
}  # fmt: skip
"""Graph -> how its calls begin."""
BANKS = {"memories": "memory_age", "object_pointers": "pointer_age"}
"""Values in slots -> their ages."""
EMPTY = -1.0
_NEAR = 0.02


@dataclass
class StandIn:
    """A loaded graph.

    Attributes:
        spec: the graph's.
        salt: of the case.
        calls: one line for each call of a case's graphs; see README.md.
        broken: an output whose values are no numbers; empty for none.
    """

    spec: GraphSpec
    salt: int
    calls: list[str] = field(default_factory=list)
    broken: str = ""

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """See `runtimes.engines.LoadedGraph`."""
        self.calls.append(" ".join([LETTERS[self.spec.name], *_told(inputs)]))
        seed = self._seed(inputs)
        return {
            tensor.name: self._output(tensor, (seed + at * 0x9E3779B9) & FULL)
            for at, tensor in enumerate(self.spec.outputs)
        }

    def _seed(self, inputs: Mapping[str, Array]) -> int:
        seed = stir(digest(self.spec.name.encode("ascii")) ^ self.salt)
        for tensor in self.spec.inputs:
            ages = inputs.get(BANKS.get(tensor.name, ""))
            if tensor.name in BANKS.values():
                continue
            if ages is None:
                seed = stir(seed ^ digest(wholes(inputs[tensor.name])))
            else:
                seed = stir(seed ^ _bank(inputs[tensor.name][0], ages[0]))
        return seed

    def _output(self, tensor: TensorSpec, seed: int) -> Floats:
        count = math.prod(tensor.shape)
        values = np.array(
            [(stir((seed + k * 0x85EBCA6B) & FULL) >> 16) / 4096 - 8 for k in range(count)],
            np.float32,
        ).reshape(tensor.shape)
        if tensor.name == "object_score_logits":
            values += 4
        return values * np.float32(np.nan) if tensor.name == self.broken else values


def _told(inputs: Mapping[str, Array]) -> list[str]:
    """Say what a call is about, of the inputs that the host chose."""
    told = []
    if "memory_age" in inputs:
        ages, seen = (inputs[name][inputs[name] != EMPTY] for name in BANKS.values())
        told.append(",".join(f"{age:.0f}" for age in sorted(ages)))
        told.append(f"{seen.size}:{max(wholes(seen))}")
    if "point_labels" in inputs:
        labels = [label for label in inputs["point_labels"].ravel() if label != LABELS["empty"]]
        told.append(",".join(f"{label:.0f}" for label in labels))
    flags = ("has_mask_input", "from_prompt", "object_present")
    return told + [f"{inputs[name][0]:.0f}" for name in flags if name in inputs]


def _bank(values: Floats, ages: Floats) -> int:
    filled = zip(values, ages.tolist(), strict=True)
    rows = [
        stir(digest(wholes([age])) ^ digest(wholes(row))) for row, age in filled if age != EMPTY
    ]
    return sum(rows) & FULL


def stir(x: int) -> int:
    """Mix the bits of a number below 2^32."""
    x ^= x >> 16
    x = (x * 0x7FEB352D) & FULL
    x ^= x >> 15
    x = (x * 0x846CA68B) & FULL
    return x ^ (x >> 16)


def digest(numbers: Iterable[int]) -> int:
    """Make one number of many."""
    made = 0x811C9DC5
    for number in numbers:
        made = ((made ^ (number & FULL)) * 0x01000193) & FULL
    return made


def wholes(values: npt.ArrayLike) -> list[int]:
    """Turn values into whole numbers of 4096ths.

    Raises:
        RuntimeError: one is so near the middle of two that a twin's last bit might tip it.
    """
    scaled = np.asarray(values, np.float64).ravel() * 4096
    if (np.abs(scaled - np.floor(scaled) - 0.5) < _NEAR).any():
        raise RuntimeError("a value is between two whole numbers: choose another case")
    made: list[int] = np.floor(scaled + 0.5).astype(np.int64).tolist()
    return made


def picture(frame: int, width: int, height: int) -> Bytes:
    """Make the RGB picture (H, W, 3) of a frame."""
    count = width * height * 3
    made = [stir((65536 * frame + i) & FULL) & 255 for i in range(count)]
    return np.array(made, np.uint8).reshape(height, width, 3)
