"""What of the network's answers is no number: dropped, counted, and said."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from exporter.bundle.preprocess import Floats


@dataclass
class Faults:
    """Counts of one run.

    Attributes:
        unrated: masks whose predicted IoU is not a finite number; dropped.
        empty: masks of which no logit is a finite number; dropped.
        patched: masks of which some logits are NaN, which count as outside.
        unscored: proposed points whose score is not a finite number; dropped.
    """

    unrated: int = 0
    empty: int = 0
    patched: int = 0
    unscored: int = 0

    def usable(self, logits: Floats) -> bool:
        """Tell whether logits (h, w) make a mask, and count them otherwise."""
        if np.isfinite(logits).all():
            return True
        if not np.isfinite(logits).any():
            self.empty += 1
            return False
        self.patched += bool(np.isnan(logits).any())
        return True

    def rated(self, iou: np.float32) -> bool:
        """Tell whether a predicted IoU is a number, and count it otherwise."""
        known = bool(np.isfinite(iou))
        self.unrated += not known
        return known

    def notes(self) -> Iterator[str]:
        """Say in a line each what was not a number."""
        if self.unrated:
            yield f"{_dropped(self.unrated, 'mask')}: the decoder's predicted IoU is not a number"
        if self.empty:
            yield f"{_dropped(self.empty, 'mask')}: the decoder's logits are not numbers"
        if self.patched:
            has = "mask has" if self.patched == 1 else "masks have"
            yield f"{self.patched} {has} logits that are not numbers: they count as outside"
        if self.unscored:
            yield f"{_dropped(self.unscored, 'point')}: the proposed score is not a number"


def _dropped(count: int, thing: str) -> str:
    return f"{count} {thing} was dropped" if count == 1 else f"{count} {thing}s were dropped"
