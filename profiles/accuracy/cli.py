"""`sam-export compare`: arguments -> one call -> text, JSON or a page; it prints, never computes.

It stands here and not in `exporter`, which makes bundles and runs none; `exporter.cli` finds it by
name.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

from exporter import child, command
from exporter.arguments import Parser, unicode_path, whole_number
from exporter.bundle.folder import open_bundle
from exporter.errors import RequestError
from exporter.printable import one_line, plain
from exporter.progress import on_stderr, silent
from profiles.accuracy import page, tables
from profiles.accuracy.cases import MOST_SCENES, Shots, photo_shots, scene_shots
from profiles.accuracy.comparing import Plan, compare_bundles
from profiles.method import seconds_from
from runtimes.host_facts import host_facts
from runtimes.pictures.writing import require_writable, write_whole
from runtimes.process import MOST_THREADS, allowed_cores, crowding

PROGRAM = "sam-export compare"
SCENES, SEED, OVERLAYS, SECONDS, THREADS = 20, 0, 12, 2.0, 2
EXAMPLES = """\
examples:
  sam-export compare bundles/demo-*
  sam-export compare demo-onnx-fp32 demo-onnx-int8 demo-tflite-int8 --html compare.html
  sam-export compare demo-onnx-int8 --reference demo-onnx-fp32 --pictures ~/photos
  sam-export compare demo-tflite-* --scenes 200 --json > compare.json

Bundles of several variants: each is compared with the reference of its own variant, and all with
the scenes' objects. Times are this host's; they compare bundles here and are no phone's.
exit status: 0 done, 1 failed work, 2 a wrong request, 130 interrupted (Ctrl-C), 143 terminated
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run `sam-export compare`; returns the exit status."""
    return command.run(PROGRAM, lambda: _parser().parse_args(argv), _work)


def _work(arguments: argparse.Namespace) -> int:
    child.require_folder()
    if arguments.html is not None:
        require_writable(arguments.html)
    shots, what = _pictures(arguments)
    bundles = tuple(open_bundle(path) for path in arguments.bundles)
    reference = None if arguments.reference is None else open_bundle(arguments.reference)
    threads = _threads(arguments.threads)
    report = silent if arguments.quiet else on_stderr()
    plan = Plan(bundles, reference, shots, threads, arguments.seconds)
    found = compare_bundles(plan, report)
    for note in found.notes:
        print(f"sam-export compare: {one_line(note)}", file=sys.stderr)
    facts = {"source": what, "threads": threads, "host": asdict(host_facts())}
    if arguments.html is not None:
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
        report(f"drawing {arguments.html}")
        _write(
            arguments.html, page.render(found, page.Words(what, threads, now), arguments.overlays)
        )
    if arguments.json:
        print(json.dumps(tables.as_data(found, facts), indent=2))
        return 0
    print(plain(tables.compared(found)))
    print(one_line(f"{found.masks} masks of {what}; {threads} threads. {tables.NOTES}"))
    if arguments.html is not None:
        print(one_line(str(arguments.html)))
    return 0


def _pictures(arguments: argparse.Namespace) -> tuple[Shots, str]:
    """Find the pictures asked for, and what they are."""
    if arguments.pictures is None:
        if arguments.seed is not None:
            raise RequestError("--seed chooses prompts on --pictures: scenes have their own")
        count = arguments.scenes or SCENES
        return scene_shots(count), f"{count} scenes that no bundle was calibrated on"
    if arguments.scenes is not None:
        raise RequestError("give --scenes or --pictures, not both")
    shots = photo_shots(arguments.pictures, arguments.seed or SEED)
    return shots, f"{len(shots)} pictures of {arguments.pictures}"


def _threads(asked: int) -> int:
    """Take as many as asked for; never more than cores, and said if that is less."""
    cores = len(allowed_cores())
    word = crowding(asked, cores)
    if word and asked != THREADS:
        print(f"sam-export compare: {one_line(word)}: taking {cores:d}", file=sys.stderr)
    return min(asked, cores)


def _write(path: Path, text: str) -> None:
    def write(stream: BinaryIO) -> None:
        stream.write(text.encode())

    write_whole(path, write)


def _parser() -> Parser:
    made = Parser(
        prog=PROGRAM,
        description="Compare bundles: the masks they give, their sizes, and their times here.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = made.add_argument
    add("bundles", type=unicode_path, nargs="+", metavar="BUNDLE", help="folders of sam-export")
    add(
        "--reference",
        type=unicode_path,
        metavar="BUNDLE",
        help="whose masks are the measure (default: of each variant the first fp32 bundle given, "
        "or the first)",
    )
    add(
        "--scenes",
        type=whole_number(1, MOST_SCENES),
        metavar="N",
        help=f"the first N built-in scenes, whose objects are known (default: {SCENES})",
    )
    add(
        "--pictures",
        type=unicode_path,
        metavar="DIR",
        help="your pictures instead: prompts at random places, and nothing is known of the objects",
    )
    add("--seed", type=whole_number(0, 2**32 - 1), metavar="N", help=f"of the places ({SEED})")
    add("-o", "--html", type=unicode_path, metavar="FILE", help="a page with overlays and plots")
    add(
        "--overlays",
        type=whole_number(0, 200),
        default=OVERLAYS,
        metavar="N",
        help=f"prompts that the page shows (default: {OVERLAYS}, those that differ most first)",
    )
    add(
        "--threads",
        type=whole_number(1, MOST_THREADS),
        default=THREADS,
        metavar="N",
        help=f"(default: {THREADS})",
    )
    add(
        "--seconds",
        type=seconds_from(0),
        default=SECONDS,
        metavar="S",
        help=f"time each graph of a bundle for about S seconds; 0 times nothing ({SECONDS:g})",
    )
    add("--json", action="store_true", help="print JSON instead of text")
    add("--quiet", action="store_true", help="no progress on stderr")
    add("--debug", action="store_true", help="a traceback with an error")
    return made


if __name__ == "__main__":
    sys.exit(main())
