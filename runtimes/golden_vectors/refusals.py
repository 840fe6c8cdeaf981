"""Wrong requests, the type of the error each ends in, and words of its message."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from exporter.bundle.prompts import Prompts
from exporter.bundle.rules import PromptRule
from runtimes.golden_vectors.bundles import rows
from runtimes.golden_vectors.pixels import LONGEST, STRETCH, frame_of
from runtimes.golden_vectors.prompting import DRAWN, EFFICIENT_SAM, SAM, SAM2
from runtimes.golden_vectors.store import Topic

SIZE = (100, 67)
NAN, INF = math.nan, math.inf


@dataclass(frozen=True)
class Wrong:
    """A prompt set that cannot be taken, and words of the message."""

    given: Prompts
    says: tuple[str, ...]
    rule: PromptRule = SAM


def _points(count: int) -> Prompts:
    return Prompts(tuple((float(i), 1.0) for i in range(count)), (1,) * count)


PROMPTS: dict[str, Wrong] = {
    "no prompt": Wrong(Prompts(), ("no prompt",)),
    "a point to the right": Wrong(
        Prompts(((101.5, 5.0),), (1,)), ("101.5,5", "outside the image", "100 x 67")
    ),
    "a point above": Wrong(Prompts(((5.0, -1.25),), (1,)), ("5,-1.25", "outside the image")),
    "a point that is no number": Wrong(Prompts(((NAN, 5.0),), (1,)), ("outside the image",)),
    "an infinite point": Wrong(Prompts(((5.0, INF),), (1,)), ("outside the image",)),
    "labels missing": Wrong(Prompts(((5.0, 5.0),), ()), ("points: 1", "labels: 0")),
    "a label too many": Wrong(Prompts((), (1,)), ("points: 0", "labels: 1")),
    "a label of a box": Wrong(Prompts(((5.0, 5.0),), (2,)), ("label", "not 2")),
    "an empty box": Wrong(Prompts((), (), (5.0, 5.0, 5.0, 9.0)), ("5,5,5,9", "is empty")),
    "a box upside down": Wrong(Prompts((), (), (5.0, 9.0, 8.0, 5.0)), ("is empty",)),
    "a box outside": Wrong(
        Prompts((), (), (100.0, 5.0, 120.0, 9.0)), ("100,5,120,9", "outside the image")
    ),
    "a box that is no number": Wrong(Prompts((), (), (5.0, 5.0, NAN, 9.0)), ("outside the image",)),
    "more points than slots": Wrong(_points(6), ("7 slots", "has 6", "--max-points 7")),
    "a box and points": Wrong(
        Prompts(_points(4).points, (1,) * 4, (5.0, 5.0, 9.0, 9.0)),
        ("7 slots", "SAM 2 adds one slot"),
        SAM2,
    ),
    "more than the network has": Wrong(
        _points(7), ("7 slots", "give fewer prompts"), EFFICIENT_SAM
    ),
}


def refusals() -> Topic:
    """Bundles, pictures and prompts that are refused."""
    topic = Topic("refusals")
    topic.cases += rows()
    for name, wrong in PROMPTS.items():
        topic.add(
            name,
            kind="slots",
            **frame_of(LONGEST, SIZE),
            prompts=asdict(wrong.rule),
            given=asdict(wrong.given),
            error="PromptError",
            says=wrong.says,
        )
    topic.add(
        "a background point",
        kind="drawn",
        **frame_of(STRETCH, SIZE),
        drawn_prompts=asdict(DRAWN),
        given=asdict(Prompts(((5.0, 5.0),), (0,))),
        error="PromptError",
        says=("no background points",),
    )
    both = Prompts(((5.0, 5.0),), (1,), (1.0, 1.0, 9.0, 9.0))
    topic.add("points and a box", kind="detections", size=list(SIZE), given=asdict(both),
              error="PromptError", says=("not both",))  # fmt: skip
    for width, height in ((0, 5), (5, 0), (0, 0)):
        topic.add(f"a picture of {width} x {height}", kind="picture", size=[width, height],
                  error="ImageError", says=(str(width), str(height)))  # fmt: skip
    return topic
