"""Seeded inputs and the float32 torch outputs of both graphs: what every lowered graph must repeat.

The picture comes from the scene generator, so that trained weights segment something in it. It is
square: no padding, so one golden serves every target, whatever its padding can hold.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from exporter.bundle.drawn_prompts import draw
from exporter.bundle.goldens import SHARED, key
from exporter.bundle.preprocess import Floats, Frame, mask_scores
from exporter.bundle.prompts import Prompts, pack
from exporter.bundle.rules import DrawnPrompts, MaskRule, PromptRule
from exporter.graphs import Graph
from exporter.scenes.scene import scene

Arrays = dict[str, npt.NDArray[np.generic]]
"""Key -> array, as `exporter.bundle.goldens` keeps them."""

SEED = 20_000_000
"""A held-out scene: the demo model was not trained on it."""


@dataclasses.dataclass(frozen=True)
class Case:
    """Prompts of one decoder call; `refines` names the case whose best mask is fed back."""

    name: str
    sets: tuple[Prompts, ...]
    refines: str = ""


def record(graphs: Sequence[Graph], prompts: PromptRule, mask: MaskRule) -> Arrays:
    """Run the image encoder and the mask decoder in torch.

    Returns:
        Key -> array; what the encoder gives is shared by every case of the decoder.
    """
    encoder, decoder = graphs
    size = encoder.spec.inputs[0].shape[-1]
    picture = scene(SEED, size, size)
    image = np.ascontiguousarray(picture.image.transpose(2, 0, 1)[None])
    embedded = run(encoder, {"image": image.astype(np.float32)})
    goldens: Arrays = {key(encoder.spec.name, "scene", "image"): image}
    for name, array in embedded.items():
        goldens[key(encoder.spec.name, "scene", name)] = array
        goldens[key(decoder.spec.name, SHARED, name)] = array
    frame = Frame((size, size), (size, size), size)
    best: dict[str, Floats] = {}
    taken = {tensor.name for tensor in decoder.spec.inputs}
    for case in cases(picture.instances, prompts, refine="mask_input" in taken):
        inputs = _inputs(case, frame, prompts, best.get(case.refines), mask.low_res_size)
        inputs = {name: array for name, array in inputs.items() if name in taken}
        named = run(decoder, embedded | inputs)
        best[case.name] = _best(named, mask)
        for name, array in (inputs | named).items():
            goldens[key(decoder.spec.name, case.name, name)] = array
    return goldens


def record_alone(graph: Graph, drawn: DrawnPrompts | None) -> Arrays:
    """Run a variant's only graph in torch.

    Args:
        graph: `segmenter`.
        drawn: how it takes prompts; None where it takes none.

    Returns:
        As `record` does; `segmenter/*/image` is every case's.
    """
    size, name = graph.spec.inputs[0].shape[-1], graph.spec.name
    picture = scene(SEED, size, size)
    image = np.ascontiguousarray(picture.image.transpose(2, 0, 1)[None])
    goldens: Arrays = {key(name, SHARED, "image"): image}
    frame = Frame((size, size), (size, size), size)
    for case, inputs in _drawn_cases(picture.instances, frame, drawn).items():
        named = run(graph, {"image": image.astype(np.float32), **inputs})
        goldens |= {key(name, case, tensor): array for tensor, array in (inputs | named).items()}
    return goldens


def _drawn_cases(
    instances: npt.NDArray[np.bool_], frame: Frame, drawn: DrawnPrompts | None
) -> dict[str, dict[str, Floats]]:
    """Inputs beside the image, by case."""
    if drawn is None:
        return {"scene": {}}
    first, second = (_inside(mask) for mask in instances[:2])
    sets = {
        "click_a": Prompts((first,), (1,)),
        "click_b": Prompts((second,), (1,)),
        "points": Prompts((first, second), (1, 1)),
        "box": Prompts(box=_box(instances[0])),
        "box_point": Prompts((first,), (1,), _box(instances[0])),
    }
    return {name: {"prompt_masks": draw(made, frame, drawn)} for name, made in sets.items()}


def run(graph: Graph, inputs: dict[str, Floats]) -> dict[str, Floats]:
    """A graph in torch, from names to names."""
    given = [torch.from_numpy(inputs[tensor.name]) for tensor in graph.spec.inputs]
    with torch.no_grad():
        found = graph.module(*given)
    outputs = (found,) if isinstance(found, torch.Tensor) else found
    return {t.name: o.numpy() for t, o in zip(graph.spec.outputs, outputs, strict=True)}


def cases(instances: npt.NDArray[np.bool_], rule: PromptRule, *, refine: bool = True) -> list[Case]:
    """Every kind of prompt that fits the bundle's slots.

    Args:
        instances: (K, S, S) the scene's objects, at least two.
        rule: the bundle's.
        refine: whether the decoder takes an earlier mask.
    """
    clicks = [_inside(mask) for mask in instances]
    boxes = [_box(mask) for mask in instances]
    several = tuple(clicks[i % len(clicks)] for i in range(rule.slots - rule.pad_without_box))
    made = [
        Case("click_a", (Prompts((clicks[0],), (1,)),)),
        Case("click_b", (Prompts((clicks[1],), (1,)),)),
        Case("points", (Prompts((clicks[0], clicks[1]), (1, 0)),)),
        Case("box", (Prompts(box=boxes[0]),)),
        Case("box_point", (Prompts((clicks[1],), (0,), boxes[0]),)),
        Case("refine", (Prompts((clicks[0],), (1,)),), refines="click_a"),
        Case("full", (Prompts(several, (1,) + (0,) * (len(several) - 1)),)),
    ]
    made = [case for case in made if refine or not case.refines]
    fitting = [case for case in made if case.sets[0].slots(rule) <= rule.slots]
    return [_fill_batch(case, clicks, rule) for case in fitting]


def _fill_batch(case: Case, clicks: list[tuple[float, float]], rule: PromptRule) -> Case:
    """The case's own set first; the other sets of the batch click on other objects."""
    others = tuple(Prompts((clicks[i % len(clicks)],), (1,)) for i in range(1, rule.batch))
    return dataclasses.replace(case, sets=case.sets + others)


