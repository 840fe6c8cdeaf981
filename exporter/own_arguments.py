"""Options of `sam-export` for what comes beside a checkpoint of one's own."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path

from exporter.arguments import Parser, whole_number
from exporter.checkpoints.lora_options import MOST_ALPHA, MOST_BLOCKS
from exporter.preparation import PREPARATIONS
from exporter.printable import printable


def add_own(parser: Parser) -> None:
    """Add the options of files that come beside a checkpoint."""
    add = parser.add_argument
    add(
        "--decoder-checkpoint",
        type=Path,
        metavar="FILE",
        help="a mask decoder's own file, which replaces that of --checkpoint; or the second file "
        "of a variant published in two (default: as above)",
    )
    add(
        "--encoder-checkpoint",
        type=Path,
        metavar="FILE",
        help="an image encoder's own file, which replaces that of --checkpoint",
    )
    add(
        "--tensors",
        metavar="NAME",
        help="of a file that holds several sets of weights, as state_dict and ema: which",
    )
    add(
        "--ignore",
        action="append",
        metavar="PATTERN",
        help="leave these tensors of the file out, as 'classifier.*'; repeatable, and recorded",
    )
    add(
        "--preprocess",
        metavar="NAME",
        help=f"how pictures were prepared in training: {', '.join(PREPARATIONS)}; and fields after "
        "it, as stretch,scale=picture,mean=0,std=255 (default: published)",
    )
    add(
        "--lora",
        type=Path,
        metavar="ADAPTER",
        help="a LoRA adapter to fold into the checkpoint: PEFT's folder or file, or SAMed's or "
        "Sam_LoRA's file; without --checkpoint into the published one",
    )
    add(
        "--lora-alpha",
        type=_alpha,
        metavar="A",
        help="lora_alpha, where no adapter_config.json says it: the scale is A over the rank",
    )
    add(
        "--lora-blocks",
        type=_blocks,
        default=(),
        metavar="0,1,...",
        help="blocks of the image encoder that SAMed's list of pairs is for (default: all)",
    )


def _alpha(text: str) -> float:
    """Parse a number from 0 to MOST_ALPHA."""
    with contextlib.suppress(ValueError):
        value = float(text)
        if 0 <= value <= MOST_ALPHA:
            return value
    raise argparse.ArgumentTypeError(
        f"should be a number from 0 to {MOST_ALPHA:.0f}, not '{printable(text, 40)}'"
    )


def _blocks(text: str) -> tuple[int, ...]:
    """Parse numbers with commas."""
    number = whole_number(0, MOST_BLOCKS - 1)
    return tuple(number(part.strip()) for part in text.split(",", MOST_BLOCKS))
