"""`sam-run BUNDLE CLIP`: arguments -> a run on a video."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from exporter.bundle.folder import Bundle
from exporter.bundle.preprocess import fit
from exporter.errors import RequestError
from exporter.printable import one_line
from exporter.signals import uninterrupted
from runtimes.arguments import OF_PICTURE
from runtimes.clips import Clip
from runtimes.clips.opening import STDIN, Opening, open_clip
from runtimes.engines import choose_engine
from runtimes.measures import degraded
from runtimes.objects import Asked, in_pixels, like_shares
from runtimes.pictures.reading import Reading
from runtimes.pictures.writing import require_outside
from runtimes.segmenters.slots import slot_rule
from runtimes.tracker import Tracker, open_tracker
from runtimes.tracking.graphs import video_rule
from runtimes.video.asked import Plan, check_plan, plan, with_masks
from runtimes.video.files import VideoFiles, Writers, check_files
from runtimes.video.run import Course, follow
from runtimes.video.telling import Progress, Summary, row

SHARES = "every coordinate is between 0 and 1 and was taken as pixels; --normalized takes shares"


def track_video(arguments: argparse.Namespace, bundle: Bundle, threads: int) -> int:
    """Track through the clip that the arguments name; returns the exit status.

    Raises:
        SamExportError: the request cannot be done, or a graph or a frame failed; then nothing is
            written.
        KeyboardInterrupt: it was stopped; what was finished is written, and `arguments.left` says
            what that is.
    """
    others = sorted(arguments.given & OF_PICTURE)
    if others:
        raise RequestError(f"{others[0]} is for pictures, and this bundle tracks through a video")
    asked = plan(getattr(arguments, "ordered", ()))
    files = _files(arguments)
    check_files(files, arguments.image, asked.objects)
    require_outside(files.asked, [bundle.path])
    _require_room(asked, arguments.max_objects)
    reading = Reading(arguments.range, arguments.max_pixels)
    clip = open_clip(arguments.image, Opening(reading, arguments.rate, arguments.raw_size))
    if arguments.both_ways and clip.frames is None:
        raise RequestError("--both-ways takes a file or a folder: frames of a pipe come once")
    asked, notes = _placed(asked, clip, normalized=arguments.normalized)
    manifest = bundle.manifest
    where = fit(*clip.size, manifest.preprocess)
    check_plan(asked, clip.frames, where, slot_rule(manifest))
    asked = with_masks(asked, manifest.mask)
    course = Course(asked, arguments.every, arguments.both_ways)
    warning = f"{bundle.path.name} is {degraded(manifest)}" if manifest.degraded else ""
    departure = video_rule(bundle).departure
    _tell([warning, departure, *clip.notes, *notes])
    engine = choose_engine(manifest.target, arguments.engine).name
    tracker = open_tracker(
        bundle, engine, threads, turns=course.both_ways, max_objects=arguments.max_objects
    )
    return _run(
        arguments, tracker, clip, course, Writers(files, asked.objects, clip, video_rule(bundle))
    )


def _run(
    arguments: argparse.Namespace, tracker: Tracker, clip: Clip, course: Course, writers: Writers
) -> int:
    """Go through the frames; Ctrl-C leaves what was finished, and an error nothing."""
    summary = Summary(course.plan.objects)
    progress = Progress(course.count(clip.frames))
    results = follow(tracker, clip, course)
    try:
        while True:
            # A frame is in every file or in none.
            result = next(results, None)
            if result is None:
                break
            with uninterrupted():
                writers.add(result)
                summary.add(result)
            if arguments.json:
                print(json.dumps(row(result)), flush=True)
            progress.step(result.number)
    except KeyboardInterrupt:
        with uninterrupted():
            arguments.left = _leave(writers, summary, clip)
        raise
    except BaseException:
        writers.discard()
        raise
    finally:
        progress.close()
    writers.commit()
    if not arguments.json:
        for line in (*summary.lines(), *map(str, writers.written)):
            print(one_line(line))
    return 0


def _leave(writers: Writers, summary: Summary, clip: Clip) -> str:
    """Write what was finished, and say what that is."""
    if not summary.frames:
        writers.discard()
        return " before the first frame was finished"
    writers.commit()
    of = "" if clip.frames is None else f" of {clip.frames}"
    names = ", ".join(map(str, writers.written))
    said = f" after {summary.frames}{of} frames"
    return f"{said}, which are in {names}" if names else said


def _files(arguments: argparse.Namespace) -> VideoFiles:
    files = VideoFiles(
        arguments.output, arguments.mask, arguments.coco, arguments.strip, arguments.arrays
    )
    if files.asked or arguments.json:
        return files
    name = "stdin" if str(arguments.image) == STDIN else arguments.image.resolve().stem
    return replace(files, overlay=Path(f"{name}.overlay.mp4"))


def _require_room(asked: Plan, most: int) -> None:
    if len(asked.objects) > most:
        raise RequestError(
            f"{len(asked.objects)} objects, and --max-objects is {most}: each has a memory and a "
            "run of every graph but the encoder of its own"
        )


def _placed(asked: Plan, clip: Clip, *, normalized: bool) -> tuple[Plan, list[str]]:
    """Put shares of the frame into its pixels; the second is what to tell the user about it."""
    shown = [Asked(n, p.prompts) for by_name in asked.prompts.values() for n, p in by_name.items()]
    if not normalized:
        return asked, [SHARES] if like_shares(shown, clip.size) else []
    prompts = {
        frame: {
            name: replace(prompt, prompts=in_pixels(Asked(name, prompt.prompts), clip.size).prompts)
            for name, prompt in by_name.items()
        }
        for frame, by_name in asked.prompts.items()
    }
    return replace(asked, prompts=prompts), []


def _tell(notes: Sequence[str]) -> None:
    for note in filter(None, notes):
        print(f"sam-run: {one_line(note)}", file=sys.stderr)
