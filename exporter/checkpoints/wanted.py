"""What the user says of the tensors of a file. No torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Wanted:
    """What the user says of a file's tensors.

    Attributes:
        tensors: which set to take, by its name or a part of it; empty for the only one.
        ignore: patterns of tensors to leave out, with `*` and `?`.
    """

    tensors: str = ""
    ignore: tuple[str, ...] = ()
