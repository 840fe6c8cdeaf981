"""What reading one file may cost: fixed by its size before a byte of it is interpreted.

A pickle of a few hundred bytes can copy one list a million times, and a kilobyte of JSON can nest
past any stack. So each reader is given a budget, takes from it whatever it makes, and stops with
one line as soon as it is spent. The base is several times what the largest published checkpoint
needs; what is added for a larger file keeps time and memory proportional to its size.
"""

from __future__ import annotations

from exporter.errors import CheckpointError

MOST_TENSORS = 50_000
"""Several times what any network here has with all its training state."""
LONGEST_NAME = 1000
"""Characters of a tensor's, a module's, a class's or an entry's name."""
LONGEST_INTEGER = 1024
"""Bytes of an integer: random generators leave some of 17; its decimal digits stay below 2,500."""
MOST_LEVELS = 1000
"""Of containers that are still open while a file is read, and of JSON."""
MOST_SIDE = 2**40
"""Elements of a side, a stride or an offset."""

MOST_RANK = 8
"""Sides of a tensor."""


class Budget:
    """What is left to spend.

    Attributes:
        operations: steps of a pickle, fields of a message, entries of an archive.
        copies: elements that may be copied from a container made before.
        containers: lists, dictionaries, tuples, sets and objects that may be made.
        tensors: that may be described.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.operations = 1_000_000 + size // 4
        self.copies = 500_000 + size // 8
        self.containers = 150_000 + size // 12
        self.tensors = MOST_TENSORS

    def operate(self, count: int = 1) -> None:
        """Take steps. CheckpointError if there are not so many left."""
        self.operations -= count
        if self.operations < 0:
            raise self.spent("takes more steps to read")

    def copy(self, count: int) -> None:
        """Copy that many elements. CheckpointError if there are not so many left."""
        self.copies -= count
        if self.copies < 0:
            raise self.spent("copies its own contents more often")

    def contain(self) -> None:
        """Make a container. CheckpointError if there is none left."""
        self.containers -= 1
        if self.containers < 0:
            raise self.spent("makes more objects")

    def describe(self) -> None:
        """Describe a tensor. CheckpointError if there is none left."""
        self.tensors -= 1
        if self.tensors < 0:
            raise CheckpointError(f"holds more than {MOST_TENSORS} tensors; no checkpoint does")

    def spent(self, excess: str) -> CheckpointError:
        """Make the error for what a file does too much of."""
        return CheckpointError(f"{excess} than a checkpoint of {self.size} bytes needs; not read")
