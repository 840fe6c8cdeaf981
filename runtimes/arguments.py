"""The argument parser of `sam-run`."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import numpy as np

from exporter.arguments import Parser, unicode_path, whole_number
from exporter.printable import printable
from runtimes.everything.options import add_everything
from runtimes.objects import Box, Point
from runtimes.pictures.reading import MAX_PIXELS, MAX_SIDE
from runtimes.process import MOST_THREADS

EXAMPLES = """\
examples:
  sam-run mobile_sam-onnx-fp32 dog.jpg --point 320,240
  sam-run mobile_sam-onnx-fp32 dog.jpg --point 320,240 --point 40,60,0 -o dog.png --mask mask.png
  sam-run mobile_sam-onnx-fp32 dog.jpg --box 100,80,420,360 --multimask --json
  sam-run mobile_sam-onnx-fp32 dog.jpg --box 100,80,420,360 --box 30,60,95,200 --mask m.png
  sam-run mobile_sam-onnx-fp32 dog.jpg --box 9,8,42,36@dog --point 32,24,0@dog --point 90,20@cat
  sam-run mobile_sam-onnx-fp32 dog.jpg --point 320,240 --save-logits first.npy
  sam-run mobile_sam-onnx-fp32 dog.jpg --point 300,90,0 --point 320,240 --mask-input first.npy
  sam-run fastsam_s-onnx-fp16 dog.jpg
  sam-run mobile_sam-onnx-fp32 dog.jpg --everything --points-per-side 16 --coco dog.json
  sam-run mobile_sam-onnx-fp32 dog.jpg --everything object-aware --detector fastsam_s-onnx-fp16
  sam-run mobile_sam-onnx-fp32 --check

exit status: 0 done, 1 a figure under its floor or failed work, 2 a wrong request, 130 interrupted
(Ctrl-C), 143 terminated (SIGTERM)
"""
DEFAULT_THREADS = 2
OF_CHECK = frozenset({"--check", "--verify-key", "--engine", "--threads", "--json", "--debug"})
"""Options that --check takes; it has no use for any other."""


def point(text: str) -> Point:
    """Parse `X,Y[,LABEL][@NAME]`; without a label a point is foreground."""
    values, name = _named(text)
    numbers = _split(values, (2, 3), "X,Y or X,Y,LABEL in pixels of the image")
    label = numbers[2] if len(numbers) == 3 else 1.0
    if label not in (0.0, 1.0):
        raise argparse.ArgumentTypeError(f"LABEL is 1 (foreground) or 0 (background): {text!r}")
    return Point(numbers[0], numbers[1], int(label), name)


def box(text: str) -> Box:
    """Parse `X0,Y0,X1,Y1[@NAME]`, top left and bottom right."""
    values, name = _named(text)
    x0, y0, x1, y1 = _split(values, (4,), "X0,Y0,X1,Y1 in pixels of the image")
    return Box(x0, y0, x1, y1, name)


def brightness(text: str) -> tuple[float, float] | None:
    """Parse `auto`, which is None, or `LOW,HIGH`."""
    if text == "auto":
        return None
    low, high = _split(text, (2,), "auto or LOW,HIGH")
    if low >= high:
        raise argparse.ArgumentTypeError(f"LOW should be less than HIGH: {text!r}")
    return low, high


def _named(text: str) -> tuple[str, str]:
    values, sign, name = text.partition("@")
    # A name becomes part of a file's name.
    if sign and not re.fullmatch(r"[\w-]{1,40}", name):
        raise argparse.ArgumentTypeError(
            f"NAME is up to 40 letters, digits, - and _, not {printable(name)!r}"
        )
    return values, name


def _split(text: str, counts: tuple[int, ...], form: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in counts or not np.isfinite(numbers).all():
        raise argparse.ArgumentTypeError(f"should be {form}, not {text!r}")
    return numbers


def parser() -> Parser:
    """Make the parser. A wrong argument ends the process with status 2 and one line."""
    made = Parser(
        "sam-run",
        usage="sam-run BUNDLE IMAGE [prompts] [options] | "
        "sam-run BUNDLE IMAGE --everything [METHOD] [options] | sam-run BUNDLE --check",
        description="Segment a picture with a bundle on this machine, or check the bundle.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = made.add_argument
    add("bundle", type=unicode_path, metavar="BUNDLE", help="folder written by sam-export")
    add("image", type=Path, metavar="IMAGE", nargs="?", help="any picture that Pillow reads")
    add("--check", action="store_true", help="verify every hash and run the bundle's goldens")
    add(
        "--verify-key",
        type=Path,
        metavar="KEY",
        help="first verify that this Ed25519 public key (PEM or OpenSSH) signed the bundle",
    )
    _add_prompts(made)
    _add_reading(made)
    _add_files(made)
    add_everything(made)
    add("--engine", metavar="NAME", help="default: the first that can run the bundle here")
    add(
        "--threads",
        type=whole_number(1, MOST_THREADS),
        metavar="N",
        help=f"default: {DEFAULT_THREADS}",
    )
    add("--json", action="store_true", help="print one JSON object instead of text")
    add("--debug", action="store_true", help="show the traceback of an error")
    return made


def _add_prompts(parser: Parser) -> None:
    add = parser.add_argument_group(
        "prompts, in pixels of the image",
        "Several boxes, or names, are several objects in one run. A point belongs to the object "
        "that @NAME or @NUMBER says, or to the only one.",
    ).add_argument
    add(
        "--point",
        type=point,
        action="append",
        default=[],
        metavar="X,Y[,LABEL][@NAME]",
        help="LABEL 1 is foreground (default), 0 background; repeat for more points",
    )
    add(
        "--box",
        type=box,
        action="append",
        default=[],
        metavar="X0,Y0,X1,Y1[@NAME]",
        help="top left and bottom right corner; each further box is another object",
    )
    add(
        "--mask-input",
        type=Path,
        metavar="FILE",
        help="a mask to refine: one of --save-logits, or a picture that is white inside",
    )
    add("--normalized", action="store_true", help="coordinates are shares of the image, 0 to 1")
    add("--multimask", action="store_true", help="every candidate mask instead of one")


def _add_reading(parser: Parser) -> None:
    add = parser.add_argument_group("how the image is read").add_argument
    add(
        "--range",
        type=brightness,
        metavar="LOW,HIGH",
        help="of more than 8 bits: values that become black and white (default: auto, stated)",
    )
    add(
        "--max-pixels",
        type=whole_number(1, MAX_SIDE**2),
        default=MAX_PIXELS,
        metavar="N",
        help=f"decode no more ({MAX_PIXELS}): a larger JPEG is decoded smaller, others are refused",
    )


def _add_files(parser: Parser) -> None:
    group = parser.add_argument_group(
        "files", "without any of these and without --json: IMAGE-stem.overlay.png, here"
    )
    add = group.add_argument
    add("-o", "--output", type=Path, metavar="PICTURE", help="the image with masks and prompts")
    add(
        "--mask",
        type=Path,
        metavar="PNG",
        help="the mask as 0 and 255; with --multimask PNG_0.png, PNG_1.png, ... in token order; "
        "of several objects PNG-NAME.png or PNG-NUMBER.png",
    )
    add("--save-logits", type=Path, metavar="NPY", help="low_res_masks (K, h, w), float32")
