"""What the host's steps cost on a photo: `python -m tests.conformance.everything.memory`.

1,024 clicks on 12 megapixels by the stand-in, with published thresholds and with none.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from runtimes.everything import everything
from runtimes.process import peak_bytes
from tests.conformance.everything.scene import Scene, ScenePredictor

HEIGHT, WIDTH = 3024, 4032
KEEP_ALL = {"pred_iou_thresh": 0, "stability_score_thresh": 0}


def main() -> int:
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for options in ({}, KEEP_ALL):
        predictor = ScenePredictor(Scene(3, HEIGHT, WIDTH))
        start = time.process_time()
        found = everything(predictor, image, **options)
        spent = time.process_time() - start
        masks = f"{found.left.after_iou} masks measured, {len(found)} kept"
        print(  # noqa: T201
            f"{options}: {masks}, {spent:.1f} s, peak {peak_bytes() / 2**20:.0f} MB"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
