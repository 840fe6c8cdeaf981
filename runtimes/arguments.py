"""The argument parser of `sam-run`."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from exporter.arguments import Parser, unicode_path, whole_number
from exporter.printable import printable
from runtimes.everything.options import add_everything
from runtimes.pictures.reading import MAX_PIXELS, MAX_SIDE
from runtimes.process import MOST_THREADS
from runtimes.prompt_options import Owned, Owner, box, mask_file, object_name, point, split

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
  sam-run edgetam-onnx-fp32 clip.mp4 --point 480,360 --point 500,300,0@12 -o tracked.mp4
  sam-run edgetam-onnx-fp32 frames/ --object dog --box 9,8,42,36@3 --arrays dog.npz
  sam-run rap_sam_r50-onnx-fp32-panoptic dog.jpg --panoptic labels.png
  sam-run fastsam3d-onnx-fp32 ct.nii.gz --point 212,180,64 --mask mask.nii.gz -o montage.png
  sam-run fastsam3d-onnx-fp32 ct.nii.gz --point 212,180,64 --point 240,160,64,0 --refine
  sam-run mobile_sam-onnx-fp32 --check

exit status: 0 done, 1 a figure under its floor or failed work, 2 a wrong request, 130 interrupted
(Ctrl-C), 143 terminated (SIGTERM)
"""
DEFAULT_THREADS = 2
MAX_OBJECTS = 16
"""Of a video."""
OF_VIDEO = frozenset(
    {"--object", "--max-objects", "--every", "--both-ways", "--rate", "--raw-size"}
    | {"--coco", "--strip", "--arrays"}
)
"""Options that only a video takes."""
OF_PICTURE = frozenset({"--multimask", "--save-logits"})
"""Options that only a picture takes."""
OF_VOLUME = frozenset({"--resample", "--no-mask"})
"""Options that only a volume takes."""
VOLUMES = (".nii", ".nii.gz", ".npy")
"""Names of files of volumes end so."""
OF_CHECK = frozenset({"--check", "--verify-key", "--engine", "--threads", "--json", "--debug"})
"""Options that --check takes; it has no use for any other."""


def brightness(text: str) -> tuple[float, float] | None:
    """Parse `auto`, which is None, or `LOW,HIGH`."""
    if text == "auto":
        return None
    low, high = split(text, (2,), "auto or LOW,HIGH")
    if low >= high:
        raise argparse.ArgumentTypeError(f"LOW should be less than HIGH: {text!r}")
    return low, high


