"""`sam-export`: arguments -> Job -> export(job); it prints and never computes."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from collections.abc import Callable, Sequence, Set
from pathlib import Path

import exporter
from exporter import child, command, precision, targets
from exporter.arguments import Parser, unicode_path, whole_number
from exporter.bundle.manifest import MOST_PICTURES
from exporter.bundle.rules import BATCHES, SIDES, SLOTS
from exporter.calibration import RANGE_KINDS
from exporter.closest import unknown
from exporter.errors import RequestError
from exporter.listing import listing
from exporter.picture_folder import DEFAULT_PICTURES
from exporter.printable import one_line, plain, printable
from exporter.progress import on_stderr, silent
from exporter.summary import as_data, summary
from exporter.targets import BLOCKS, IMAGE_INPUTS, MINIMUM_IOS, OPSETS, PALETTES, Options
from exporter.variants import DEFAULT

WORDS = {"compare": "profiles.accuracy.cli", "check": "runtimes.lint.cli"}
"""First word -> its own command, by name: bundles are run there, and imports flow to here."""
EXAMPLES = """examples:
  sam-export --target coreml                          the embedded demo model, for iOS
  sam-export --variant mobile_sam --target all --precision fp16
  sam-export --checkpoint sam_vit_b_01ec64.pth        the variant is recognised by the tensors
  sam-export --checkpoint tinysam_42.3.pth --variant tinysam --target tflite
  sam-export --target onnx --max-points 16 --batch 4  sixteen slots, four prompt sets a call
  sam-export --list                                   every variant; --json for all its data
  sam-export compare bundles/demo-*                   their masks, sizes and times; see its --help
  sam-export check bundles/demo-*                     graphs' forms that went wrong on phones

exit status: 0 done, 1 the export failed or missed a parity floor, 2 the request is wrong,
130 interrupted (Ctrl-C), 143 terminated (SIGTERM)
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run `sam-export` and return its exit status."""
    given = list(sys.argv[1:] if argv is None else argv)
    if given and given[0] in WORDS:
        other: Callable[[Sequence[str]], int] = importlib.import_module(WORDS[given[0]]).main
        return other(given[1:])
    return command.run(
        "sam-export",
        lambda: _parser().parse_args(given),
        _work,
        stopped=lambda word, arguments: f"error: {word}; no unfinished bundle is left",
    )


def _work(arguments: argparse.Namespace) -> int:
    if arguments.list or arguments.manifest_schema:
        _require_alone(arguments.given)
        print(plain(_known(arguments)))
        return 0
    return _export(arguments)


def _require_alone(given: Set[str]) -> None:
    """RequestError for an option of an export beside one that exports nothing."""
    asked = "--list" if "--list" in given else "--manifest-schema"
    others = sorted(given - {asked, "--json", "--quiet", "--debug"})
    if others:
        raise RequestError(f"{asked} takes no {' and no '.join(others)}: it exports nothing")


def _known(arguments: argparse.Namespace) -> str:
    """What needs no export: the variants, or the manifest's schema."""
    if arguments.list:
        return listing(as_json=arguments.json)
    from exporter.bundle.schema import manifest_schema

    return manifest_schema().rstrip()


def _export(arguments: argparse.Namespace) -> int:
    from exporter.budget import trade_off, trials_of
    from exporter.evaluation import found
    from exporter.job import Job, Place
    from exporter.pipeline import export

    child.require_folder()
    start = time.perf_counter()
    report = silent if arguments.quiet else on_stderr()
    job = Job(
        targets=_targets(arguments.target or ["coreml"], arguments.precision),
        precision=arguments.precision,
        variant=arguments.variant,
        checkpoint=arguments.checkpoint,
        decoder_checkpoint=arguments.decoder_checkpoint,
        batch=arguments.batch,
        slots=arguments.max_points,
        input_size=arguments.input_size,
        score=arguments.score,
        options=_options(arguments),
        keep_float=tuple(arguments.keep_float or ()),
        quantize_decoder=arguments.quantize_decoder,
        min_iou=arguments.min_iou,
        recipe=arguments.recipe,
        calibration=arguments.calibration,
        calibration_pictures=arguments.calibration_pictures,
        ranges=arguments.ranges,
        evaluate=arguments.evaluate,
    )
    place = Place(
        arguments.output,
        arguments.force,
        arguments.sign,
        allow_degraded=arguments.allow_degraded,
        glue=not arguments.no_glue,
    )
    bundles = export(job, place, report)
    seconds = time.perf_counter() - start
    if arguments.json:
        made = [as_data(bundle, trials_of(bundle)) for bundle in bundles]
        print(json.dumps({"bundles": made, "seconds": seconds}, indent=2))
        return 0
    for bundle in bundles:
        print(one_line(summary(bundle) + (f"; {seconds:.0f} s" if len(bundles) == 1 else "")))
        for line in (*trade_off(trials_of(bundle)), *found(bundle.manifest.evaluation)):
            print(one_line(line))
    report(f"done: {len(bundles)} of {len(job.targets)} bundles in {seconds:.0f} s")
    return 0


