"""Record seeded inputs and float32 torch outputs of every graph, for lowered graphs to repeat.

The picture comes from the scene generator, so that trained weights find something to segment. It is
square and so has no padding: one golden serves every target. Only a graph that writes the padding
itself gets a padded picture as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from numpy.random import PCG64, Generator

from exporter.bundle.drawn_prompts import draw
from exporter.bundle.flow import feeds, order_graphs
from exporter.bundle.goldens import SHARED, key
from exporter.bundle.masks import masks_of
from exporter.bundle.preprocess import (
    Bools,
    Floats,
    Frame,
    image_input,
    mask_scores,
    resized_size,
)
from exporter.bundle.prompts import Prompts, pack
from exporter.bundle.rules import DrawnPrompts, MaskRule, Preprocess, PromptRule
from exporter.cases import Case, cases, drawn_cases
from exporter.errors import LoweringError
from exporter.graphs import Graph, Named
from exporter.scenes.scene import scene
from exporter.subjects import SceneSubject, Subject

Arrays = dict[str, npt.NDArray[np.generic]]
"""Key -> array, as in `exporter.bundle.goldens`."""

SEED = 20_000_000
"""A held-out scene, not used to train the demo model."""
SCENE = "scene"
"""Case name of a graph that takes no prompt."""
CLICK = "click"
"""Word in the names of cases that click once."""
PADDED = "scene_padded"
"""Case name of a padded picture; it sorts after `SCENE`, whose outputs feed other cases."""


@dataclass(frozen=True)
class Run:
    """One case of one graph: its own inputs and torch's outputs."""

    case: str
    inputs: Arrays
    outputs: dict[str, Floats]


@dataclass(frozen=True)
class Recorder:
    """A picture, and a bundle's prompts on it.

    Attributes:
        subject: the picture.
        rule: prompts in slots, drawn prompts, or None for a network that takes none.
        mask: the bundle's.
    """

    subject: Subject
    rule: PromptRule | DrawnPrompts | None
    mask: MaskRule

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
            subject = self.subject
            for name, prompts in drawn_cases(subject.instances(None), subject.given).items():
                inputs = own | {"prompt_masks": draw(prompts, subject.frame, self.rule)}
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

        def inputs_of(case: Case) -> Arrays:
            previous, side = best.get(case.refines), self.mask.low_res_size
            inputs = _slot_inputs(case, self.subject.frame, rule, previous, side)
            inputs["resized_size"] = resized_size(self.subject.frame)
            return own | {name: array for name, array in inputs.items() if name in taken}

        def ask(prompts: Sequence[Prompts]) -> list[tuple[float, Bools]]:
            found: list[tuple[float, Bools]] = []
            for at in range(0, len(prompts), rule.batch):
                sets = (*prompts[at : at + rule.batch], *(prompts[-1],) * rule.batch)[: rule.batch]
                outputs = run(graph, {**given, **inputs_of(Case("", sets))})
                found += self._answers(outputs)
            return found[: len(prompts)]

        asked = any(tensor.name == "low_res_masks" for tensor in graph.spec.outputs)
        instances = self.subject.instances(ask if asked else None)
        refine = "mask_input" in taken
        for case in cases(instances, rule, self.subject.given, refine=refine):
            kept = inputs_of(case)
            outputs = run(graph, {**given, **kept})
            if "low_res_masks" in outputs:
                best[case.name] = _best(outputs, self.mask)
            yield Run(case.name, kept, outputs)

    def _answers(self, outputs: Mapping[str, Floats]) -> Iterator[tuple[float, Bools]]:
        """Choose the best mask of each set of a batch, with its score."""
        frame = self.subject.frame
        for logits, iou in zip(outputs["low_res_masks"], outputs["iou_predictions"], strict=True):
            masks = masks_of(logits, iou, frame, self.mask, multimask=True)
            yield float(masks.scores[masks.best]), masks.masks[masks.best]


def record(
    graphs: Sequence[Graph],
    rule: PromptRule | DrawnPrompts | None,
    mask: MaskRule,
    seed: int = SEED,
    subject: Subject | None = None,
) -> Arrays:
    """Run every graph in torch, on a picture and the outputs of earlier graphs.

    Args:
        graphs: the variant's.
        rule: see `Recorder`.
        mask: the bundle's.
        seed: of the scene that is the picture.
        subject: another picture, or None.

    Returns:
        Key -> array. Every case of a graph shares the outputs of earlier graphs.
    """
    ordered = order_graphs(graphs)
    recorder = Recorder(subject or SceneSubject(seed, input_sides(ordered)), rule, mask)
    goldens: Arrays = {}
    first: dict[str, dict[str, Floats]] = {}
    clicks: dict[str, dict[str, dict[str, Floats]]] = {}
    for at, graph in enumerate(ordered):
        name, earlier = graph.spec.name, feeds(graph, ordered[:at])
        asked = {each: feed.graph for each, feed in earlier.items() if feed.graph in clicks}
        shared: Arrays = {
            each: first[feed.graph][each] for each, feed in earlier.items() if each not in asked
        }
        if asked:
            goldens |= _answered(graph, shared, {each: clicks[at] for each, at in asked.items()})
            continue
        own: Arrays = {}
        if any(tensor.name == "image" for tensor in graph.spec.inputs):
            (shared if len(ordered) == 1 else own)["image"] = recorder.subject.image
        runs = {each.case: each for each in recorder.runs(graph, shared | own)}
        first[name] = runs[min(runs)].outputs
        if graph.spec.runs == "prompt":
            clicks[name] = {case: ran.outputs for case, ran in runs.items() if CLICK in case}
        goldens |= {key(name, SHARED, each): array for each, array in shared.items()}
        for case, ran in runs.items():
            for each, array in (own | ran.inputs | ran.outputs).items():
                goldens[key(name, case, each)] = array
    return goldens


def _answered(
    graph: Graph, shared: Arrays, asked: Mapping[str, Mapping[str, Mapping[str, Floats]]]
) -> Arrays:
    """Record a graph that goes on from prompts that another took: a case for each click.

    Args:
        graph: any.
        shared: inputs of all cases.
        asked: of its other inputs: case of the graph that gives it -> that graph's outputs.
    """
    name = graph.spec.name
    goldens = {key(name, SHARED, each): array for each, array in shared.items()}
    for case in next(iter(asked.values())):
        given: Arrays = {each: outputs[case][each] for each, outputs in asked.items()}
        for each, array in (given | run(graph, shared | given)).items():
            goldens[key(name, case, each)] = array
    return goldens


def input_sides(graphs: Sequence[Graph]) -> tuple[int, int]:
    """Find the last two sides of the image, or of the volume, that the graphs take."""
    taken = (tensor for graph in graphs for tensor in graph.spec.inputs)
    shape = next(tensor.shape for tensor in taken if tensor.name in ("image", "volume"))
    return shape[-2], shape[-1]


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
    tall, wide = rule.shape
    exact, frame = image_input(scene(SEED, tall // 2 + 5, wide).image, rule)
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
            goldens[key(name, SCENE, "resized_size")] = np.array([[wide, tall]], np.float32)
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
