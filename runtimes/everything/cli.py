"""`sam-run --everything`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from exporter.bundle.folder import Bundle, open_bundle
from exporter.errors import RequestError
from exporter.printable import one_line
from runtimes.arguments import OF_VIDEO, OF_VOLUME
from runtimes.everything import everything, options_of
from runtimes.everything.bundles import (
    NO_PROPOSER,
    BundleFinder,
    has_proposer,
    predictor_of,
    require_refinable,
    rules_of,
)
from runtimes.everything.options import (
    AUTO,
    BATCH,
    NOT_TAKEN,
    chosen,
    refuse_idle,
    spelling,
    spelt,
)
from runtimes.everything.outputs import Files, check_files, lines, report, writers
from runtimes.everything.segments import Everything
from runtimes.everything.telling import Teller, timed, write_all
from runtimes.objects import group, in_pixels
from runtimes.pictures import Picture
from runtimes.pictures.reading import Reading, read_picture
from runtimes.pictures.writing import require_outside
from runtimes.segmenters import open_segmenter, segmenter_type
from runtimes.segmenters.detections import DetectionSegmenter

INTERRUPTED = 130


def run(
    arguments: argparse.Namespace,
    bundle: Bundle,
    threads: int,
    facts: Callable[..., dict[str, Any]],
) -> int:
    """Segment everything in one picture; returns the exit status.

    Args:
        arguments: of `sam-run`.
        bundle: opened.
        threads: for the engine.
        facts: bundle, engine and picture -> what a report says of them.
    """
    teller, seconds = Teller(_say), dict[str, float]()
    files = _files(arguments)
    require_outside(files.asked, [bundle.path])
    method, options = _asked(arguments, bundle)
    with timed(seconds, "read"):
        picture = read_picture(arguments.image, Reading(arguments.range, arguments.max_pixels))
    with timed(seconds, "load"):
        options |= _boxes(arguments, picture) | _detector(arguments, threads)
        predictor = predictor_of(open_segmenter(bundle, arguments.engine, threads))
    found = everything(
        predictor,
        picture.rgb,
        method,
        report=teller,
        report_finish=teller.finish,
        keep_partial=True,
        **options,
    )
    for note in (*picture.notes, *_size_note(picture), *found.notes):
        _say(note)
    with timed(seconds, "write"):
        jobs = [*writers(files, arguments.image, picture.rgb, found)]
        written = write_all(jobs, _say, waits=None if teller.stopped else files.coco)
    spent = seconds.pop("write")
    found = replace(found, seconds={**seconds, **found.seconds, "write": spent})
    if arguments.json:
        rows = facts(bundle, arguments.engine, picture) | report(found)
        print(json.dumps(rows | {"files": [str(path) for path in written]}, indent=2))
    else:
        for line in (*lines(found), *map(str, written)):
            print(one_line(line))
    missing = [path.name for path, _ in jobs if path not in written]
    if found.partial or teller.stopped or missing:
        _say(_ended(found, missing))
        return INTERRUPTED
    return 0


def _say(line: str) -> None:
    print(f"sam-run: {one_line(line)}", file=sys.stderr, flush=True)


def _ended(found: Everything, missing: Sequence[str]) -> str:
    """Say what Ctrl-C left."""
    line = f"interrupted: the result is {'partial' if found.partial else 'whole'}"
    return f"{line}; not written: {', '.join(missing)}" if missing else line


def _files(arguments: argparse.Namespace) -> Files:
    """Name the files asked for. RequestError, before any work, if one cannot be written."""
    odd = sorted(arguments.given & {*NOT_TAKEN})
    if odd:
        raise RequestError(f"--everything asks for all objects: leave out {odd[0]}")
    odd = sorted(arguments.given & (OF_VIDEO - {"--coco"} | OF_VOLUME))
    if odd:
        raise RequestError(f"--everything is of a picture: leave out {odd[0]}")
    files = Files(arguments.output, arguments.flatten, arguments.coco)
    if not files.asked and not arguments.json:
        files = Files(Path(f"{arguments.image.stem}.overlay.png"), None, None)
    check_files(files, arguments.image)
    return files


def _asked(arguments: argparse.Namespace, bundle: Bundle) -> tuple[str, dict[str, Any]]:
    """Choose method and options. RequestError, before a model is loaded, if they cannot be."""
    _require_pictures(bundle)
    finds = issubclass(segmenter_type(bundle.manifest), DetectionSegmenter)
    method = arguments.everything
    if method == AUTO:
        method = "detector" if finds else "grid"
    if finds != (method == "detector"):
        cure = "--everything detector" if finds else "another method, or FastSAM's bundle"
        raise RequestError(
            f"{bundle.path.name} cannot do --everything {method.replace('_', '-')}: use {cure}"
        )
    if method == "proposed" and not has_proposer(bundle.manifest):
        raise RequestError(NO_PROPOSER.format(bundle.path.name))
    if (arguments.detector or arguments.box) and method != "object_aware":
        given = "--detector" if arguments.detector else "--box"
        raise RequestError(f"{given} goes with --everything object-aware")
    if method == "object_aware" and bool(arguments.detector) == bool(arguments.box):
        raise RequestError("object-aware takes --detector BUNDLE, or --box for each object")
    options = chosen(arguments)
    if method in ("grid", "hierarchical", "proposed"):
        options.setdefault("points_per_batch", BATCH)
    _check(method, options)
    _check_rules(bundle, options)
    refuse_idle(arguments.given)
    return method, options


def _require_pictures(bundle: Bundle) -> None:
    """RequestError for a bundle of another kind of input, or of prompts that make no grid."""
    if bundle.manifest.video is not None:
        raise RequestError(
            f"{bundle.path.name} follows objects through videos: export one without --video"
        )
    if bundle.manifest.prompts is not None and bundle.manifest.prompts.point_or_box:
        raise RequestError(
            f"{bundle.path.name} takes no grid of clicks: --panoptic PNG finds everything with a "
            "bundle that was exported with --classifier"
        )


def _check(method: str, options: dict[str, Any]) -> None:
    """RequestError, spelt as a command line's, for an option that the method does not have."""
    from exporter import catalog
    from runtimes.everything import methods

    taken = catalog.load(methods.__name__, method, "METHOD").options
    odd = [name for name in options if name not in taken]
    if odd:
        raise RequestError(f"--everything {method.replace('_', '-')} takes no {spelt(odd[0])}")
    with spelling():
        options_of(None, method, options)


