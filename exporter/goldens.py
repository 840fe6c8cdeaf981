"""Record seeded inputs and float32 torch outputs of every graph, for lowered graphs to repeat.

The picture comes from the scene generator, so that trained weights find something to segment. It is
square and so has no padding: one golden serves every target. Only a graph that writes the padding
itself gets a padded picture as well.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from numpy.random import PCG64, Generator

from exporter.bundle.drawn_prompts import draw
from exporter.bundle.flow import feeds, order_graphs
from exporter.bundle.goldens import SHARED, key
from exporter.bundle.preprocess import Floats, Frame, image_input, mask_scores, resized_size
from exporter.bundle.prompts import Prompts, pack
from exporter.bundle.rules import DrawnPrompts, MaskRule, Preprocess, PromptRule
from exporter.errors import LoweringError
from exporter.graphs import Graph, Named
from exporter.scenes.scene import Scene, box_around, point_inside, scene

Arrays = dict[str, npt.NDArray[np.generic]]
"""Key -> array, as in `exporter.bundle.goldens`."""

SEED = 20_000_000
"""A held-out scene, not used to train the demo model."""
SCENE = "scene"
"""Case name of a graph that takes no prompt."""
PADDED = "scene_padded"
"""Case name of a padded picture; it sorts after `SCENE`, whose outputs feed other cases."""


@dataclass(frozen=True)
class Case:
    """Prompts of one decoder call; `refines` names the case whose best mask is fed back."""

    name: str
    sets: tuple[Prompts, ...]
    refines: str = ""


@dataclass(frozen=True)
class Run:
    """One case of one graph: its own inputs and torch's outputs."""

    case: str
    inputs: Arrays
    outputs: dict[str, Floats]


@dataclass(frozen=True)
class Recorder:
    """The scene, and a bundle's prompts on it.

    Attributes:
        size: side S of the input, in pixels.
        rule: prompts in slots, drawn prompts, or None for a network that takes none.
        mask: the bundle's.
        seed: of the scene.
    """

    size: int
    rule: PromptRule | DrawnPrompts | None
    mask: MaskRule
    seed: int = SEED

    @cached_property
    def _scene(self) -> Scene:
        return scene(self.seed, self.size, self.size)

    @property
    def image(self) -> npt.NDArray[np.uint8]:
        """(1, 3, S, S) RGB."""
        return np.ascontiguousarray(self._scene.image.transpose(2, 0, 1)[None])

    @property
    def instances(self) -> npt.NDArray[np.bool_]:
        """(K, S, S): the scene's objects."""
        return self._scene.instances

    @property
    def frame(self) -> Frame:
        """The scene fills the input."""
        return Frame((self.size, self.size), (self.size, self.size), self.size)

    def runs(self, graph: Graph, given: Mapping[str, npt.NDArray[np.generic]]) -> Iterator[Run]:
        """Run every case of a graph.

        Args:
            graph: any.
            given: inputs shared by its cases.
        """
        taken = {tensor.name for tensor in graph.spec.inputs}
        examples = graph.examples(Generator(PCG64(SEED))) or {SCENE: {}}
        own = dict(next(iter(examples.values())))
        if isinstance(self.rule, PromptRule) and "point_coords" in taken:
            yield from self._slots(graph, given, own, self.rule)
        elif isinstance(self.rule, DrawnPrompts) and "prompt_masks" in taken:
            for name, prompts in drawn_cases(self.instances).items():
                inputs = own | {"prompt_masks": draw(prompts, self.frame, self.rule)}
                yield Run(name, inputs, run(graph, {**given, **inputs}))
        else:
            for name, each in examples.items():
                yield Run(name, dict(each), run(graph, {**given, **each}))

    def _slots(
        self,
        graph: Graph,
        given: Mapping[str, npt.NDArray[np.generic]],
        own: Arrays,
        rule: PromptRule,
    ) -> Iterator[Run]:
        taken = {tensor.name for tensor in graph.spec.inputs}
        best: dict[str, Floats] = {}
        for case in cases(self.instances, rule, refine="mask_input" in taken):
            previous, side = best.get(case.refines), self.mask.low_res_size
            inputs = _slot_inputs(case, self.frame, rule, previous, side)
            kept: Arrays = own | {name: array for name, array in inputs.items() if name in taken}
            outputs = run(graph, {**given, **kept})
            if "low_res_masks" in outputs:
                best[case.name] = _best(outputs, self.mask)
            yield Run(case.name, kept, outputs)


