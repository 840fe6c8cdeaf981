"""`sam-run BUNDLE VOLUME`: arguments -> masks of a volume."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from exporter.bundle.folder import Bundle
from exporter.bundle.preprocess import Bools, Floats
from exporter.bundle.voxels import (
    Clicks,
    Cube,
    VolumeMasks,
    check_clicks,
    place_cube,
    volume_rule,
)
from exporter.errors import PromptError, RequestError
from exporter.printable import one_line
from runtimes.engines import choose_engine
from runtimes.measures import degraded
from runtimes.objects import Point
from runtimes.pictures.writing import (
    require_outside,
    require_picture_format,
    require_writable,
    save_picture,
)
from runtimes.segmenters.volume import VolumeSegmenter
from runtimes.volumes import Volume
from runtimes.volumes.files import (
    NUMPY,
    mask_writer,
    part_of,
    read_logits,
    read_volume,
    record_of,
    require_affine,
    require_mask_file,
    require_same_cube,
    save_logits,
    stem_of,
    suffix_of,
)

OF_VOLUME = frozenset(
    {"--point", "--mask-input", "--no-mask", "--multimask", "--refine", "--resample", "--output"}
    | {"--mask", "--save-logits", "--engine", "--threads", "--json", "--debug", "--verify-key"}
)
"""Options that a volume takes."""
UNLIKE = 0.05
"""Share by which a spacing differs from the network's, from which on that is said."""
_SUBJECT = "this bundle segments volumes"


@dataclass(frozen=True)
class VolumeFiles:
    """Files to write; None is not written."""

    montage: Path | None
    mask: Path | None
    logits: Path | None

    @property
    def asked(self) -> list[Path]:
        """Those that are written."""
        return [path for path in (self.montage, self.mask, self.logits) if path is not None]


@dataclass(frozen=True)
class Asked:
    """What is asked of a volume, and with what.

    Attributes:
        own: clicks in voxels of the file.
        clicks: in the volume's turned axes.
    """

    volume: Volume
    own: Clicks
    clicks: Clicks
    cube: Cube


def segment_volume(arguments: argparse.Namespace, bundle: Bundle, threads: int) -> int:
    """Segment an object in the volume that the arguments name; returns the exit status.

    Raises:
        SamExportError: the request cannot be done, or a graph failed; then nothing is written.
    """
    _require_options(arguments)
    files = _files(arguments, bundle)
    rule, prompts = volume_rule(bundle.manifest)
    own = _clicks(arguments.point)
    earlier = _earlier(arguments, rule.low_res_size)
    volume = read_volume(arguments.image)
    for clicks in _alone(own) if arguments.use_m2m else [own]:
        check_clicks(clicks, volume.own_shape, prompts)
    turned = tuple(volume.turn.voxel(at, volume.shape) for at in own.points)
    cube = place_cube(volume.shape, turned, rule.size, _scale(volume, arguments))
    if files.mask is not None:
        require_affine(files.mask, volume, arguments.image)
    if arguments.mask_input:
        require_same_cube(arguments.mask_input[0].path, cube)
    asked = Asked(volume, own, Clicks(turned, own.labels), cube)
    engine = choose_engine(bundle.manifest.target, arguments.engine).name
    ms = dict[str, float]()
    found = _predict(arguments, bundle, (engine, threads), asked, earlier, ms)
    warning = f"{bundle.path.name} is {degraded(bundle.manifest)}"
    notes = [warning if bundle.manifest.degraded else "", *volume.notes]
    _tell([*notes, _spacing_note(volume, arguments, rule.spacing)])
    written = _write(files, asked, found)
    if arguments.json:
        facts = {"bundle": str(bundle.path), "engine": engine, **_facts(bundle, asked, found)}
        timed = {"device": "host"} | {name: round(value, 3) for name, value in ms.items()}
        names = [str(path) for path in written]
        print(json.dumps({**facts, "ms": timed, "files": names}, indent=2))
        return 0
    lines = [
        f"mask {i}: iou {iou:.3f}, {int(mask.sum())} voxels"
        for i, (iou, mask) in enumerate(zip(found.iou_predictions, found.masks, strict=True))
    ]
    for line in (*lines, *map(str, written)):
        print(one_line(line))
    return 0


