"""`sam-export inspect`: what checkpoints are; it prints, never computes."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict

from exporter import child, command
from exporter.arguments import Parser, unicode_path
from exporter.inspection.describe import Description, Names, Near, describe
from exporter.printable import LINE, plain, printable

PROGRAM = "sam-export inspect"
_SHOWN = 6
EXAMPLES = """\
examples:
  sam-export inspect model_best.pth
  sam-export inspect sam2.1_hiera_tiny.pt --json
  sam-export inspect huggingface/sam-vit-base         a folder with model.safetensors

Nothing is exported, and nothing in the file is executed. `command` is what to type to export it.
exit status: 0 described, whether or not a variant fits it, 2 it cannot be read, or a wrong request,
130 interrupted (Ctrl-C), 143 terminated (SIGTERM)
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run `sam-export inspect`; returns the exit status."""
    return command.run(PROGRAM, lambda: _parser().parse_args(argv), _work)


def _work(arguments: argparse.Namespace) -> int:
    child.require_folder()
    found = describe(arguments.checkpoint)
    if arguments.json:
        print(json.dumps(asdict(found), indent=2))
    else:
        print(plain("\n".join(printable(line, LINE) for line in _lines(found))))
    return 0


def _lines(found: Description) -> Iterator[str]:
    """Say it in a line for each fact."""
    yield f"{found.path}: {found.container}, {found.bytes / 1e6:.1f} MB, sha256 {found.sha256}"
    under = f" under {found.prefix}" if found.prefix else ""
    inside = f" in {found.place}" if found.place else ""
    yield (
        f"network: {found.tensors} tensors{under}{inside}, {found.parameters / 1e6:.1f} M values; "
        f"the file has {_counted(found.dtypes)}"
    )
    if len(found.places) > 1:
        held = ", ".join(f"{at or 'its top'} ({count})" for at, count in found.places.items())
        yield f"places with tensors: {held}"
    if found.variants:
        yield f"variant: {' or '.join(found.variants)}, layout {found.layout}"
    yield from map(_difference, found.nearest)
    size = found.input_size
    side = "x".join(map(str, size)) if isinstance(size, tuple) else size
    sizes = {"input": side, "mask tokens": found.mask_tokens}
    known = [f"{name} {value}" for name, value in sizes.items() if value is not None]
    if known:
        yield f"sizes: {', '.join(known)}"
    if found.lora:
        yield f"LoRA: {found.lora}"
    yield from (f"differs from the published one: {change}" for change in found.changes)
    if found.beside.count:
        yield f"beside the network: {_some(found.beside)}"
    yield from (f"note: {remark}" for remark in found.remarks)
    yield from _advice(found)


def _advice(found: Description) -> Iterator[str]:
    """Say the terms, and what to type."""
    if found.licence is not None:
        terms = "" if found.licence.commercial_use else ", not commercial"
        yield (
            f"licence: {found.licence.name}{terms} ({found.licence.url}), as {found.variants[0]} "
            "is published; this file's own may differ"
        )
    if found.problem:
        yield f"problem: {found.problem}"
    if found.command:
        yield f"command: {found.command}"


def _difference(near: Near) -> str:
    kinds = {"missing": near.missing, "unused": near.unused, "misshapen": near.misshapen}
    said = "; ".join(f"{kind} {_some(names)}" for kind, names in kinds.items() if names.count)
    return f"near {near.variant} ({near.layout}): {said}"


def _some(names: Names) -> str:
    more = names.count - _SHOWN
    rest = f" and {more} more" if more > 0 else ""
    return f"{names.count} ({', '.join(names.names[:_SHOWN])}{rest})"


def _counted(dtypes: Mapping[str, int]) -> str:
    return ", ".join(f"{count} of {dtype}" for dtype, count in dtypes.items())


def _parser() -> Parser:
    parser = Parser(
        PROGRAM,
        description="Say what a checkpoint is: its variant, sizes, extra tensors and the command "
        "that exports it.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("checkpoint", metavar="FILE", type=unicode_path, help="file or folder")
    parser.add_argument("--json", action="store_true", help="print everything, as JSON")
    parser.add_argument("--debug", action="store_true", help="a traceback with an error")
    return parser
