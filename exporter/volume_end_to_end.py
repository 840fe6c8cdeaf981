"""Record one volume with clicks: what the host makes of it, and what the float32 graphs answer.

As `exporter.end_to_end` does for a picture; a case has an answer only if it is steady.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.random import PCG64, Generator

from exporter.bundle.end_to_end import FACTS, IMAGE, PICTURE, end_to_end_key, facts_array
from exporter.bundle.goldens import SHARED, Goldens
from exporter.bundle.manifest import Manifest
from exporter.bundle.preprocess import Floats
from exporter.bundle.volume_cases import (
    DECODER,
    Array,
    VolumeAsk,
    answer_arrays,
    masks_of_outputs,
    sampled_cube,
    volume_replays,
)
from exporter.bundle.voxels import (
    Clicks,
    Cube,
    VolumeMasks,
    Voxel,
    decoder_inputs,
    place_cube,
    volume_input,
    volume_rule,
)
from exporter.end_to_end import ANY_NOISE_DB, SEED, STEADY, Run
from exporter.scenes.volume import volume_scene, voxel_inside


def shape_of(size: int) -> tuple[int, int, int]:
    """Sides that are longer than the cube's, shorter, and odd."""
    return size + size // 8, size - size // 8 - 1, size + 3


def record_volume_end_to_end(
    manifest: Manifest, run: Run, goldens: Mapping[str, Array]
) -> dict[str, Array]:
    """Record the volume, its cases and the facts; see `exporter.bundle.volume_cases`.

    Args:
        manifest: with its graphs; as it will be written but for figures and hashes.
        run: the graphs in float32.
        goldens: of the graphs, by key.
    """
    rule, _ = volume_rule(manifest)
    shown = volume_scene(SEED, shape_of(rule.size))
    places = [voxel_inside(mask) for mask in shown.instances[:2]]
    cube = place_cube(shown.values.shape, places, rule.size)
    volume = volume_input(shown.values, cube)
    made: dict[str, Array] = {
        end_to_end_key(SHARED, PICTURE): shown.values,
        end_to_end_key(SHARED, IMAGE): sampled_cube(volume),
        end_to_end_key(SHARED, FACTS): facts_array(manifest),
    }
    cases = dict(_asked(manifest, run, volume, cube, places))
    for case, found in volume_replays(manifest, Goldens.of(goldens), cube):
        cases[case] = answer_arrays(found)
    for case, arrays in cases.items():
        made |= {end_to_end_key(case, name): array for name, array in arrays.items()}
    return made


def _asked(
    manifest: Manifest, run: Run, volume: Floats, cube: Cube, places: Sequence[Voxel]
) -> Iterator[tuple[str, dict[str, Array]]]:
    _, prompts = volume_rule(manifest)
    embedded = dict(run("volume_encoder", {"volume": volume}))
    kept: dict[str, VolumeMasks] = {}
    for case, ask in asks(places).items():
        earlier = kept.get(ask.refines)
        if ask.refines and earlier is None:
            continue
        fed = None if earlier is None else earlier.low_res_masks[0]
        inputs = decoder_inputs(ask.clicks, cube, prompts, manifest.mask.low_res_size, fed)
        outputs = dict(run(DECODER, embedded | inputs))
        found = masks_of_outputs(manifest, outputs, cube, multimask=ask.multimask)
        arrays = ask.arrays() | {n: inputs[n] for n in ("point_coords", "point_labels")}
        if _is_steady(manifest, outputs, cube, ask, found):
            kept[case] = found
            arrays |= answer_arrays(found)
        yield case, arrays


def asks(places: Sequence[Voxel]) -> dict[str, VolumeAsk]:
    """Every kind of request on the volume's first two objects."""
    first, second = places
    click = VolumeAsk(Clicks((first,), (1,)))
    return {
        "point": click,
        "points_multimask": VolumeAsk(Clicks((first, second), (1, 0)), multimask=True),
        "refine": VolumeAsk(Clicks((second,), (0,)), refines="point"),
    }


def _is_steady(
    manifest: Manifest, outputs: Mapping[str, Array], cube: Cube, ask: VolumeAsk, found: VolumeMasks
) -> bool:
    """Tell whether errors as large as the floors allow leave an answer about the same."""
    for seed in range(2):
        rng = Generator(PCG64(seed))
        noisy = dict(outputs)
        for name, exact in outputs.items():
            share = 10 ** (-ANY_NOISE_DB / 20) * float(np.abs(exact).max())
            noise = rng.standard_normal(exact.shape, np.float32)
            noisy[name] = exact + noise * np.float32(share)
        other = masks_of_outputs(manifest, noisy, cube, multimask=ask.multimask)
        both = (other.masks & found.masks).sum(axis=(1, 2, 3))
        either = (other.masks | found.masks).sum(axis=(1, 2, 3))
        if (both < STEADY * either).any():
            return False
    return True
