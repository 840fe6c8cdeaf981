"""The argument parser of `sam-export`."""

from __future__ import annotations

import argparse
from pathlib import Path

import exporter
from exporter import precision, targets
from exporter.arguments import Parser, unicode_path, whole_number
from exporter.bundle.manifest import MOST_PICTURES
from exporter.bundle.rules import BATCHES, SIDES, SLOTS
from exporter.bundle.video import MOST_SLOTS
from exporter.calibration import RANGE_KINDS
from exporter.own_arguments import add_own
from exporter.picture_folder import DEFAULT_PICTURES
from exporter.printable import printable
from exporter.targets import BLOCKS, IMAGE_INPUTS, MINIMUM_IOS, OPSETS, PALETTES
from exporter.variants import DEFAULT

EXAMPLES = """examples:
  sam-export --target coreml                          the embedded demo model, for iOS
  sam-export --variant mobile_sam --target all --precision fp16
  sam-export --checkpoint sam_vit_b_01ec64.pth        the variant is recognised by the tensors
  sam-export --checkpoint tinysam_42.3.pth --variant tinysam --target tflite
  sam-export --target onnx --max-points 16 --batch 4  sixteen slots, four prompt sets a call
  sam-export --variant edgetam --video --target all   follows objects through a video
  sam-export --list                                   every variant; --json for all its data
  sam-export inspect model_best.pth                   what a checkpoint is; exports nothing
  sam-export compare bundles/demo-*                   their masks, sizes and times; see its --help
  sam-export check bundles/demo-*                     graphs' forms that went wrong on phones

exit status: 0 done, 1 the export failed or missed a parity floor, 2 the request is wrong,
130 interrupted (Ctrl-C), 143 terminated (SIGTERM)
"""


