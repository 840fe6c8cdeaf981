"""Record one picture with prompts: what the host makes of it, and what the float32 graphs answer.

The picture is larger than the input and not square, so that every step of the preprocessing counts.
A case has an answer only if an error as large as the floors allow would not turn its choice of a
mask: what flips by chance cannot be held against a bundle. numpy and Pillow; the caller has the
graphs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.random import PCG64, Generator

from exporter.bundle.agreement import low_res_shape
from exporter.bundle.end_to_end import (
    ANSWERING,
    DETECTED,
    FACTS,
    IMAGE,
    PICTURE,
    Answer,
    Array,
    Ask,
    answer,
    end_to_end_key,
    facts_array,
    prompt_inputs,
    replays,
    sample,
)
from exporter.bundle.flow import order_graphs
from exporter.bundle.goldens import SHARED, Goldens
from exporter.bundle.manifest import Manifest
from exporter.bundle.masks import Masks
from exporter.bundle.preprocess import Floats, Frame, image_input, resized_size
from exporter.bundle.prompts import Prompts, is_taken
from exporter.scenes.scene import Scene, box_around, point_inside, scene

Run = Callable[[str, Mapping[str, Array]], Mapping[str, Array]]
"""Graph name, canonical inputs by name -> canonical outputs by name, in float32."""

SEED = 30_000_000
"""Scenes that were not used to train the demo model."""
MOST_PIXELS = 2**18
NOISE_DB = {"boxes": 60.0}
ANY_NOISE_DB = 50.0
"""Below an output's largest value: the floors of fp16's boxes and masks."""
SEVERAL = {"point", "box_point"}
"""Prompt sets that are asked for one mask and for several."""
STEADY = 0.97
"""Least IoU of a case's masks under that noise; the floor of fp16's masks is 0.95."""


def choose_scene(size: int) -> Scene:
    """Compose the picture for an input of `size` pixels: a third wider, and not square.

    Its height is such that the two published ways to round a side differ.
    """
    width = size * 4 // 3 + 1
    height = min(width * 5 // 8, MOST_PIXELS // width)
    while height * size / width % 1 < 0.6:
        height += 1
    seeds = (scene(seed, height, width) for seed in range(SEED, SEED + 100))
    return next(made for made in seeds if len(made.instances) >= 2)


@dataclass(frozen=True)
class Stage:
    """The picture before the graphs.

    Attributes:
        manifest: its rules and specs; the files need not be there.
        run: the graphs in float32.
        image: the `image` input.
        frame: where the picture lies in it.
    """

    manifest: Manifest
    run: Run
    image: Floats
    frame: Frame

    @cached_property
    def once(self) -> dict[str, Array]:
        """What prompts share: the image, and the outputs of the graphs that run once an image."""
        frame = self.frame
        given: dict[str, Array] = {"image": self.image, "resized_size": resized_size(frame)}
        return self._after("image", given)

    def outputs(self, ask: Ask, earlier: Floats | None) -> dict[str, Array]:
        """Run the graphs that answer a prompt set.

        Args:
            ask: the prompt set.
            earlier: (h, w) logits that it refines, or None.
        """
        manifest, frame = self.manifest, self.frame
        low, batch = low_res_shape(manifest), manifest.prompts.batch if manifest.prompts else 1
        fed = np.zeros((batch, 1, *low), np.float32)
        fed[:] = 0 if earlier is None else earlier
        given = self.once | {
            **prompt_inputs(manifest, ask.prompts, frame),
            "mask_input": fed,
            "has_mask_input": np.full(batch, float(earlier is not None), np.float32),
        }
        return self._after("prompt", given)

    def _after(self, runs: str, given: dict[str, Array]) -> dict[str, Array]:
        for graph in order_graphs(self.manifest.graphs):
            if graph.spec.runs == runs:
                taken = {tensor.name: given[tensor.name] for tensor in graph.spec.inputs}
                given = given | dict(self.run(graph.spec.name, taken))
        return given


def record_end_to_end(
    manifest: Manifest, run: Run, goldens: Mapping[str, Array]
) -> dict[str, Array]:
    """Record the picture, its cases and the facts; see `exporter.bundle.end_to_end`.

    Args:
        manifest: with its graphs; as it will be written but for figures and hashes.
        run: the graphs in float32.
        goldens: of the graphs, by key.
    """
    shown = choose_scene(manifest.preprocess.size)
    image, frame = image_input(shown.image, manifest.preprocess)
    stage = Stage(manifest, run, image, frame)
    made: dict[str, Array] = {
        end_to_end_key(SHARED, PICTURE): shown.image,
        end_to_end_key(SHARED, IMAGE): sample(image),
        end_to_end_key(SHARED, FACTS): facts_array(manifest),
    }
    cases = dict(_asked(stage, shown))
    for case, ask, found in replays(manifest, Goldens.of(goldens), frame):
        cases[case] = ask.arrays() | found.arrays()
    for case, arrays in cases.items():
        made |= {end_to_end_key(case, name): array for name, array in arrays.items()}
    return made


def _asked(stage: Stage, shown: Scene) -> Iterator[tuple[str, dict[str, Array]]]:
    """Make the inputs of every prompt set, and its answer if that is steady."""
    frame, kept = stage.frame, dict[str, Masks]()
    runs: dict[tuple[Prompts, str], dict[str, Array]] = {}
    for case, ask in asks(stage.manifest, shown).items():
        earlier = kept.get(ask.refines)
        if ask.refines and earlier is None:
            continue
        fed = None if earlier is None else earlier.low_res_masks[earlier.best]
        same = (ask.prompts, ask.refines)
        outputs = runs[same] = runs.get(same) or stage.outputs(ask, fed)
        found, masks = answer(stage.manifest, outputs, frame, ask)
        arrays = ask.arrays() | prompt_inputs(stage.manifest, ask.prompts, frame)
        if is_steady(stage.manifest, outputs, frame, ask, found):
            kept[case] = masks
            arrays |= found.arrays()
        yield case, arrays


def is_steady(
    manifest: Manifest, outputs: Mapping[str, Array], frame: Frame, ask: Ask, found: Answer
) -> bool:
    """Tell whether errors as large as the floors allow leave an answer about the same."""
    read = DETECTED if manifest.detections else ANSWERING
    for seed in range(2):
        rng = Generator(PCG64(seed))
        noisy = dict(outputs)
        for name in read:
            exact = np.asarray(outputs[name], np.float32)
            share = 10 ** (-NOISE_DB.get(name, ANY_NOISE_DB) / 20)
            noise = rng.standard_normal(exact.shape, np.float32)
            noisy[name] = exact + noise * np.float32(share * float(np.abs(exact).max()))
        other, _ = answer(manifest, noisy, frame, ask)
        if other.masks.shape != found.masks.shape:
            return False
        both = (other.masks & found.masks).sum(axis=(1, 2))
        either = (other.masks | found.masks).sum(axis=(1, 2))
        if (both < STEADY * either).any():
            return False
    return True


def asks(manifest: Manifest, shown: Scene) -> dict[str, Ask]:
    """Make every kind of prompt set that the bundle takes, on the picture's first two objects."""
    first, second = (point_inside(mask) for mask in shown.instances[:2])
    box = box_around(shown.instances[0])
    made = {
        "point": Ask(Prompts((first,), (1,))),
        "points": Ask(Prompts((first, second), (1, 0))),
        "box": Ask(Prompts(box=box)),
    }
    if manifest.detections is not None:
        return made | {"everything": Ask(Prompts())}
    made["box_point"] = Ask(Prompts((first,), (1,), box))
    drawn, rule = manifest.drawn_prompts, manifest.prompts
    made = {
        name: ask
        for name, ask in made.items()
        if (drawn is None or drawn.background_points or 0 not in ask.prompts.labels)
        and (rule is None or ask.prompts.slots(rule) <= rule.slots)
        and (rule is None or is_taken(ask.prompts, rule))
    }
    made |= {
        f"{name}_multimask": replace(made[name], multimask=True) for name in SEVERAL & set(made)
    }
    taken = {tensor.name for graph in manifest.graphs for tensor in graph.spec.inputs}
    if "mask_input" in taken:
        made["refine"] = replace(made["box"], refines="box")
    return made
