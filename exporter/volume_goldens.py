"""Goldens of the graphs of a volume: a procedural volume that fills the cube, and clicks in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from exporter.bundle.goldens import SHARED, key
from exporter.bundle.preprocess import Floats
from exporter.bundle.rules import MaskRule, PromptRule
from exporter.bundle.volume_cases import DECODER
from exporter.bundle.voxels import Clicks, Cube, decoder_inputs, volume_input
from exporter.goldens import SCENE, SEED, Arrays, run
from exporter.graphs import Graph
from exporter.scenes.volume import volume_scene, voxel_inside

ENCODER = "volume_encoder"
NO_MASK = "no_mask"
"""The case in which `has_mask_input` is 0."""


def record_volume(
    graphs: Sequence[Graph], rule: PromptRule, mask: MaskRule, seed: int = SEED
) -> Arrays:
    """Run both graphs in torch on the volume of a seed and every kind of prompt.

    Args:
        graphs: the variant's.
        rule: the bundle's.
        mask: the bundle's.
        seed: of the volume.

    Returns:
        Key -> array, as in `exporter.bundle.goldens`.
    """
    by_name = {graph.spec.name: graph for graph in graphs}
    encoder, decoder = by_name[ENCODER], by_name[DECODER]
    side = encoder.spec.inputs[0].shape[-1]
    shown = volume_scene(seed, (side, side, side))
    cube = Cube((side, side, side), (0, 0, 0), side)
    given = {"volume": volume_input(shown.values, cube)}
    embedded = run(encoder, given)
    goldens: Arrays = {
        key(ENCODER, SCENE, name): array for name, array in (given | embedded).items()
    }
    name = next(iter(embedded))
    goldens[key(DECODER, SHARED, name)] = embedded[name]
    places = [voxel_inside(each) for each in shown.instances]
    earlier: Floats | None = None
    for case, clicks in _cases(places, rule).items():
        fed = earlier if case == "refine" else None
        low = mask.low_res_size
        inputs = decoder_inputs(clicks, cube, rule, low, fed, no_mask=case == NO_MASK)
        outputs = run(decoder, embedded | inputs)
        if case == "click_a":
            earlier = outputs["low_res_masks"][0, mask.single]
        for each, array in (inputs | outputs).items():
            goldens[key(DECODER, case, each)] = array
    return goldens


def _cases(places: Sequence[tuple[float, float, float]], rule: PromptRule) -> Mapping[str, Clicks]:
    first, second = places[:2]
    many = tuple(places[at % len(places)] for at in range(rule.slots - 1))
    return {
        "click_a": Clicks((first,), (1,)),
        "click_b": Clicks((second,), (1,)),
        "points": Clicks((first, second)[: rule.slots - 1], (1, 0)[: rule.slots - 1]),
        NO_MASK: Clicks((second,), (1,)),
        "refine": Clicks((second,), (0,)),
        "full": Clicks(many, (1,) + (0,) * (len(many) - 1)),
    }