def _options(arguments: argparse.Namespace) -> Options:
    return Options(
        arguments.minimum_ios,
        arguments.image_input,
        arguments.opset,
        arguments.palette,
        arguments.block,
    )


def _targets(given: Sequence[str], precision: str) -> tuple[str, ...]:
    """Targets asked for, each once: `--target coreml,onnx` and `--target coreml --target onnx`.

    A word for several targets leaves out those that do not have the precision.
    """
    names = [name.strip() for each in given for name in each.split(",")]
    groups = targets.groups()
    for name in names:
        if name not in (*targets.names(), *groups):
            raise unknown("target", name, (*targets.names(), *groups), aliases=targets.ALIASES)
    able = {
        word: tuple(one for one in members if precision in targets.load_target(one).lowers)
        for word, members in groups.items()
    }
    # If none has it, it may be no precision at all, which is refused with those there are.
    found = (able.get(name) or groups.get(name, (name,)) for name in names)
    return tuple(dict.fromkeys(one for several in found for one in several))


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


def _parser() -> Parser:
    parser = Parser(
        prog="sam-export",
        description="Turn a Segment Anything checkpoint into a verified bundle for phones.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--version", action="version", version=f"sam-export {exporter.__version__}")
    add("--list", action="store_true", help="list every variant and stop")
    add("--manifest-schema", action="store_true", help="print the manifest's JSON Schema and stop")
    add("--variant", help=f"which model (default: recognised from --checkpoint, else {DEFAULT})")
    add("--checkpoint", type=Path, help="file or folder (default: the published one, downloaded)")
    add(
        "--decoder-checkpoint",
        type=Path,
        metavar="FILE",
        help="the decoder's own file, for variants published in two files (default: as above)",
    )
    add(
        "--target",
        action="append",
        metavar="NAME",
        help=f"{', '.join(targets.names())}, apple (coreml and coreai) or all (but coreai, whose "
        "check takes long); repeatable (default: coreml)",
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
        type=whole_number(SIDES[0], SIDES[-1]),
        metavar="N",
        help="side of the square input in pixels (default: the side that the checkpoint's table of "
        "positions is for, else the published one); half of it is a fourth of the work",
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
    _add_storage(parser)
    _add_kept(parser)
    _add_calibration(parser)
    add(
        "--evaluate",
        type=Path,
        metavar="DIR",
        help="judge the bundles on the pictures of this folder: IoU with their labels "
        "(NAME_mask.png beside a picture, or one file of COCO annotations) and with torch's masks "
        "(also of prompts.json, as below); into the manifest, and a page beside each bundle",
    )
    add("--output", type=unicode_path, default=Path("bundles"), help="folder (default: bundles)")
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
    add("--json", action="store_true", help="print the result, or the list, as JSON")
    add("--quiet", action="store_true", help="no progress on stderr")
    add("--debug", action="store_true", help="a traceback with an error")
    return parser


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


def _add_storage(parser: Parser) -> None:
    add = parser.add_argument
    add(
        "--palette",
        type=int,
        choices=PALETTES,
        help="store the weights of linear layers as indices of so many bits into a palette, for "
        "--target coreml in int8-weights (6) or int4-weights (4 or 6)",
    )
    add(
        "--block",
        type=int,
        choices=BLOCKS,
        help="weights of a linear layer that share a scale, for --target coreml in int8-weights or "
        "int4-weights (default: those of an output channel in 8 bits, 32 in 4)",
    )


def _add_calibration(parser: Parser) -> None:
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


if __name__ == "__main__":
    sys.exit(main())
