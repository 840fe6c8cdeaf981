"""Run the volume in a bundle's goldens as a user's; `runtimes.end_to_end` does it for pictures."""

from __future__ import annotations

import numpy as np

from exporter.bundle.agreement import END_TO_END
from exporter.bundle.end_to_end import AFTER, IMAGE, PICTURE, Array
from exporter.bundle.folder import Bundle
from exporter.bundle.goldens import SHARED, Goldens
from exporter.bundle.manifest import Figure
from exporter.bundle.preprocess import Bools, Floats
from exporter.bundle.volume_cases import VolumeAsk, read_answer, sampled_cube, volume_replays
from exporter.bundle.voxels import Cube, VolumeMasks, pack_clicks, place_cube, volume_input
from exporter.errors import BundleError, RequestError
from runtimes.engines import Load
from runtimes.measures import FULL_SCORE, IOU, Floors
from runtimes.segmenters.volume import VolumeSegmenter
from runtimes.worst import Worst

Shape = tuple[int, int, int]


def check_volume(
    bundle: Bundle, goldens: Goldens, load: Load, floors: Floors
) -> tuple[Figure, ...]:
    """Compare what the host makes of the volume, and its masks, with what was recorded.

    Args:
        bundle: sealed or not.
        goldens: the bundle's.
        load: its graphs.
        floors: for the figures.

    Returns:
        Figures of `end_to_end`: `image` (the cube), `prompts`, `masks`, `scores`, and of the rules
        alone `replayed_masks`, `replayed_scores`.

    Raises:
        BundleError: the goldens have no such volume.
    """
    values = goldens.array(END_TO_END, SHARED, PICTURE)
    if values.ndim != 3 or values.dtype != np.int16 or not values.size:
        raise BundleError(f"{goldens.place} holds no volume; export the bundle again")
    cases = [case for case in goldens.cases(END_TO_END) if not case.startswith(AFTER)]
    asks = {case: VolumeAsk.of(goldens, case) for case in cases}
    segmenter, worst = VolumeSegmenter(bundle, load=load), Worst()
    try:
        cube = _cube(values, asks, segmenter)
        volume = volume_input(values, cube)
        worst.compare("image", goldens.array(END_TO_END, SHARED, IMAGE), sampled_cube(volume))
        segmenter.set_volume(values, cube)
        _ask_all(segmenter, goldens, asks, cube, worst)
    except RequestError as error:
        raise BundleError(f"{goldens.place}: {END_TO_END}: {error}") from None
    for case, found in volume_replays(bundle.manifest, goldens, cube):
        _judge(worst, "replayed_", read_answer(goldens, case, cube.shape), found)
    return tuple(worst.figures(floors))


def _cube(values: Array, asks: dict[str, VolumeAsk], segmenter: VolumeSegmenter) -> Cube:
    x, y, z = values.shape
    points = [point for ask in asks.values() for point in ask.clicks.points]
    return place_cube((x, y, z), points, segmenter.rule.size)


def _ask_all(
    segmenter: VolumeSegmenter,
    goldens: Goldens,
    asks: dict[str, VolumeAsk],
    cube: Cube,
    worst: Worst,
) -> None:
    kept: dict[str, VolumeMasks] = {}
    for case, ask in sorted(asks.items(), key=lambda item: (bool(item[1].refines), item[0])):
        packed = pack_clicks(ask.clicks, cube, segmenter.prompts)
        for name, given in zip(("point_coords", "point_labels"), packed, strict=True):
            worst.compare("prompts", goldens.array(END_TO_END, case, name), given)
        earlier = kept.get(ask.refines)
        known = goldens.owns(END_TO_END, case, "masks")
        if not known or (ask.refines and earlier is None):
            continue
        fed = None if earlier is None else earlier.low_res_masks[0]
        kept[case] = segmenter.predict_clicks(ask.clicks, fed, multimask=ask.multimask)
        _judge(worst, "", read_answer(goldens, case, cube.shape), kept[case])


def _judge(worst: Worst, prefix: str, expected: tuple[Bools, Floats], found: VolumeMasks) -> None:
    """Compare an answer with the recorded one; as many masks, or none is right."""
    masks, scores = expected
    share = 0.0
    if masks.shape == found.masks.shape:
        both = (masks & found.masks).sum(axis=(1, 2, 3))
        either = (masks | found.masks).sum(axis=(1, 2, 3))
        share = float(np.where(either == 0, 1.0, both / np.maximum(either, 1)).min())
    worst.add(f"{prefix}masks", IOU, share)
    worst.compare(f"{prefix}scores", scores, found.iou_predictions, FULL_SCORE)