def _require_options(arguments: argparse.Namespace) -> None:
    """RequestError for an option of pictures or videos, or two that do not go together."""
    others = sorted(arguments.given - OF_VOLUME)
    if others:
        raise RequestError(f"{others[0]} is for pictures and videos, and {_SUBJECT}")
    if str(arguments.image) == "-":
        raise RequestError(f"standard input is a stream of frames, and {_SUBJECT}: give a file")
    if arguments.use_m2m and arguments.multimask:
        raise RequestError("--refine goes on from one mask: leave out --multimask")
    if arguments.no_mask and (arguments.mask_input or arguments.use_m2m):
        raise RequestError("--no-mask is without any mask: leave out --mask-input and --refine")


def _clicks(points: Sequence[Point]) -> Clicks:
    """`--point I,J,K[,LABEL]`, in voxels of the file."""
    if not points:
        raise PromptError("no prompt: give a voxel, as --point I,J,K")
    places, labels = [], []
    for point in points:
        if point.name or point.frame is not None or point.owner:
            raise PromptError(f"@NAME is of pictures and videos, and {_SUBJECT}, an object a run")
        if len(point.numbers) not in (3, 4):
            given = ",".join(f"{number:g}" for number in point.numbers)
            raise PromptError(f"a voxel is I,J,K or I,J,K,LABEL, not '{given}': {_SUBJECT}")
        i, j, k, *label = point.numbers
        places.append((i, j, k))
        labels.append(int(label[0]) if label else 1)
    return Clicks(tuple(places), tuple(labels))


def _alone(clicks: Clicks) -> list[Clicks]:
    return [clicks.alone(index) for index in range(len(clicks.points))]


def _earlier(arguments: argparse.Namespace, side: int) -> Floats | None:
    if len(arguments.mask_input) > 1:
        raise RequestError("--mask-input was given twice: a volume takes one")
    return read_logits(arguments.mask_input[0].path, side) if arguments.mask_input else None


def _scale(volume: Volume, arguments: argparse.Namespace) -> tuple[float, float, float]:
    """Resampled voxels for one of the volume's."""
    if arguments.resample is None:
        return (1.0, 1.0, 1.0)
    if volume.spacing is None:
        raise RequestError(
            f"{arguments.image} does not tell the size of its voxels: leave out --resample"
        )
    x, y, z = (side / arguments.resample for side in volume.spacing)
    return x, y, z


def _spacing_note(volume: Volume, arguments: argparse.Namespace, trained: float) -> str:
    """Say that voxels are not those that the network was trained on, unless they are resampled."""
    if volume.spacing is None or arguments.resample is not None:
        return ""
    if all(abs(side / trained - 1) <= UNLIKE for side in volume.spacing):
        return ""
    sides = " x ".join(map(_plain, volume.spacing))
    kind = "are" if max(volume.spacing) <= min(volume.spacing) * (1 + UNLIKE) else "are not cubes:"
    return (
        f"the voxels {kind} {sides} mm, and the network was trained on {trained:g} mm: "
        f"--resample {trained:g} resamples the volume for it"
    )


def _plain(number: float) -> str:
    """Three digits, without an exponent."""
    return np.format_float_positional(number, precision=3, fractional=False, trim="-")


def _predict(
    arguments: argparse.Namespace,
    bundle: Bundle,
    run: tuple[str, int],
    asked: Asked,
    earlier: Floats | None,
    ms: dict[str, float],
) -> VolumeMasks:
    start = time.perf_counter()
    segmenter = VolumeSegmenter(bundle, *run)
    ms["load"] = (time.perf_counter() - start) * 1000
    start = time.perf_counter()
    segmenter.set_volume(asked.volume.values, asked.cube)
    ms["set_volume"] = (time.perf_counter() - start) * 1000
    start = time.perf_counter()
    if arguments.use_m2m:
        found = segmenter.refine(asked.clicks, earlier)
    else:
        found = segmenter.predict_clicks(
            asked.clicks, earlier, multimask=arguments.multimask, no_mask=arguments.no_mask
        )
    ms["predict"] = (time.perf_counter() - start) * 1000
    return found


