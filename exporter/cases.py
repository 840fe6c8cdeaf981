"""Prompts of every kind on the objects of a picture."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from exporter.bundle.prompts import Prompts, is_taken
from exporter.bundle.rules import PromptRule
from exporter.scenes.scene import box_around, point_inside


@dataclass(frozen=True)
class Case:
    """Prompts of one decoder call; `refines` names the case whose best mask is fed back."""

    name: str
    sets: tuple[Prompts, ...]
    refines: str = ""


def drawn_cases(
    instances: npt.NDArray[np.bool_], given: Sequence[Prompts] = ()
) -> dict[str, Prompts]:
    """Make every kind of prompt that can be drawn, and the given ones."""
    first, second = (point_inside(mask) for mask in instances[:2])
    return {
        "click_a": Prompts((first,), (1,)),
        "click_b": Prompts((second,), (1,)),
        "points": Prompts((first, second), (1, 1)),
        "box": Prompts(box=box_around(instances[0])),
        "box_point": Prompts((first,), (1,), box_around(instances[0])),
        **{f"given_{at}": prompts for at, prompts in enumerate(given)},
    }


def cases(
    instances: npt.NDArray[np.bool_],
    rule: PromptRule,
    given: Sequence[Prompts] = (),
    *,
    refine: bool = True,
) -> list[Case]:
    """Make every kind of prompt that fits the bundle's slots, and the given ones.

    Args:
        instances: (K, S, S) the scene's objects, at least two.
        rule: the bundle's.
        given: prompt sets of the user's.
        refine: whether the decoder takes an earlier mask.
    """
    clicks = [point_inside(mask) for mask in instances]
    boxes = [box_around(mask) for mask in instances]
    several = tuple(clicks[i % len(clicks)] for i in range(rule.slots - rule.pad_without_box))
    made = [
        Case("click_a", (Prompts((clicks[0],), (1,)),)),
        Case("click_b", (Prompts((clicks[1],), (1,)),)),
        Case("points", (Prompts((clicks[0], clicks[1]), (1, 0)),)),
        Case("box", (Prompts(box=boxes[0]),)),
        Case("box_point", (Prompts((clicks[1],), (0,), boxes[0]),)),
        Case("refine", (Prompts((clicks[0],), (1,)),), refines="click_a"),
        Case("full", (Prompts(several, (1,) + (0,) * (len(several) - 1)),)),
        *(Case(f"given_{at}", (prompts,)) for at, prompts in enumerate(given)),
    ]
    made = [case for case in made if refine or not case.refines]
    fitting = [
        case
        for case in made
        if case.sets[0].slots(rule) <= rule.slots and is_taken(case.sets[0], rule)
    ]
    return [_fill_batch(case, clicks, rule) for case in fitting]


def _fill_batch(case: Case, clicks: list[tuple[float, float]], rule: PromptRule) -> Case:
    """Put the case's own set first; the other sets of the batch click on other objects."""
    others = tuple(Prompts((clicks[i % len(clicks)],), (1,)) for i in range(1, rule.batch))
    return dataclasses.replace(case, sets=case.sets + others)
