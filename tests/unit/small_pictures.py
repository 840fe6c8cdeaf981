"""A picture of noise that prompts can be placed on."""

from __future__ import annotations

import numpy as np

RGB = np.random.default_rng(7).integers(0, 256, (60, 120, 3), np.uint8)
