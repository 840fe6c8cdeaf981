"""Prompts as a command line spells them. A wrong one is an argument's error."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import numpy as np

from exporter.printable import printable
from runtimes.objects import Box, MaskFile, Point

_POINT = "X,Y or X,Y,LABEL in pixels of the image, or I,J,K or I,J,K,LABEL in voxels of a volume"
_DIGITS = 10
"""A frame's number has fewer."""


def point(text: str) -> Point:
    """Parse `X,Y[,LABEL][@NAME][@FRAME]`, or of a volume `I,J,K[,LABEL]`.

    Without a label a point is foreground. Three numbers are either; whoever has the bundle knows.
    """
    values, name, frame = mark(text)
    numbers = split(values, (2, 3, 4), _POINT)
    label = numbers[2] if len(numbers) == 3 and numbers[2] in (0.0, 1.0) else 1.0
    if len(numbers) == 4 and numbers[3] not in (0.0, 1.0):
        raise argparse.ArgumentTypeError(f"LABEL is 1 (foreground) or 0 (background): {text!r}")
    return Point(numbers[0], numbers[1], int(label), name, frame, numbers=tuple(numbers))


def box(text: str) -> Box:
    """Parse `X0,Y0,X1,Y1[@NAME][@FRAME]`, top left and bottom right."""
    values, name, frame = mark(text)
    x0, y0, x1, y1 = split(values, (4,), "X0,Y0,X1,Y1 in pixels of the image")
    return Box(x0, y0, x1, y1, name, frame)


def object_name(text: str) -> str:
    """Parse a name, which becomes part of a file's name."""
    if not re.fullmatch(r"[\w-]{1,40}", text):
        raise argparse.ArgumentTypeError(
            f"NAME is up to 40 letters, digits, - and _, not {printable(text)!r}"
        )
    return text


def mark(text: str) -> tuple[str, str, int | None]:
    """Split `VALUES@NAME@FRAME`; the last two are optional.

    Raises:
        argparse.ArgumentTypeError: no name, or no number of a frame.
    """
    values, sign, rest = text.partition("@")
    name, second, frame = rest.partition("@")
    if second and not (frame.isascii() and frame.isdecimal() and len(frame) < _DIGITS):
        raise argparse.ArgumentTypeError(f"FRAME is a whole number, not {printable(frame)!r}")
    return values, object_name(name) if sign else "", int(frame) if second else None


def split(text: str, counts: tuple[int, ...], form: str) -> list[float]:
    """Parse numbers with commas between them. ArgumentTypeError if they are not of that form."""
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in counts or not np.isfinite(numbers).all():
        raise argparse.ArgumentTypeError(f"should be {form}, not {text!r}")
    return numbers


def mask_file(text: str) -> MaskFile:
    """Take a path; see `runtimes.video.asked` for what may follow it."""
    return MaskFile(Path(text))


class Owner(argparse.Action):
    """Keeps the name of the object that the next prompts belong to."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Keep it."""
        del parser, option_string
        namespace.object = values


class Owned(argparse.Action):
    """Appends a prompt, with the name of the `--object` before it; `ordered` has those of all."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Append it."""
        del parser, option_string
        owner = getattr(namespace, "object", None) or ""
        earlier = getattr(namespace, self.dest)
        owned = values._replace(owner=owner)
        setattr(namespace, self.dest, [*earlier, owned])
        namespace.ordered = [*getattr(namespace, "ordered", []), owned]
