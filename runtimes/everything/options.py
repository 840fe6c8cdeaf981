"""The options of `sam-run --everything`: the published generators', spelt as options."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from exporter import catalog
from exporter.arguments import Parser, unicode_path
from exporter.closest import suggest
from exporter.errors import RequestError
from exporter.printable import printable
from runtimes.everything import methods

AUTO = "auto"
SWITCHES = ("--refine", "--single-mask", "--leave-small-regions", "--fast")
OTHERS = ("--detector", "--rules", "--flatten", "--coco")
NOT_TAKEN = ("--point", "--mask-input", "--multimask", "--mask", "--save-logits", "--panoptic")
"""Options of `sam-run` that ask for single objects."""

_WHOLE = {
    "points-per-side": "points a side of the grid (32)",
    "points-per-batch": "prompts between two looks at the clock (16 here; changes no mask)",
    "crop-n-layers": "layers of crops that are asked as well (0)",
    "max-proposals": "proposed: points at most, the best first (64)",
}
_NUMBERS = {
    "pred-iou-thresh": "least predicted IoU, itself left out (0.88; SAM 2: 0.8); 0 keeps all",
    "stability-score-thresh": "least stability (0.95); 0 keeps all",
    "stability-score-offset": "how far the threshold moves for it (1)",
    "box-nms-thresh": "IoU of boxes above which the worse mask goes (0.7)",
    "crop-nms-thresh": "the same between crops (0.7)",
    "crop-overlap-ratio": "overlap of the first layer's crops (0.341)",
    "crop-n-points-downscale-factor": "layer i has fewer points a side by this to the power i (1)",
    "min-mask-region-area": "holes and islands below so many pixels are removed from masks (0)",
    "mask-threshold": "of logits (the bundle's)",
    "high-score-thresh": "hierarchical: logit that covers a pixel (8.5)",
    "proposal-thresh": "proposed: least score of a point, itself left out (0.1)",
}
_NEEDS = {
    "--crop-n-points-downscale-factor": ("--crop-n-layers",),
    "--crop-nms-thresh": ("--crop-n-layers", "--min-mask-region-area"),
    "--crop-overlap-ratio": ("--crop-n-layers",),
    "--leave-small-regions": ("--min-mask-region-area",),
    "--normalized": ("--box",),
}
"""Options that do nothing, unless one of these is given as well."""
OPTIONS = frozenset({*(f"--{name}" for name in (*_WHOLE, *_NUMBERS)), *SWITCHES, *OTHERS})
"""Options that go with --everything."""
_OURS = {"multimask_output": "single-mask", "components": "leave-small-regions"}
_OURS |= {"generator": "rules", "use_m2m": "refine"}
BATCH = 16


def add_everything(parser: Parser) -> None:
    """Add the options."""
    group = parser.add_argument_group(
        "everything in the image", "with --everything; names and defaults of the published code"
    )
    add = group.add_argument
    add(
        "--everything",
        type=_method,
        nargs="?",
        const=AUTO,
        metavar="METHOD",
        help="grid (default), hierarchical, object-aware (boxes of --detector or --box), proposed "
        "(points of a head in the bundle; the demo's has one), detector (default of a bundle that "
        "finds objects by itself)",
    )
    add("--detector", type=unicode_path, metavar="BUNDLE", help="object-aware: finds the boxes")
    add(
        "--flatten",
        type=Path,
        metavar="PNG",
        help="a number a pixel, small masks on large ones (.png or .tif)",
    )
    for name, text in _WHOLE.items():
        add(f"--{name}", type=_whole, metavar="N", help=text)
    for name, text in _NUMBERS.items():
        add(f"--{name}", type=_number, metavar="X", help=text)
    add("--rules", choices=("sam", "sam2"), help="whose generator (default: the bundle's)")
    add(
        "--refine",
        action="store_true",
        dest="use_m2m",
        help="use_m2m: each mask again by its own logits (SAM 2)",
    )
    add("--single-mask", action="store_true", help="one mask a point instead of three")
    add(
        "--leave-small-regions",
        action="store_true",
        help="as SAM 2 without its CUDA extension: --min-mask-region-area removes nothing",
    )
    add(
        "--fast",
        action="store_true",
        help="choose masks by boxes and stability of the network's pixels; says what it costs",
    )


def refuse_without(given: frozenset[str], but: frozenset[str] = frozenset()) -> None:
    """RequestError if an option of everything, `but` for some, was given without --everything."""
    odd = sorted((given & OPTIONS) - but)
    if odd:
        raise RequestError(f"{odd[0]} goes with --everything")


def refuse_idle(given: frozenset[str]) -> None:
    """RequestError if an option was given that does nothing without another."""
    for option, others in _NEEDS.items():
        if option in given and not given & {*others}:
            raise RequestError(f"{option} goes with {' or '.join(others)}")


def chosen(arguments: argparse.Namespace) -> dict[str, Any]:
    """Collect the options that were given, by their published names."""
    names = [name.replace("-", "_") for name in (*_WHOLE, *_NUMBERS)]
    found = {name: getattr(arguments, name) for name in names}
    found = {name: value for name, value in found.items() if value is not None}
    if arguments.rules is not None:
        found["generator"] = arguments.rules
    if arguments.use_m2m:
        found["use_m2m"] = True
    if arguments.single_mask:
        found["multimask_output"] = False
    if arguments.leave_small_regions:
        found["components"] = False
    if arguments.fast:
        found["fast"] = True
    return found


def spelt(name: str) -> str:
    """Spell a published option as it is here."""
    return f"--{_OURS.get(name, name.replace('_', '-'))}"


@contextmanager
def spelling() -> Iterator[None]:
    """Within it, an error names options as a command line does."""
    names = [name.replace("-", "_") for name in (*_WHOLE, *_NUMBERS, *_OURS)]
    published = "|".join(name for name in names if "_" in name)  # others are words as well
    try:
        yield
    except RequestError as error:
        said = re.sub(rf"\b({published})\b", lambda match: spelt(match[0]), str(error))
        raise type(error)(said) from None


def _method(text: str) -> str:
    if text == AUTO:  # argparse parses the word for none as well
        return AUTO
    known = [catalog.option_name(name) for name in catalog.names(methods.__name__)]
    if text not in known:
        hint = "; IMAGE goes before --everything" if Path(text).suffix else ""
        aliases = {k: catalog.option_name(v) for k, v in methods.ALIASES.items()}
        raise argparse.ArgumentTypeError(f"unknown method {suggest(text, known, aliases)}{hint}")
    return catalog.entry_name(text)


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise argparse.ArgumentTypeError(f"should be a whole number, not '{printable(text, 40)}'")
    return int(text)


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"should be a number, not '{printable(text, 40)}'")
    return value