def _files(arguments: argparse.Namespace, bundle: Bundle) -> VolumeFiles:
    """Name the files asked for. RequestError, before any work, if one cannot be written."""
    files = VolumeFiles(arguments.output, arguments.mask, arguments.save_logits)
    if not files.asked and not arguments.json:
        files = VolumeFiles(Path(f"{stem_of(arguments.image)}.overlay.png"), None, None)
    if len({path.resolve() for path in [arguments.image, *files.asked]}) <= len(files.asked):
        raise RequestError("VOLUME, -o, --mask and --save-logits should be different files")
    records = [] if files.logits is None else [record_of(files.logits)]
    for path in (*files.asked, *records):
        require_writable(path)
    if files.montage is not None:
        require_picture_format(files.montage)
    if files.mask is not None:
        require_mask_file(files.mask)
    if files.logits is not None and suffix_of(files.logits) != NUMPY:
        raise RequestError(f"{files.logits} should end in .npy, which --mask-input reads again")
    require_outside(files.asked, [bundle.path])
    return files


def _write(files: VolumeFiles, asked: Asked, found: VolumeMasks) -> list[Path]:
    """Write the files asked for; all are made before the first is written."""
    writers: list[tuple[Path, Callable[[], None]]] = []
    if files.montage is not None:
        from runtimes.volumes.montage import montage  # fonts and drawing take a while to import

        drawn = montage(asked.volume, asked.cube, found.masks[found.best], asked.clicks)
        writers.append((files.montage, partial(save_picture, files.montage, drawn)))
    if files.mask is not None:
        for index, mask in enumerate(found.masks):
            path = part_of(files.mask, index, len(found.masks))
            writers.append((path, mask_writer(path, mask, asked.volume)))
    if files.logits is not None:
        save = partial(save_logits, files.logits, found.low_res_masks, asked.cube)
        writers.append((files.logits, save))
    for _, write in writers:
        write()
    record = [] if files.logits is None else [record_of(files.logits)]
    return [*(path for path, _ in writers), *record]


def _facts(bundle: Bundle, asked: Asked, found: VolumeMasks) -> dict[str, Any]:
    """Describe bundle, volume, clicks and masks. Boxes are voxels of the file, ends exclusive."""
    manifest, volume = bundle.manifest, asked.volume
    masks = [
        {"iou_prediction": float(iou), "voxels": int(mask.sum()), "box": _box(volume, mask)}
        for iou, mask in zip(found.iou_predictions, found.masks, strict=True)
    ]
    return {
        "variant": manifest.variant,
        "target": manifest.target,
        "precision": manifest.precision,
        "degraded": manifest.degraded,
        "volume": {
            "shape": list(volume.own_shape),
            "axes": list(volume.turn.order),
            "flipped": list(volume.turn.flipped),
            "spacing": None if volume.spacing is None else list(volume.spacing),
        },
        "cube": {"start": list(asked.cube.start), "scale": list(asked.cube.scale)},
        "prompts": {"points": list(asked.own.points), "labels": list(asked.own.labels)},
        "masks": masks,
    }


def _box(volume: Volume, mask: Bools) -> list[int] | None:
    """i0, j0, k0, i1, j1, k1 around a mask; None for an empty one."""
    places = np.argwhere(volume.turn.back(mask))
    return [*places.min(0).tolist(), *(places.max(0) + 1).tolist()] if len(places) else None


def _tell(notes: Sequence[str]) -> None:
    for note in filter(None, notes):
        print(f"sam-run: {one_line(note)}", file=sys.stderr)
