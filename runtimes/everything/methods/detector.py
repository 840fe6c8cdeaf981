"""Objects of a network that finds them by itself, such as FastSAM: the highest score first.

Source: CASIA-LMC-Lab/FastSAM; its steps are `exporter.bundle.rules.DetectionRule`.
"""

from __future__ import annotations

import numpy as np

from exporter.bundle.preprocess import Bytes
from exporter.errors import RequestError
from runtimes.everything.asking import Run
from runtimes.everything.methods import Method
from runtimes.everything.segments import Segment
from runtimes.everything.steps.runs import area_of, box_of, runs_of


def find(run: Run, image: Bytes) -> tuple[Segment, ...]:
    """See `Method`."""
    detections = getattr(run.predictor, "detections", None)
    if detections is None:
        raise RequestError("detector needs a network that finds objects by itself, such as FastSAM")
    run.planned = run.prompts = 1
    run.set_image(image)
    pieces, _ = detections()
    run.left.candidates = len(pieces)
    run.tell()
    height, width = run.size
    found = []
    with run.stage("encode_masks"):
        for piece in pieces:
            runs = runs_of(piece.mask, (piece.left, piece.top), run.size)
            x0, y0, x1, y1 = box_of(runs, height)
            box, whole = (x0, y0, x1 - x0, y1 - y0), (0, 0, width, height)
            score = float(np.float32(piece.score))
            found.append(Segment(runs, run.size, area_of(runs), box, score, None, None, whole))
    return tuple(found)


METHOD = Method(find, ("output_mode",))