def _inputs(
    case: Case, frame: Frame, rule: PromptRule, previous: Floats | None, low: int
) -> dict[str, Floats]:
    packed = [pack(prompts, frame, rule) for prompts in case.sets]
    given = previous is not None
    mask = previous if previous is not None else np.zeros((rule.batch, 1, low, low), np.float32)
    return {
        "point_coords": np.concatenate([coords for coords, _ in packed]),
        "point_labels": np.concatenate([labels for _, labels in packed]),
        "mask_input": mask,
        "has_mask_input": np.full(rule.batch, float(given), np.float32),
    }


def _best(outputs: dict[str, Floats], rule: MaskRule) -> Floats:
    """(B, 1, h, w): the best of the `multi` masks of each set."""
    tokens = list(rule.multi)
    masks = outputs["low_res_masks"][:, tokens]
    chosen = mask_scores(masks, outputs["iou_predictions"][:, tokens], rule).argmax(axis=1)
    return np.ascontiguousarray(masks[np.arange(len(chosen)), chosen][:, None])


def _inside(mask: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """A pixel of the mask: the one nearest to its centroid."""
    rows, cols = np.nonzero(mask)
    nearest = int(np.argmin((rows - rows.mean()) ** 2 + (cols - cols.mean()) ** 2))
    return float(cols[nearest]), float(rows[nearest])


def _box(mask: npt.NDArray[np.bool_]) -> tuple[float, float, float, float]:
    rows, cols = np.nonzero(mask)
    return float(cols.min()), float(rows.min()), float(cols.max() + 1), float(rows.max() + 1)
