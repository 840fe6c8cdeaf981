"""What a user says of LoRA. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exporter.errors import RequestError
from exporter.printable import quote

MOST_ALPHA = 1e6
MOST_BLOCKS = 100


@dataclass(frozen=True)
class LoraOptions:
    """What a user says of LoRA.

    Attributes:
        path: the adapter's file or folder; None if it lies in the checkpoint, or there is none.
        alpha: `lora_alpha`, if no file says it.
        blocks: those that SAMed's list of pairs is for; empty for all.

    Raises:
        RequestError: a value is of the wrong type or out of its range.
    """

    path: Path | None = None
    alpha: float | None = None
    blocks: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        given: Any = self.blocks
        if self.alpha is not None:
            plain = type(self.alpha) in (int, float)
            if not plain or not 0 <= self.alpha <= MOST_ALPHA:
                raise RequestError(f"lora_alpha is 0 to {MOST_ALPHA:.0f}, not {quote(self.alpha)}")
        listed = isinstance(given, (tuple, list)) and len(given) <= MOST_BLOCKS
        if not listed or not all(type(each) is int and 0 <= each < MOST_BLOCKS for each in given):
            raise RequestError(f"lora_blocks is a tuple of numbers, as (0, 1), not {quote(given)}")
        if len(set(given)) < len(given):
            raise RequestError(f"lora_blocks names a block twice: {quote(given)}")
        object.__setattr__(self, "blocks", tuple(given))