def record(
    graphs: Sequence[Graph],
    rule: PromptRule | DrawnPrompts | None,
    mask: MaskRule,
    seed: int = SEED,
) -> Arrays:
    """Run every graph in torch, on the scene and the outputs of earlier graphs.

    Args:
        graphs: the variant's.
        rule: see `Recorder`.
        mask: the bundle's.
        seed: of the scene.

    Returns:
        Key -> array. Every case of a graph shares the outputs of earlier graphs.
    """
    ordered = order_graphs(graphs)
    size = next(t.shape[-1] for graph in ordered for t in graph.spec.inputs if t.name == "image")
    recorder = Recorder(size, rule, mask, seed)
    goldens: Arrays = {}
    first: dict[str, dict[str, Floats]] = {}
    for at, graph in enumerate(ordered):
        name, earlier = graph.spec.name, feeds(graph, ordered[:at])
        shared: Arrays = {each: first[feed.graph][each] for each, feed in earlier.items()}
        own: Arrays = {}
        if any(tensor.name == "image" for tensor in graph.spec.inputs):
            (shared if len(ordered) == 1 else own)["image"] = recorder.image
        runs = {each.case: each for each in recorder.runs(graph, shared | own)}
        first[name] = runs[min(runs)].outputs
        goldens |= {key(name, SHARED, each): array for each, array in shared.items()}
        for case, ran in runs.items():
            for each, array in (own | ran.inputs | ran.outputs).items():
                goldens[key(name, case, each)] = array
    return goldens


def record_padding(graphs: Sequence[Graph], rule: Preprocess) -> Arrays:
    """Record the extra goldens of graphs that write the padding themselves.

    The padded case expects the outputs of the exact padding, but its input has noise there, which
    must have no effect.

    Args:
        graphs: the variant's, which leave the padding to the host.
        rule: the bundle's.

    Returns:
        Key -> array: `resized_size` of the scene, which fills the input; and the padded case.
    """
    if rule.padded_by == "host":
        return {}
    size = rule.size
    exact, frame = image_input(scene(SEED, size // 2 + 5, size).image, rule)
    image = Generator(PCG64(SEED)).integers(0, 256, exact.shape, np.uint8)
    width, height = frame.resized
    image[..., :height, :width] = exact[..., :height, :width]
    goldens: Arrays = {}
    for graph in graphs:
        if any(tensor.name == "image" for tensor in graph.spec.inputs):
            case: Arrays = {"image": image, "resized_size": resized_size(frame)}
            case |= run(graph, {"image": exact})
            name = graph.spec.name
            goldens |= {key(name, PADDED, each): array for each, array in case.items()}
            goldens[key(name, SCENE, "resized_size")] = np.full((1, 2), size, np.float32)
    return goldens


def run(graph: Graph, inputs: Mapping[str, npt.NDArray[np.generic]]) -> dict[str, Floats]:
    """Run a graph in torch, by names. LoweringError if an input is missing or misshapen."""
    for tensor in graph.spec.inputs:
        if tensor.name not in inputs:
            raise LoweringError(
                f"{graph.spec.name} takes {tensor.name}, which no golden case gives: "
                "add it to the graph's `examples`"
            )
        shape = inputs[tensor.name].shape
        if shape != tensor.shape:
            raise LoweringError(
                f"{graph.spec.name} takes {tensor.name} {tensor.shape}; its golden case has {shape}"
            )
    given = {
        tensor.name: torch.from_numpy(np.asarray(inputs[tensor.name], np.float32))
        for tensor in graph.spec.inputs
    }
    with torch.no_grad():
        return {name: output.numpy() for name, output in Named(graph)(**given).items()}


def drawn_cases(instances: npt.NDArray[np.bool_]) -> dict[str, Prompts]:
    """Make every kind of prompt that can be drawn."""
    first, second = (point_inside(mask) for mask in instances[:2])
    return {
        "click_a": Prompts((first,), (1,)),
        "click_b": Prompts((second,), (1,)),
        "points": Prompts((first, second), (1, 1)),
        "box": Prompts(box=box_around(instances[0])),
        "box_point": Prompts((first,), (1,), box_around(instances[0])),
    }


def cases(instances: npt.NDArray[np.bool_], rule: PromptRule, *, refine: bool = True) -> list[Case]:
    """Make every kind of prompt that fits the bundle's slots.

    Args:
        instances: (K, S, S) the scene's objects, at least two.
        rule: the bundle's.
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
    ]
    made = [case for case in made if refine or not case.refines]
    fitting = [case for case in made if case.sets[0].slots(rule) <= rule.slots]
    return [_fill_batch(case, clicks, rule) for case in fitting]


def _fill_batch(case: Case, clicks: list[tuple[float, float]], rule: PromptRule) -> Case:
    """Put the case's own set first; the other sets of the batch click on other objects."""
    others = tuple(Prompts((clicks[i % len(clicks)],), (1,)) for i in range(1, rule.batch))
    return dataclasses.replace(case, sets=case.sets + others)


def _slot_inputs(
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
    """Select the best of the `multi` masks of each set, (B, 1, h, w)."""
    tokens = list(rule.multi)
    masks = outputs["low_res_masks"][:, tokens]
    chosen = mask_scores(masks, outputs["iou_predictions"][:, tokens], rule).argmax(axis=1)
    return np.ascontiguousarray(masks[np.arange(len(chosen)), chosen][:, None])
