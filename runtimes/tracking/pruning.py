"""Leave out memories that are like the newest one (Surgical SAM 2). numpy only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from exporter.bundle.preprocess import Floats
from exporter.bundle.video import Pruning

_LEAST_LENGTH = 1e-8


def kept_memories(memories: Sequence[Floats], rule: Pruning) -> list[int]:
    """Choose the memories that reach the graph.

    Args:
        memories: (T, C) each: prompted frames first, then the newest last; as `Pruning` lists them.
        rule: the manifest's.

    Returns:
        Indices of the memories to keep, in order. Of equally alike ones the first goes.
    """
    everything = list(range(len(memories)))
    if len(memories) < rule.listed:
        return everything
    newest = memories[-1]
    alike = {i: _likeness(memories[i], newest) for i in everything[1:-1]}
    dropped = sorted(alike, key=lambda i: -alike[i])[: rule.dropped]
    return [i for i in everything if i not in dropped]


def _likeness(memory: Floats, newest: Floats) -> float:
    """Sum the cosines of two memories' tokens."""
    a, b = (np.asarray(each, np.float32) for each in (memory, newest))
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(((a * b).sum(axis=1) / np.maximum(lengths, _LEAST_LENGTH)).sum())
