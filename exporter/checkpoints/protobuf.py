"""Walk the fields of a protobuf message without making objects of it.

A message of some megabytes can mean millions of nested messages, each an object of a hundred bytes
in any library. Here a message is a span of the file; its fields are listed when somebody asks, each
costs a step of the budget, and what nobody asks for is skipped by its length.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from exporter.checkpoints.budget import Budget
from exporter.errors import CheckpointError

VARINT, WIDE, BYTES, NARROW = 0, 1, 2, 5
_LONGEST_VARINT = 10
_STEPS = 8
"""What reading a field takes, in steps of a pickle."""


@dataclass(slots=True)
class Message:
    """A span of a file."""

    data: mmap.mmap
    start: int
    end: int

    def fields(self, budget: Budget) -> Iterator[tuple[int, int, int | Message]]:
        """List the fields: number, kind, and a whole number or a span.

        Raises:
            CheckpointError: a field reaches past the message, or is of no known kind.
        """
        at = self.start
        while at < self.end:
            budget.operate(_STEPS)
            key, at = self._varint(at)
            number, kind = key >> 3, key & 7
            value: int | Message
            if kind == VARINT:
                value, at = self._varint(at)
            else:
                size = {WIDE: 8, NARROW: 4}.get(kind)
                if kind == BYTES:
                    size, at = self._varint(at)
                if size is None or at + size > self.end or number == 0:
                    raise damaged()
                value, at = Message(self.data, at, at + size), at + size
            yield number, kind, value

    def __len__(self) -> int:
        return self.end - self.start

    def view(self) -> memoryview:
        """Return the bytes themselves."""
        return memoryview(self.data)[self.start : self.end]

    def text(self, most: int) -> str:
        """Decode the bytes as text. CheckpointError if they are none, or more than `most`."""
        if len(self) > most:
            raise CheckpointError(f"damaged: a name of {len(self)} bytes")
        try:
            return self.data[self.start : self.end].decode("utf-8")
        except UnicodeDecodeError as error:
            raise CheckpointError("damaged: a name that is no text") from error

    def varints(self) -> npt.NDArray[np.int64]:
        """Decode the bytes as a row of whole numbers, packed."""
        held = np.frombuffer(self.view(), np.uint8)
        ends = np.flatnonzero(held < 0x80)
        if len(held) and (not len(ends) or ends[-1] != len(held) - 1):
            raise damaged()
        starts = np.concatenate([[0], ends[:-1] + 1]) if len(ends) else ends
        lengths = ends - starts + 1
        if len(lengths) and lengths.max() > _LONGEST_VARINT:
            raise damaged()
        numbers = np.zeros(len(ends), np.uint64)
        for index in range(int(lengths.max(initial=0))):
            reaches = lengths > index
            bits = held[starts[reaches] + index].astype(np.uint64) & np.uint64(0x7F)
            numbers[reaches] |= bits << np.uint64(7 * index)
        return numbers.view(np.int64)

    def _varint(self, at: int) -> tuple[int, int]:
        number = shift = 0
        for place in range(at, min(at + _LONGEST_VARINT, self.end)):
            byte = self.data[place]
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number, place + 1
            shift += 7
        raise damaged()


def damaged() -> CheckpointError:
    """Make the error for what is no message."""
    return CheckpointError("truncated or damaged: not an ONNX model")
