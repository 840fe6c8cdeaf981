"""The argument parser of `sam-run`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NoReturn

import numpy as np

EXAMPLES = """\
examples:
  sam-run mobile_sam-onnx-fp32 dog.jpg --point 320,240
  sam-run mobile_sam-onnx-fp32 dog.jpg --point 320,240 --point 40,60,0 -o dog.png --mask mask.png
  sam-run mobile_sam-onnx-fp32 dog.jpg --box 100,80,420,360 --multimask --json
  sam-run mobile_sam-onnx-fp32 dog.jpg --point 320,240 --save-logits first.npy
  sam-run mobile_sam-onnx-fp32 dog.jpg --point 300,90,0 --point 320,240 --mask-input first.npy
  sam-run fastsam_s-onnx-fp16 dog.jpg
  sam-run mobile_sam-onnx-fp32 --check

exit status: 0 done, 1 a figure under its floor or failed work, 2 a wrong request, 130 interrupted
(Ctrl-C), 143 terminated (SIGTERM)
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Print one line, like every other error of ours."""
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def point(text: str) -> tuple[float, float, int]:
    """Parse `X,Y` or `X,Y,LABEL`; without a label a point is foreground."""
    numbers = _split(text, (2, 3), "X,Y or X,Y,LABEL")
    label = numbers[2] if len(numbers) == 3 else 1.0
    if label not in (0.0, 1.0):
        raise argparse.ArgumentTypeError(f"LABEL is 1 (foreground) or 0 (background): {text!r}")
    return numbers[0], numbers[1], int(label)


def box(text: str) -> tuple[float, float, float, float]:
    """Parse `X0,Y0,X1,Y1`, top left and bottom right."""
    x0, y0, x1, y1 = _split(text, (4,), "X0,Y0,X1,Y1")
    return x0, y0, x1, y1


def _split(text: str, counts: tuple[int, ...], form: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in counts or not np.isfinite(numbers).all():
        raise argparse.ArgumentTypeError(f"should be {form} in pixels of the image, not {text!r}")
    return numbers


def _threads(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"should be a whole number from 1, not {text!r}")
    return int(text)


def parser() -> argparse.ArgumentParser:
    """Make the parser. A wrong argument ends the process with status 2 and one line."""
    made = _Parser(
        "sam-run",
        usage="sam-run BUNDLE IMAGE [prompts] [options] | sam-run BUNDLE --check",
        description="Segment a picture with a bundle on this machine, or check the bundle.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = made.add_argument
    add("bundle", type=Path, metavar="BUNDLE", help="folder written by sam-export")
    add("image", type=Path, metavar="IMAGE", nargs="?", help="any picture that Pillow reads")
    add("--check", action="store_true", help="verify every hash and run the bundle's goldens")
    add(
        "--verify-key",
        type=Path,
        metavar="KEY",
        help="first verify that this Ed25519 public key (PEM or OpenSSH) signed the bundle",
    )
    _add_prompts(made)
    _add_files(made)
    add("--engine", metavar="NAME", help="default: the first that can run the bundle here")
    add("--threads", type=_threads, default=2, metavar="N", help="default: 2")
    add("--json", action="store_true", help="print one JSON object instead of text")
    add("--debug", action="store_true", help="show the traceback of an error")
    return made


def _add_prompts(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("prompts, in pixels of the image").add_argument
    add(
        "--point",
        type=point,
        action="append",
        default=[],
        metavar="X,Y[,LABEL]",
        help="LABEL 1 is foreground (default), 0 background; repeat for more points",
    )
    add("--box", type=box, metavar="X0,Y0,X1,Y1", help="top left and bottom right corner")
    add("--mask-input", type=Path, metavar="NPY", help="one mask's --save-logits, to refine it")
    add("--multimask", action="store_true", help="every candidate mask instead of one")


def _add_files(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "files", "without any of these and without --json: IMAGE-stem.overlay.png, here"
    )
    add = group.add_argument
    add("-o", "--output", type=Path, metavar="PICTURE", help="the image with masks and prompts")
    add(
        "--mask",
        type=Path,
        metavar="PNG",
        help="the mask as 0 and 255; with --multimask PNG_0.png, PNG_1.png, ... in token order",
    )
    add("--save-logits", type=Path, metavar="NPY", help="low_res_masks (K, h, w), float32")