def _check_rules(bundle: Bundle, options: dict[str, Any]) -> None:
    """RequestError for an option that the bundle cannot do, or that its rules do not have."""
    if "use_m2m" in options:
        with spelling():
            require_refinable(bundle.manifest)
    rules = options.get("generator", rules_of(bundle.manifest))
    if "components" in options and rules == "sam":
        raise RequestError(
            "--leave-small-regions is of SAM 2's generator, and these are SAM's rules: leave it "
            "out, or add --rules sam2"
        )


def _boxes(arguments: argparse.Namespace, picture: Picture) -> dict[str, Any]:
    """Return the boxes given, in pixels of the picture as it was decoded."""
    if not arguments.box:
        return {}
    asked = group([], arguments.box)
    if arguments.normalized:
        asked = tuple(in_pixels(each, picture.size) for each in asked)
    share = picture.rgb.shape[1] / picture.size[0]
    boxes = [each.prompts.box for each in asked if each.prompts.box is not None]
    return {"boxes": [[number * share for number in box] for box in boxes]}


def _detector(arguments: argparse.Namespace, threads: int) -> dict[str, Any]:
    """Open the bundle that finds the boxes. RequestError if it finds none."""
    if arguments.detector is None:
        return {}
    bundle = open_bundle(arguments.detector)
    if not issubclass(segmenter_type(bundle.manifest), DetectionSegmenter):
        raise RequestError(f"{bundle.path.name} finds no objects by itself: give FastSAM's bundle")
    finder = predictor_of(open_segmenter(bundle, None, threads))
    return {"detector": finder} if isinstance(finder, BundleFinder) else {}


def _size_note(picture: Picture) -> tuple[str, ...]:
    height, width = picture.rgb.shape[:2]
    if picture.size == (width, height):
        return ()
    return (f"masks are {width} x {height}, the size at which the picture was decoded",)