def _share(text: str) -> float:
    """Parse a number over 0 and under 1."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value < 1.0:
        raise argparse.ArgumentTypeError(
            f"should be a number over 0 and under 1, not '{printable(text, 40)}'"
        )
    return value


def _sides(text: str) -> int | tuple[int, int]:
    """Parse a side, or a height and width as `800x1344`."""
    side, parts = whole_number(SIDES[0], SIDES[-1]), text.split("x", 1)
    return side(text) if len(parts) == 1 else (side(parts[0]), side(parts[1]))


def parser() -> Parser:
    """Make the parser. A wrong argument ends the process with status 2 and one line."""
    made = Parser(
        prog="sam-export",
        description="Turn a Segment Anything checkpoint into a verified bundle for phones.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = made.add_argument
    add("--version", action="version", version=f"sam-export {exporter.__version__}")
    add("--list", action="store_true", help="list every variant and stop")
    add("--manifest-schema", action="store_true", help="print the manifest's JSON Schema and stop")
    add("--variant", help=f"which model (default: recognised from --checkpoint, else {DEFAULT})")
    add("--checkpoint", type=Path, help="file or folder (default: the published one, downloaded)")
    add_own(made)
    add(
        "--target",
        action="append",
        metavar="NAME",
        help=f"{', '.join(targets.names())}, apple (coreml and coreai) or all; repeatable "
        "(default: coreml)",
    )
    kept = ", ".join(precision.names())
    add("--precision", default="fp16", help=f"{kept}; --list says what each is (default: fp16)")
    add(
        "--max-points",
        type=whole_number(SLOTS[0], SLOTS[-1]),
        metavar="N",
        help="prompt slots: a point takes one, a box two, and a set without a box one more "
        "(default: 8, or as many as the variant can have)",
    )
    add(
        "--batch",
        type=whole_number(BATCHES[0], BATCHES[-1]),
        default=1,
        metavar="B",
        help="prompt sets in one call",
    )
    add(
        "--input-size",
        type=_sides,
        metavar="N|HxW",
        help="side of the square input in pixels (default: the side that the checkpoint's table of "
        "positions is for, else the published one); half of it is a fourth of the work. HxW: "
        "height and width, of rap_sam_r50",
    )
    add(
        "--score",
        choices=("iou_predictions", "stability"),
        default="iou_predictions",
        help="rank masks by the network's own estimate (default), or by how little a mask changes "
        "when its threshold moves, if the published code offers that (EdgeSAM advises it)",
    )
    add(
        "--minimum-ios",
        type=int,
        choices=MINIMUM_IOS,
        default=MINIMUM_IOS[0],
        help="oldest iOS for --target coreml (default: 16; 18 keeps attention one operation)",
    )
    add(
        "--image-input",
        choices=IMAGE_INPUTS,
        default=IMAGE_INPUTS[0],
        help="what --target coreml takes as the image: an RGB image of 8 bits (default), or a "
        "float tensor, which also holds the fractions of an image that is resized in float (SAM 2, "
        "EdgeTAM)",
    )
    add(
        "--opset",
        type=int,
        choices=OPSETS,
        help="of --target onnx (default: the lowest that has the graph's operations; 17 runs in "
        "ONNX Runtime 1.15, where 20 needs 1.17, and has GELU as five operations)",
    )
    _add_storage(made)
    _add_kept(made)
    _add_pictures(made)
    add(
        "-o",
        "--output",
        type=unicode_path,
        default=Path("bundles"),
        help="folder (default: bundles)",
    )
    add("--force", action="store_true", help="replace a different bundle that is already there")
    add(
        "--sign",
        type=Path,
        metavar="KEY",
        help="sign the manifest with this Ed25519 private key (PEM or OpenSSH) into manifest.sig",
    )
    add(
        "--no-glue",
        action="store_true",
        help="the bundle alone: without the source that an app runs it with (swift/ or kotlin/) "
        "and its README.md",
    )
    add(
        "--parity",
        choices=precision.PARITIES,
        default=precision.PARITIES[0],
        help="half arithmetic in the check of --target coreai: as the file says where that takes "
        "about a minute, else in float32 (usual), or always as the file says, which may take hours",
    )
    add("--json", action="store_true", help="print the result, or the list, as JSON")
    add("--quiet", action="store_true", help="no progress on stderr")
    add("--debug", action="store_true", help="a traceback with an error")
    return made


def _add_video(parser: Parser) -> None:
    """Add the options of bundles that follow objects."""
    add = parser.add_argument
    add(
        "--video",
        action="store_true",
        help="a bundle that follows objects through a video: the graphs of a memory too, and the "
        "rules of its host; for the variants that --list marks",
    )
    slots = whole_number(1, MOST_SLOTS)
    add(
        "--memory-slots",
        type=slots,
        metavar="N",
        help="of --video: memories that a frame looks back at (default: as many as published); "
        "fewer cost less and are another computation, more are for more prompted frames",
    )
    add(
        "--pointer-slots",
        type=slots,
        metavar="N",
        help="of --video: object pointers that a frame looks back at (default: as published)",
    )


def _add_kept(parser: Parser) -> None:
    """Add the options that say what of few bits stays float."""
    add = parser.add_argument
    add(
        "--keep-float",
        action="append",
        metavar="PATTERN",
        help="of a precision of few bits: keep what this names in float, as '*.neck' or "
        "image_encoder.layers.0; repeatable (recipe.json in the bundle lists what was kept)",
    )
    add(
        "--quantize-decoder",
        action="store_true",
        help="of a precision of few bits: the decoder's transformer too (default: float16)",
    )
    add(
        "--min-iou",
        type=_share,
        metavar="IOU",
        help="of a precision of few bits: keep the most sensitive blocks in float until the masks "
        "reach this mean IoU with the float32 network's, as 0.995",
    )
    add(
        "--recipe",
        type=Path,
        metavar="FILE",
        help="keep in float what this recipe.json of another bundle says; nothing is measured",
    )


def _add_everything(parser: Parser) -> None:
    parser.add_argument(
        "--everything",
        action="store_true",
        help="the bundle for sam-run --everything: two slots (--max-points 3 for SAM 2's boxes), "
        "no earlier mask; the decoder's first layer sees the image once a picture, and masks are "
        "made for prompts alone whose predicted IoU passes",
    )


def _add_storage(parser: Parser) -> None:
    """Add the options of bundles for everything and for videos, and of weights in few bits."""
    _add_everything(parser)
    _add_video(parser)
    parser.add_argument(
        "--classifier",
        type=Path,
        metavar="FILE",
        help="of rap_sam_r50: text embeddings of classes (classes, templates, 768), and their "
        "names in FILE's .json beside it: the bundle finds everything with its class, too",
    )
    add = parser.add_argument
    add(
        "--palette",
        type=int,
        choices=PALETTES,
        help="store the weights of linear layers as indices of so many bits into a palette, for "
        "--target coreml or coreai in int8-weights (6) or int4-weights (4 or 6)",
    )
    add(
        "--block",
        type=int,
        choices=BLOCKS,
        help="weights of a linear layer that share a scale, for --target coreml or coreai in "
        "int8-weights or int4-weights (default: those of an output channel in 8 bits, 32 in 4)",
    )


def _add_pictures(parser: Parser) -> None:
    """Add the options that take pictures of the user's: to judge on, and to calibrate on."""
    parser.add_argument(
        "--evaluate",
        type=Path,
        metavar="DIR",
        help="judge the bundles on the pictures of this folder: IoU with their labels "
        "(NAME_mask.png beside a picture, or one file of COCO annotations) and with torch's masks "
        "(also of prompts.json, as below); into the manifest, and a page beside each bundle",
    )
    add = parser.add_argument_group(
        "calibration of --precision int8 and int4-weights",
        "A file prompts.json in DIR may hold prompts, in pixels of the upright picture: "
        '{"dog.jpg": [{"points": [[X, Y], [X, Y, LABEL]], "box": [X0, Y0, X1, Y1]}, ...], ...}, '
        "one entry for each object. For other pictures the float network finds objects itself.",
    ).add_argument
    add(
        "--calibration",
        type=Path,
        metavar="DIR",
        help="find ranges (int8) or round weights (int4-weights) on the pictures of this folder "
        "(default: on procedural scenes); of 8 and more, every second one judges the masks "
        "instead, up to 16",
    )
    add(
        "--calibration-pictures",
        type=whole_number(1, MOST_PICTURES),
        metavar="N",
        help=f"take N, spread over the sorted names (default: all, {DEFAULT_PICTURES} at most)",
    )
    add(
        "--ranges",
        choices=RANGE_KINDS,
        default=RANGE_KINDS[0],
        help="int8: from the least to the largest value (default), or with the least mean squared "
        "error",
    )
    add(
        "--allow-degraded",
        action="store_true",
        help="write a bundle of int8, int8-weights or int4-weights whose masks miss their floors, "
        "and mark it as degraded",
    )