def parser() -> Parser:
    """Make the parser. A wrong argument ends the process with status 2 and one line."""
    made = Parser(
        "sam-run",
        usage="sam-run BUNDLE IMAGE|CLIP [prompts] [options] | "
        "sam-run BUNDLE IMAGE --everything [METHOD] [options] | sam-run BUNDLE --check",
        description="Segment a picture with a bundle on this machine, track through a video with "
        "one exported with --video, or check the bundle.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = made.add_argument
    add("bundle", type=unicode_path, metavar="BUNDLE", help="folder written by sam-export")
    add(
        "image",
        type=Path,
        metavar="IMAGE|CLIP",
        nargs="?",
        help="any picture that Pillow reads; or a video file, a folder of frames in the order of "
        "their numbers, or - for PPM pictures (or a video file) on standard input",
    )
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
    _add_video(made)
    _add_volume(made)
    add("--engine", metavar="NAME", help="default: the first that can run the bundle here")
    add(
        "--threads",
        type=whole_number(1, MOST_THREADS),
        metavar="N",
        help=f"default: {DEFAULT_THREADS}",
    )
    add(
        "--json",
        action="store_true",
        help="print one JSON object instead of text; of a video, one a line for each frame",
    )
    add("--debug", action="store_true", help="show the traceback of an error")
    return made


def _add_prompts(parser: Parser) -> None:
    add = parser.add_argument_group(
        "prompts, in pixels of the image",
        "Several boxes, or names, are several objects in one run. A point belongs to the object "
        "that @NAME or @NUMBER says, or to the only one. Of a video a number is a frame's, from 0: "
        "X,Y@FRAME or X,Y@NAME@FRAME. There, points of an object that is tracked already correct "
        "it, and a box or a mask shows it anew.",
    ).add_argument
    add(
        "--point",
        type=point,
        action=Owned,
        default=[],
        metavar="X,Y[,LABEL][@NAME]",
        help="LABEL 1 is foreground (default), 0 background; repeat for more points",
    )
    add(
        "--box",
        type=box,
        action=Owned,
        default=[],
        metavar="X0,Y0,X1,Y1[@NAME]",
        help="top left and bottom right corner; each further box is another object",
    )
    add(
        "--mask-input",
        type=mask_file,
        action=Owned,
        default=[],
        metavar="FILE",
        help="a mask to refine: one of --save-logits, or a picture that is white inside; of a "
        "video, the object's mask on the first frame, or on FILE@FRAME",
    )
    add(
        "--object",
        type=object_name,
        action=Owner,
        metavar="NAME",
        help="of a video: the object that the prompts after it belong to",
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
        "files",
        "without any of these and without --json: IMAGE-stem.overlay.png, here; of a video "
        "CLIP-stem.overlay.mp4",
    )
    add = group.add_argument
    add(
        "-o",
        "--output",
        type=Path,
        metavar="PICTURE|VIDEO",
        help="the image, or the video, with masks and prompts",
    )
    add(
        "--mask",
        type=Path,
        metavar="PNG",
        help="the mask as 0 and 255; with --multimask PNG_0.png, PNG_1.png, ... in token order; "
        "of several objects PNG-NAME.png or PNG-NUMBER.png; of a video a new folder of palette "
        "PNGs, 0 where there is nothing, 1 the first object",
    )
    add(
        "--panoptic",
        type=Path,
        metavar="PNG",
        help="of a bundle exported with --classifier: everything in the image; a number a pixel, "
        "0 where there is nothing, the numbers' classes in PNG-stem.json, and an overlay (-o, or "
        "PNG-stem.overlay.png)",
    )
    add(
        "--save-logits",
        type=Path,
        metavar="NPY",
        help="low_res_masks (K, h, w), float32; of a volume (K, L, L, L), and beside them a "
        ".cube.json that says where they lie",
    )
    add(
        "--coco",
        type=Path,
        metavar="JSON",
        help="masks of --everything as COCO annotations, of a video as COCO run lengths; "
        "pycocotools reads both",
    )


def _spacing(text: str) -> float:
    (side,) = split(text, (1,), "millimetres")
    if not 0.01 <= side <= 100:
        raise argparse.ArgumentTypeError(f"should be millimetres, 0.01 to 100, not {side:g}")
    return side


def _add_volume(parser: Parser) -> None:
    add = parser.add_argument_group(
        "of a volume (.nii, .nii.gz or .npy), whose points are voxels I,J,K[,LABEL] of the file; "
        "--refine gives them one after another, each with the logits before it"
    ).add_argument
    add(
        "--resample",
        type=_spacing,
        metavar="MM",
        help="resample the volume to cubes of MM for the network (default: as it is)",
    )
    add(
        "--no-mask",
        action="store_true",
        help="begin without a mask, not with an empty one as published",
    )


def _size(text: str) -> tuple[int, int]:
    """Parse `WIDTHxHEIGHT`."""
    match = re.fullmatch(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"should be WIDTHxHEIGHT, not {printable(text, 40)!r}")
    return int(match[1]), int(match[2])


def _rate(text: str) -> float:
    (rate,) = split(text, (1,), "frames a second")
    if not 0.01 <= rate <= 1000:
        raise argparse.ArgumentTypeError(f"should be frames a second, 0.01 to 1000, not {rate:g}")
    return rate


def _add_video(parser: Parser) -> None:
    add = parser.add_argument_group("of a video").add_argument
    add("--strip", type=Path, metavar="PICTURE", help="some frames side by side")
    add(
        "--arrays",
        type=Path,
        metavar="NPZ",
        help="low_res_masks (frames, objects, h, w), masks (frames, objects, H, W) and "
        "object_score_logits (frames, objects), float32",
    )
    add(
        "--both-ways",
        action="store_true",
        help="track backward too, from each object's first prompt",
    )
    add("--every", type=whole_number(1, 10_000), default=1, metavar="N", help="every Nth frame")
    add(
        "--max-objects",
        type=whole_number(1, 10_000),
        default=MAX_OBJECTS,
        metavar="N",
        help=f"refuse more; each takes memory and time of its own (default: {MAX_OBJECTS})",
    )
    add("--rate", type=_rate, metavar="FPS", help="of a folder or a pipe (default: 25)")
    add("--raw-size", type=_size, metavar="WxH", help="frames on standard input are raw RGB")
