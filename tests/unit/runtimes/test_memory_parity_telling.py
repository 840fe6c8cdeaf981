"""Whether a bank moves torch's own numbers by enough to measure."""

from __future__ import annotations

import numpy as np
import pytest

from runtimes.memory_parity import tells


@pytest.mark.parametrize(
    ("moved", "enough"), [(0.0, False), (0.5e-3, False), (2e-3, True), (0.5, True)]
)
def test_a_movement_that_rounding_hides_proves_nothing(moved, enough):
    features = np.full((1, 2, 4, 4), 1e7, np.float32)
    without = features.copy()
    without[0, 0, 0, 0] *= 1 - moved
    assert tells(features, without) is enough
