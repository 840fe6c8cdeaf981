"""Prompts -> the decoder's slots, and prompts drawn as pictures."""

from __future__ import annotations

from dataclasses import asdict, replace

from exporter.bundle.drawn_prompts import draw
from exporter.bundle.preprocess import fit
from exporter.bundle.prompts import Prompts, pack
from exporter.bundle.rules import LABELS, DrawnPrompts, Preprocess, PromptRule
from runtimes.golden_vectors.pixels import FRAMED, LETTERBOX, LONGEST, STRETCH, TRUNCATED, frame_of
from runtimes.golden_vectors.store import Topic

SAM = PromptRule(batch=1, slots=6, labels=dict(LABELS), pad_without_box=True)
SAM2 = replace(SAM, pad_with_box=True)
EFFICIENT_SAM = replace(SAM, pad_without_box=False, most_slots=6)
DRAWN = DrawnPrompts(box_channel=0, point_channel=1, radius=5.0, background_points=False)
BOTH_KINDS = replace(DRAWN, background_points=True, radius=2.5)

LANDSCAPE, PORTRAIT, PIXEL = (100, 67), (67, 100), (1, 1)


def _sets(width: int, height: int) -> dict[str, Prompts]:
    """Prompt sets on a picture of that size; the border and just outside it among them."""
    w, h = float(width), float(height)
    return {
        "one point": Prompts(((w * 0.3, h * 0.7),), (1,)),
        "three points": Prompts(((0.5, 0.5), (w - 0.5, h / 3), (w / 2, h - 0.25)), (1, 0, 1)),
        "points on the border": Prompts(((0.0, 0.0), (w, h), (w, 0.0), (0.0, h)), (1, 1, 0, 0)),
        "points just outside": Prompts(((-1.0, -0.5), (w + 1, h + 0.75)), (1, 0)),
        "a box": Prompts((), (), (w * 0.1, h * 0.2, w * 0.8, h * 0.9)),
        "a box over the edge": Prompts((), (), (-3.5, h / 4, w + 20, h + 1)),
        "a box and a point": Prompts(((w / 2, h / 2),), (0,), (0.0, 0.0, w, h)),
    }


def slots() -> Topic:
    """Prompt sets in the slots, for every rule of both."""
    topic = Topic("slots")
    rules: dict[str, tuple[Preprocess, PromptRule]] = {
        "longest_side": (LONGEST, SAM),
        "stretch": (STRETCH, SAM2),
        "plain": (STRETCH, EFFICIENT_SAM),
        "truncate": (TRUNCATED, SAM),
        "framed": (FRAMED, SAM),
        "letterbox": (LETTERBOX, SAM),
    }
    for rule_name, (preprocess, rule) in rules.items():
        for size in (LANDSCAPE, PORTRAIT, PIXEL):
            for name, prompts in _sets(*size).items():
                coords, labels = pack(prompts, fit(*size, preprocess), rule)
                topic.add(
                    f"{rule_name} {size[0]}x{size[1]} {name}",
                    **frame_of(preprocess, size),
                    prompts=asdict(rule),
                    given=asdict(prompts),
                    point_coords=coords,
                    point_labels=labels,
                )
    return topic


def drawn() -> Topic:
    """Prompt sets drawn for a network that takes them so."""
    topic = Topic("drawn_prompts")
    for size in (LANDSCAPE, PORTRAIT, PIXEL):
        for name, prompts in _sets(*size).items():
            rule = BOTH_KINDS if 0 in prompts.labels else DRAWN
            topic.add(
                f"{size[0]}x{size[1]} {name}",
                **frame_of(STRETCH, size),
                drawn_prompts=asdict(rule),
                given=asdict(prompts),
                prompt_masks=draw(prompts, fit(*size, STRETCH), rule).astype(bool),
            )
    return topic
