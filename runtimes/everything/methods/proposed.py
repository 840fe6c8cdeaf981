"""Clicks where a head on the image embedding proposes them, the best first. Ours.

AoP-SAM (arXiv 2505.11980) and Lite-SAM (arXiv 2407.08965) describe the idea; the head is
`exporter.models.point_proposer`, and a bundle has it as a graph that gives `point_scores`. Filters
and suppression are the grid's.
"""

from __future__ import annotations

import numpy as np

from exporter.bundle.preprocess import Bytes
from exporter.errors import RequestError
from runtimes.everything.asking import CropAsker, HeldLogits, Run
from runtimes.everything.methods import FILTERS, Method
from runtimes.everything.methods.grid import finished, without_duplicates
from runtimes.everything.segments import Segment
from runtimes.everything.steps.grids import Points


def find(run: Run, image: Bytes) -> tuple[Segment, ...]:
    """See `Method`."""
    height, width = run.size
    asker = CropAsker(run, (0, 0, width, height), HeldLogits())
    with run.until_stopped():
        run.set_image(image)
        points = proposed(run)
        run.planned = len(points)
        asker.ask(points)
    return finished(run, tuple(asker.segments(without_duplicates(run, asker.found))))


def proposed(run: Run) -> Points:
    """(n, 2) the points that the predictor proposes for the image that was set, the best first."""
    proposals = getattr(run.predictor, "proposals", None)
    if proposals is None:
        raise RequestError("proposed needs a network with a head that proposes points")
    with run.stage("propose"):
        points, scores = proposals()
    known = np.isfinite(scores)
    run.faults.unscored += int((~known).sum())
    points, scores = points[known], scores[known]
    chosen: Points = points[scores > run.settings.proposal_thresh]
    return chosen[: run.settings.max_proposals]


METHOD = Method(
    find,
    (
        *(name for name in FILTERS if name != "points_per_side"),
        "proposal_thresh",
        "max_proposals",
        "multimask_output",
        "use_m2m",
        "generator",
        "components",
    ),
)
