"""`sam-run`: segment a picture with a bundle on this machine, or check the bundle."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from exporter import command
from exporter.bundle.folder import Bundle, open_bundle
from exporter.bundle.masks import Masks
from exporter.bundle.preprocess import Floats, Frame, fit
from exporter.bundle.prompts import place
from exporter.errors import ParityError, RequestError
from exporter.printable import one_line
from exporter.progress import heartbeat, on_stderr
from runtimes.arguments import DEFAULT_THREADS, OF_CHECK, OF_VIDEO, OF_VOLUME, VOLUMES, parser
from runtimes.engines import choose_engine
from runtimes.everything.options import refuse_without
from runtimes.measures import degraded, describe, new_misses
from runtimes.objects import SHARES, Asked, group, in_pixels, like_shares, moved
from runtimes.outputs import (
    Files,
    Segmented,
    check_files,
    check_sizes,
    faults,
    lines,
    report,
    write,
)
from runtimes.pictures import Picture
from runtimes.pictures.reading import Reading, read_picture
from runtimes.pictures.writing import require_outside
from runtimes.process import allowed_cores, crowding
from runtimes.segmenters import Request, Segmenter, open_segmenter, validate
from runtimes.timing import described as times
from runtimes.timing import timed


def main(argv: Sequence[str] | None = None) -> int:
    """Run `sam-run`; returns the exit status."""
    return command.run("sam-run", lambda: parser().parse_args(argv), _work, stopped=_stopped)


def _stopped(word: str, arguments: argparse.Namespace) -> str:
    """Say what is left of a run that was stopped."""
    left: str = getattr(arguments, "left", "")
    return f"{word}{left}"


def _work(arguments: argparse.Namespace) -> int:
    if arguments.check:
        return _check(arguments)
    if arguments.image is None:
        raise RequestError("give an IMAGE to segment, a CLIP to track through, or --check")
    bundle = open_bundle(arguments.bundle, arguments.verify_key)
    if bundle.manifest.volume is not None:
        from runtimes.volumes.cli import segment_volume  # a picture needs none of it

        return segment_volume(arguments, bundle, _threads(arguments.threads))
    if arguments.everything is not None:
        from runtimes.everything.cli import run  # a single object needs none of it

        return run(arguments, bundle, _threads(arguments.threads), _facts)
    if arguments.panoptic is not None:
        from runtimes.panoptic.cli import refuse_beside
        from runtimes.panoptic.cli import run as find_panoptic

        refuse_beside(arguments.given)
        _require_picture(arguments)
        return find_panoptic(arguments, bundle, _threads(arguments.threads), _facts)
    if bundle.manifest.video is not None:
        from runtimes.video.cli import track_video  # a picture needs none of it

        refuse_without(arguments.given - OF_VIDEO)
        return track_video(arguments, bundle, _threads(arguments.threads))
    refuse_without(arguments.given)
    _require_picture(arguments)
    return _segment(arguments, bundle)


def _require_picture(arguments: argparse.Namespace) -> None:
    """RequestError if a video is asked of a bundle that segments pictures."""
    image, takes = arguments.image, "and this bundle segments pictures: export it with --video"
    if str(image) == "-" or image.is_dir():
        what = "standard input is a stream" if str(image) == "-" else f"{image} is a folder"
        raise RequestError(f"{what} of frames, {takes}")
    if image.name.lower().endswith(VOLUMES):
        from runtimes.volumes.files import no_picture  # a picture needs none of it

        raise RequestError(no_picture(image))
    others = sorted(arguments.given & OF_VIDEO)
    if others:
        raise RequestError(f"{others[0]} is for videos, {takes}")
    others = sorted(arguments.given & OF_VOLUME)
    if others:
        raise RequestError(f"{others[0]} is for volumes, and this bundle segments pictures")


def _facts(bundle: Bundle, engine: str | None, picture: Picture) -> dict[str, Any]:
    return _report(bundle, choose_engine(bundle.manifest.target, engine).name, picture)


def _check(arguments: argparse.Namespace) -> int:
    """Check the hashes, then every graph against its goldens."""
    from runtimes.parity import check_parity  # a picture's masks need none of it

    others = [*(["IMAGE"] if arguments.image else []), *sorted(arguments.given - OF_CHECK)]
    if others:
        raise RequestError(
            f"--check takes no {' and no '.join(others)}: it runs the bundle's own goldens"
        )
    bundle = open_bundle(arguments.bundle, arguments.verify_key)
    threads = _threads(arguments.threads)
    manifest = bundle.manifest
    engine = choose_engine(manifest.target, arguments.engine).name
    with heartbeat(on_stderr(), f"sam-run: checking with {engine}"):
        figures = check_parity(bundle.path, manifest, engine, threads)
    if arguments.json:
        report = {"bundle": str(bundle.path), "engine": engine, "files": len(manifest.files)}
        report["signature"] = None if arguments.verify_key is None else "verified"
        report["degraded"] = manifest.degraded
        print(json.dumps({**report, "figures": [asdict(f) for f in figures]}, indent=2))
    else:
        signed = "" if arguments.verify_key is None else f", signed by {arguments.verify_key}"
        opened = f"{len(manifest.files)} files as exported{signed}"
        print(one_line(f"{bundle.path}: {opened}; engine {engine}"))
        if manifest.degraded:
            print(f"  {one_line(degraded(manifest))}")
        for figure in figures:
            print(f"  {one_line(describe(figure, manifest.precision))}")
    under = new_misses(manifest, figures)
    if under:
        more = f", and {len(under) - 1} more" if len(under) > 1 else ""
        raise ParityError(f"{describe(under[0], manifest.precision)}{more}")
    return 0


def _segment(arguments: argparse.Namespace, bundle: Bundle) -> int:
    """Segment the objects of one picture."""
    objects = group(arguments.point, arguments.box)
    files = _files(arguments, objects)
    require_outside(files.asked, [bundle.path])
    picture = read_picture(arguments.image, Reading(arguments.range, arguments.max_pixels))
    check_sizes(files, picture)
    frame = fit(*picture.size, bundle.manifest.preprocess)
    objects, notes = _place(objects, frame, picture, normalized=arguments.normalized)
    sets = tuple(asked.prompts for asked in objects)
    mask_input = _one_mask(arguments)
    request = Request(sets, arguments.multimask, mask_input, files.logits is not None)
    given = validate(bundle.manifest, request, frame)
    engine = choose_engine(bundle.manifest.target, arguments.engine).name
    ms, threads = dict[str, float](), _threads(arguments.threads)
    segmenter = timed(ms, "load", lambda: open_segmenter(bundle, engine, threads))
    timed(ms, "set_image", lambda: segmenter.set_picture(picture))
    logits = None if given is None else given.logits
    masks = timed(ms, "predict", lambda: _predict(segmenter, request, logits))
    found = [Segmented(asked, one) for asked, one in zip(objects, masks, strict=True)]
    notes += [*([given.note] if given else []), *faults(found)]
    _tell([_warning(bundle), _idle(bundle, arguments), *picture.notes, *notes])
    written = write(files, arguments.image, picture, found)
    if arguments.json:
        rows = _report(bundle, engine, picture) | report(bundle.manifest, found)
        if len(found) == 1:
            rows["prompts"]["mask_input"] = str(mask_input) if given else None
        rows["ms"] = times(ms)
        rows["files"] = [str(path) for path in written]
        print(json.dumps(rows, indent=2))
        return 0
    for line in (*lines(bundle.manifest, found), *map(str, written)):
        print(one_line(line))
    return 0


def _one_mask(arguments: argparse.Namespace) -> Path | None:
    if len(arguments.mask_input) > 1:
        raise RequestError("--mask-input was given twice: a picture takes one")
    return arguments.mask_input[0].path if arguments.mask_input else None


def _threads(asked: int | None) -> int:
    """As many as asked for, or two; never more than cores, and said if that is less than asked."""
    cores = len(allowed_cores())
    word = crowding(asked or 1, cores)
    if word:
        print(f"sam-run: {one_line(f'{word}: taking {cores}')}", file=sys.stderr)
    return min(asked or DEFAULT_THREADS, cores)


def _place(
    objects: Sequence[Asked], frame: Frame, picture: Picture, *, normalized: bool
) -> tuple[tuple[Asked, ...], list[str]]:
    """Put the prompts onto the picture; the second is what to tell the user about it."""
    notes = []
    if normalized:
        objects = [in_pixels(asked, picture.size) for asked in objects]
    elif like_shares(objects, picture.size):
        notes.append(SHARES)
    placed = tuple(replace(asked, prompts=place(asked.prompts, frame)) for asked in objects)
    for before, after in zip(objects, placed, strict=True):
        notes += moved(before.prompts, after.prompts)
    return placed, notes


def _predict(
    segmenter: Segmenter, request: Request, mask_input: Floats | None
) -> tuple[Masks, ...]:
    multimask = request.multimask
    if len(request.sets) > 1:
        return segmenter.predict_many(request.sets, multimask=multimask)
    return (segmenter.predict_prompts(request.sets[0], mask_input, multimask=multimask),)


def _tell(notes: Sequence[str]) -> None:
    """Tell the user, in a line each, what was done to a picture or a prompt."""
    for note in filter(None, notes):
        print(f"sam-run: {one_line(note)}", file=sys.stderr)


def _warning(bundle: Bundle) -> str:
    return f"{bundle.path.name} is {degraded(bundle.manifest)}" if bundle.manifest.degraded else ""


def _idle(bundle: Bundle, arguments: argparse.Namespace) -> str:
    rule = bundle.manifest.mask
    if not arguments.multimask or rule.multi != (rule.single,):
        return ""
    return "this bundle has one mask an object: --multimask changes nothing"


def _report(bundle: Bundle, engine: str, picture: Picture) -> dict[str, Any]:
    manifest = bundle.manifest
    return {
        "bundle": str(bundle.path),
        "variant": manifest.variant,
        "target": manifest.target,
        "precision": manifest.precision,
        "degraded": manifest.degraded,
        "engine": engine,
        "image": {"width": picture.size[0], "height": picture.size[1]},
    }


def _files(arguments: argparse.Namespace, objects: Sequence[Asked]) -> Files:
    """Name the files asked for. RequestError, before any work, if one cannot be written."""
    files = Files(arguments.output, arguments.mask, arguments.save_logits)
    if not files.asked and not arguments.json:
        files = Files(Path(f"{arguments.image.stem}.overlay.png"), None, None)
    else:
        check_files(files, arguments.image, objects)
    return files


if __name__ == "__main__":
    sys.exit(main())
