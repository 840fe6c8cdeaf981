"""`sam-run --panoptic`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any

from exporter.bundle.folder import Bundle
from exporter.errors import RequestError
from exporter.printable import one_line
from runtimes.everything.options import NOT_TAKEN, OPTIONS
from runtimes.measures import degraded
from runtimes.panoptic import PanopticSegmenter, panoptic_rule
from runtimes.panoptic.outputs import check_size, described, files_of, lines, write
from runtimes.pictures.reading import Reading, read_picture
from runtimes.pictures.writing import require_outside
from runtimes.timing import described as times
from runtimes.timing import timed

_ALONE = OPTIONS | ({*NOT_TAKEN} - {"--panoptic"}) | {"--box", "--normalized"}


def refuse_beside(given: frozenset[str]) -> None:
    """RequestError if an option was given that does nothing beside --panoptic."""
    odd = sorted(given & _ALONE)
    if odd:
        raise RequestError(f"--panoptic finds everything: leave out {odd[0]}")


def run(
    arguments: argparse.Namespace,
    bundle: Bundle,
    threads: int,
    facts: Callable[..., dict[str, Any]],
) -> int:
    """Find everything in one picture with its class; returns the exit status.

    Args:
        arguments: of `sam-run`.
        bundle: opened.
        threads: for the engine.
        facts: bundle, engine and picture -> what a report says of them.
    """
    panoptic_rule(bundle.manifest)
    files = files_of(arguments.panoptic, arguments.output, arguments.image)
    require_outside(files.all, [bundle.path])
    picture = read_picture(arguments.image, Reading(arguments.range, arguments.max_pixels))
    check_size(files, picture)
    ms = dict[str, float]()
    segmenter = timed(ms, "load", lambda: PanopticSegmenter(bundle, arguments.engine, threads))
    found = timed(ms, "find", lambda: segmenter.find(picture))
    warning = f"{bundle.path.name} is {degraded(bundle.manifest)}"
    for note in (*([warning] if bundle.manifest.degraded else []), *picture.notes):
        print(f"sam-run: {one_line(note)}", file=sys.stderr)
    write(files, picture, found)
    if arguments.json:
        rows = facts(bundle, arguments.engine, picture) | described(found) | {"ms": times(ms)}
        print(json.dumps(rows | {"files": [str(path) for path in files.all]}, indent=2))
    else:
        for line in (*lines(found), *map(str, files.all)):
            print(one_line(line))
    return 0
