"""What `sam-bench` can be asked, as argument parsers: one for measuring, one for each word."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from exporter.arguments import Parser, unicode_path
from profiles import kinds
from profiles.everything import add_mode
from profiles.method import add_method
from profiles.pages import pages
from profiles.store import DEFAULT
from runtimes.device import CLASSES, KindOption

EXAMPLES = """\
examples:
  sam-bench bundles/demo-tflite-fp16 --device host
  sam-bench bundles/demo-tflite-fp16 bundles/demo-onnx-fp16 --device android --label "new decoder"
  sam-bench bundles/demo-tflite-fp16 --device android:R5CT1 --device android:28291F --cores 4-7
  sam-bench compare main "new decoder" --fail-on 5%
  sam-bench check --budget phone
  sam-bench report -o report.html --device-class phone

more words, each with its own --help: compare, check, report, list, devices, clean, reclass

Measurements go to --store, one JSON line each. An interrupted one goes on where it was when the
same command is given again within a day.
exit status: 0 done, 1 a failed run, a regression or over budget, 2 a wrong request, 130 interrupted
(Ctrl-C), 143 terminated (SIGTERM)
"""
DEBUG = "a traceback with an error; with devices, every call of adb"


def percent(text: str) -> float:
    """`5%` or `5` -> 0.05."""
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)\s*%?", text, re.ASCII)
    if match is None:
        raise argparse.ArgumentTypeError(f"should be a percentage as 5%, not {text!r}")
    return float(match[1]) / 100


def measuring() -> Parser:
    """Of `sam-bench BUNDLE...`."""
    made = _parser(
        "sam-bench",
        "sam-bench BUNDLE... --device NAME [options] | sam-bench WORD ...",
        "Measure bundles on phones, emulators, simulators and this host, and keep the results.",
        EXAMPLES,
    )
    add = made.add_argument
    add(
        "bundles",
        type=unicode_path,
        nargs="+",
        metavar="BUNDLE",
        help="folders written by sam-export",
    )
    add(
        "--device",
        action="append",
        default=[],
        metavar="NAME",
        help="host, android, android:SERIAL, emulator:AVD, ios, ios:UDID, simulator:UDID, "
        "pymobiledevice3:UDID, mac, or SERIAL, AVD or UDID alone; repeatable (default: host)",
    )
    add("--label", default="", metavar="TEXT", help="a word to find these results by")
    add_mode(made)
    add_method(made)
    _add_kind_options(made)
    _add_common(made)
    add("--quiet", action="store_true", help="no progress on stderr")
    return made


def comparing() -> Parser:
    """Of `sam-bench compare`."""
    made = _word("compare", "A B [options]", "What changed from A to B, beyond noise.")
    for side in ("a", "b"):
        made.add_argument(
            side,
            metavar=side.upper(),
            help="an id or its start, a label, a bundle's name (its latest), or a store file",
        )
    made.add_argument(
        "--fail-on",
        type=percent,
        metavar="P%",
        help="exit 1 if anything is worse by more than this and beyond noise",
    )
    _add_common(made)
    return made


def checking() -> Parser:
    """Of `sam-bench check`."""
    made = _word("check", "--budget FILE [options]", "Hold measurements to a budget.")
    made.add_argument(
        "--budget",
        required=True,
        metavar="FILE",
        help="a TOML file, or phone, iphone, emulator, host",
    )
    made.add_argument(
        "--profile",
        action="append",
        default=[],
        metavar="NAME",
        help="as in compare; repeatable (default: the latest of each bundle in the class)",
    )
    _add_common(made)
    return made


def reporting() -> Parser:
    """Of `sam-bench report`."""
    what = "One HTML page that needs nothing else, or tables in Markdown."
    made = _word("report", "-o FILE [filters]", what)
    for name, page in pages().items():
        made.add_argument(
            *page.options, dest=page_of(name), type=Path, metavar="FILE", help=page.summary
        )
    made.add_argument("--all", action="store_true", help="not only the latest of each bundle")
    _add_filters(made)
    _add_common(made, json=False)
    return made


def page_of(name: str) -> str:
    """Return the attribute of the arguments that holds the file of the page `name`."""
    return f"page_{name}"


def listing() -> Parser:
    """Of `sam-bench list`."""
    made = _word("list", "[filters]", "What was measured.")
    _add_filters(made)
    _add_common(made)
    return made


def showing_devices() -> Parser:
    """Of `sam-bench devices`."""
    made = _word("devices", "[--json]", "What can be measured on now, and why something cannot.")
    _add_kind_options(made)
    _add_common(made, store=False)
    return made


def cleaning() -> Parser:
    """Of `sam-bench clean`."""
    made = _word("clean", "--device NAME", "Remove what sam-bench keeps on a device.")
    made.add_argument("--device", action="append", required=True, metavar="NAME", help="repeatable")
    _add_kind_options(made)
    _add_common(made, store=False, json=False)
    return made


def reclassing() -> Parser:
    """Of `sam-bench reclass`."""
    made = _word("reclass", "[options]", "Decide again which class each measured device is of.")
    made.add_argument("--dry-run", action="store_true", help="only say what would change")
    _add_common(made)
    return made


def _word(name: str, usage: str, description: str) -> Parser:
    return _parser(f"sam-bench {name}", f"sam-bench {name} {usage}", description, "")


def _parser(name: str, usage: str, description: str, epilog: str) -> Parser:
    return Parser(
        name,
        usage=usage,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _add_filters(made: Parser) -> None:
    add = made.add_argument_group("filters").add_argument
    add("--device-class", choices=CLASSES, default="", help="only this class")
    for name in ("device", "variant", "target", "precision"):
        add(f"--{name}", default="", metavar="NAME", help=f"only this {name}")
    add("--since", default="", metavar="DAY", help="only from 2026-11-22 (or a time, UTC) on")


def _add_kind_options(made: Parser) -> None:
    for option in kinds.options():
        made.add_argument(
            f"--{option.name}",
            dest=option_of(option),
            default="",
            metavar=option.metavar,
            help=option.summary,
        )


def option_of(option: KindOption) -> str:
    """Return the attribute of the arguments that holds an option of a kind; empty if not given."""
    return f"kind_{option.name}"


def _add_common(made: Parser, *, store: bool = True, json: bool = True) -> None:
    add = made.add_argument
    if store:
        add("--store", type=Path, default=DEFAULT, metavar="FILE", help=f"(default: ./{DEFAULT})")
    if json:
        add("--json", action="store_true", help="print JSON instead of text")
    add("--debug", action="store_true", help=DEBUG)
