"""`sam-export`: what is asked for, and the command that does it.

`--list` is asked for by menus and scripts, so it imports the table and nothing of an export.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Sequence, Set

from exporter import command
from exporter.errors import RequestError
from exporter.listing import listing
from exporter.printable import plain

WORDS = {
    "inspect": "exporter.inspection.cli",
    "compare": "profiles.accuracy.cli",
    "check": "runtimes.lint.cli",
}
"""First word -> its own command, by name: bundles are run there, and imports flow to here."""
_BESIDE_A_LIST = frozenset({"--list", "--json", "--quiet", "--debug"})


def main(argv: Sequence[str] | None = None) -> int:
    """Run `sam-export` and return its exit status."""
    given = list(sys.argv[1:] if argv is None else argv)
    if given and given[0] in WORDS:
        other: Callable[[Sequence[str]], int] = importlib.import_module(WORDS[given[0]]).main
        return other(given[1:])
    return command.run(
        "sam-export",
        lambda: _parsed(given),
        _work,
        stopped=lambda word, arguments: f"error: {word}; no unfinished bundle is left",
    )


def _parsed(given: Sequence[str]) -> argparse.Namespace:
    words = set(given)
    if "--list" in words <= _BESIDE_A_LIST and len(words) == len(given):
        return argparse.Namespace(
            list=True, json="--json" in words, debug="--debug" in words, given=words
        )
    from exporter.export_arguments import parser

    return parser().parse_args(given)


def _work(arguments: argparse.Namespace) -> int:
    if arguments.list or arguments.manifest_schema:
        _require_alone(arguments.given)
        print(plain(_known(arguments)))
        return 0
    from exporter.export_cli import run_export

    return run_export(arguments)


def _require_alone(given: Set[str]) -> None:
    """RequestError for an option of an export beside one that exports nothing."""
    asked = "--list" if "--list" in given else "--manifest-schema"
    others = sorted(given - _BESIDE_A_LIST - {asked})
    if others:
        raise RequestError(f"{asked} takes no {' and no '.join(others)}: it exports nothing")


def _known(arguments: argparse.Namespace) -> str:
    """What needs no export: the variants, or the manifest's schema."""
    if arguments.list:
        return listing(as_json=arguments.json)
    from exporter.bundle.schema import manifest_schema

    return manifest_schema().rstrip()


if __name__ == "__main__":
    sys.exit(main())
