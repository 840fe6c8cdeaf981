"""`sam-export`: arguments -> Job -> export(job); it prints and never computes."""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import exporter
from exporter import catalog, targets
from exporter.errors import SamExportError
from exporter.precision import PLANNED, load_precision
from exporter.progress import on_stderr, silent
from exporter.targets import MINIMUM_IOS, Options
from exporter.variants import DEFAULT, Variant, load_variant, variants

if TYPE_CHECKING:
    from exporter.bundle import Bundle
    from exporter.pipeline import Job

EXAMPLES = """examples:
  sam-export --target coreml                          the embedded demo model, for iOS
  sam-export --variant mobile_sam --target all --precision fp16
  sam-export --variant sam_vit_b --checkpoint sam_vit_b_01ec64.pth --target tflite
  sam-export --target onnx --max-points 16 --batch 4  sixteen slots, four prompt sets a call
  sam-export --list

exit status: 0 done, 1 the export failed or missed a parity floor, 2 the request is wrong
"""
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run `sam-export` and return its exit status."""
    arguments = _parser().parse_args(argv)
    try:
        if arguments.list:
            print(listing(as_json=arguments.json))
            return 0
        return _export(arguments)
    except SamExportError as error:
        return _failed(str(error), error.exit_status, debug=arguments.debug)
    except KeyboardInterrupt:
        return _failed("interrupted; nothing was written", INTERRUPTED, debug=arguments.debug)
    except MemoryError:
        return _failed("out of memory; close something or take a smaller variant", 1, debug=False)
    except Exception as error:  # noqa: BLE001 - a user gets one line, --debug the rest
        line = f"{type(error).__name__}: {error} (a bug; run again with --debug and report it)"
        return _failed(line, 1, debug=arguments.debug)


def listing(*, as_json: bool) -> str:
    """Every variant: a table, or JSON with all that is known of each."""
    rows = [v.row() | {"targets": list(targets.names())} for v in variants().values()]
    for row in rows:
        row["precisions"] = list(catalog.names("exporter.precision"))
    if as_json:
        return json.dumps({"variants": rows, "planned_precisions": list(PLANNED)}, indent=2)
    head = ("variant", "family", "params", "input", "licence", "targets", "checkpoint")
    table: list[tuple[str, ...]] = [head, *map(_row, variants().values())]
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in table]
    return "\n".join(line.rstrip() for line in lines)


def _row(variant: Variant) -> tuple[str, ...]:
    size = variant.preprocess.size
    restricted = "" if variant.licence.commercial_use else " (not commercial)"
    return (
        variant.name,
        variant.family,
        f"{variant.parameters / 1e6:.1f} M",
        f"{size} x {size}",
        variant.licence.name + restricted,
        ",".join(targets.names()),
        variant.published.file,
    )


def _export(arguments: argparse.Namespace) -> int:
    job = _job(arguments)
    from exporter.pipeline import export

    start = time.perf_counter()
    report = silent if arguments.quiet else on_stderr()
    bundles = export(job, report)
    seconds = time.perf_counter() - start
    if arguments.json:
        print(json.dumps({"bundles": [_as_data(b) for b in bundles], "seconds": seconds}, indent=2))
        return 0
    for bundle in bundles:
        print(summary(bundle) + (f"; {seconds:.0f} s" if len(bundles) == 1 else ""))
    report(f"done: {len(bundles)} of {len(job.targets)} bundles in {seconds:.0f} s")
    return 0


def _job(arguments: argparse.Namespace) -> Job:
    from exporter.pipeline import Job

    names = targets.names() if arguments.target == "all" else (arguments.target,)
    return Job(
        variant=load_variant(arguments.variant).name,
        targets=names,
        precision=load_precision(arguments.precision).name,
        checkpoint=arguments.checkpoint,
        output=arguments.output,
        batch=arguments.batch,
        slots=arguments.max_points,
        options=Options(minimum_ios=arguments.minimum_ios),
        force=arguments.force,
    )


def summary(bundle: Bundle) -> str:
    """One line: graph sizes and the parity figures that matter."""
    manifest = bundle.manifest
    sizes = ", ".join(f"{g.spec.name} {g.bytes / 1e6:.1f} MB" for g in manifest.graphs)
    values = {
        figure.measure: figure.value
        for figure in manifest.parity
        if (figure.graph, figure.output) == ("mask_decoder", "low_res_masks")
    }
    return (
        f"{bundle.path}: {sizes}; low_res_masks PSNR {values['psnr_db']:.1f} dB, "
        f"worst error {values['worst_error']:.1e}, mask IoU {values['mask_iou']:.4f}, "
        f"prompt sensitivity {values['prompt_sensitivity']:.3f}"
    )


def _as_data(bundle: Bundle) -> dict[str, object]:
    return {"path": str(bundle.path), "manifest": json.loads(bundle.manifest.to_json())}


def _failed(line: str, status: int, *, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    print(f"sam-export: error: {line}", file=sys.stderr)
    return status


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, as every other error of ours."""
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def _number(least: int, most: int) -> type:
    class Number(int):
        def __new__(cls, text: str) -> Number:
            value = super().__new__(cls, text)
            if not least <= value <= most:
                raise ValueError
            return value

    Number.__name__ = f"whole number from {least} to {most},"
    return Number


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="sam-export",
        description="Turn a Segment Anything checkpoint into a verified bundle for phones.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--version", action="version", version=f"sam-export {exporter.__version__}")
    add("--list", action="store_true", help="list every variant and stop")
    add("--variant", default=DEFAULT, help=f"which model (default: {DEFAULT}; see --list)")
    add("--checkpoint", type=Path, help="file or folder (default: the published one, downloaded)")
    add("--target", choices=(*targets.names(), "all"), default="coreml", help="default: coreml")
    add("--precision", default="fp16", help="fp32 or fp16 (default: fp16)")
    add(
        "--max-points",
        type=_number(2, 64),
        default=8,
        metavar="N",
        help="prompt slots: a point takes one, a box two, and a set without a box one more "
        "(default: 8)",
    )
    add("--batch", type=_number(1, 64), default=1, metavar="B", help="prompt sets in one call")
    add(
        "--minimum-ios",
        type=int,
        choices=MINIMUM_IOS,
        default=MINIMUM_IOS[0],
        help="oldest iOS for --target coreml (default: 16; 18 keeps attention one operation)",
    )
    add("--output", type=Path, default=Path("bundles"), help="folder (default: bundles)")
    add("--force", action="store_true", help="replace a different bundle that is already there")
    add("--json", action="store_true", help="print the result, or the list, as JSON")
    add("--quiet", action="store_true", help="no progress on stderr")
    add("--debug", action="store_true", help="a traceback with an error")
    return parser


if __name__ == "__main__":
    sys.exit(main())
