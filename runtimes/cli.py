"""`sam-run`: segment a picture with a bundle on this machine, or check the bundle."""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from exporter.bundle.folder import Bundle, open_bundle
from exporter.bundle.masks import Masks
from exporter.bundle.preprocess import Bools, Bytes, fit
from exporter.bundle.prompts import Prompts
from exporter.errors import ParityError, RequestError, SamExportError
from exporter.signals import describe_end, terminable
from runtimes.arguments import parser
from runtimes.engines import choose_engine
from runtimes.measures import describe, find_misses
from runtimes.overlay import overlay
from runtimes.parity import check_parity
from runtimes.pictures import read_rgb, save_picture, write_whole
from runtimes.segmenters import Request, open_segmenter, validate

T = TypeVar("T")


@dataclass(frozen=True)
class Files:
    """Files to write; None is not written."""

    overlay: Path | None
    mask: Path | None
    logits: Path | None


def main(argv: Sequence[str] | None = None) -> int:
    """Run `sam-run`; returns the exit status."""
    arguments = parser().parse_args(argv)
    try:
        with terminable():
            return _check(arguments) if arguments.check else _segment(arguments)
    except KeyboardInterrupt as end:
        word, status = describe_end(end)
        print(f"sam-run: {word}", file=sys.stderr)
        return status
    except Exception as error:  # noqa: BLE001 - a user gets one line instead of a traceback
        if arguments.debug:
            traceback.print_exc()
        known = isinstance(error, SamExportError)
        what = error if known else f"{type(error).__name__}: {error} (--debug shows where)"
        print(f"sam-run: error: {what}", file=sys.stderr)
        return error.exit_status if isinstance(error, SamExportError) else 1


def _check(arguments: argparse.Namespace) -> int:
    """Check the hashes, then every graph against its goldens."""
    if arguments.image is not None:
        raise RequestError("--check takes no image: it runs the bundle's own goldens")
    bundle = open_bundle(arguments.bundle, arguments.verify_key)
    manifest = bundle.manifest
    engine = choose_engine(manifest.target, arguments.engine).name
    figures = check_parity(bundle.path, manifest, engine, arguments.threads)
    if arguments.json:
        report = {"bundle": str(bundle.path), "engine": engine, "files": len(manifest.files)}
        report["signature"] = None if arguments.verify_key is None else "verified"
        print(json.dumps({**report, "figures": [asdict(f) for f in figures]}, indent=2))
    else:
        signed = "" if arguments.verify_key is None else f", signed by {arguments.verify_key}"
        print(f"{bundle.path}: {len(manifest.files)} files as exported{signed}; engine {engine}")
        for figure in figures:
            print(f"  {describe(figure, manifest.precision)}")
    under = find_misses(figures)
    if under:
        more = f", and {len(under) - 1} more" if len(under) > 1 else ""
        raise ParityError(f"{describe(under[0], manifest.precision)}{more}")
    return 0


def _segment(arguments: argparse.Namespace) -> int:
    """Segment one picture with one prompt set."""
    if arguments.image is None:
        raise RequestError("give an IMAGE to segment, or --check")
    files = _files(arguments)
    prompts = _prompts(arguments)
    bundle = open_bundle(arguments.bundle, arguments.verify_key)
    rgb = read_rgb(arguments.image)
    request = Request(prompts, arguments.multimask, arguments.mask_input, files.logits is not None)
    frame = fit(rgb.shape[1], rgb.shape[0], bundle.manifest.preprocess)
    logits = validate(bundle.manifest, request, frame)
    engine = choose_engine(bundle.manifest.target, arguments.engine).name
    ms: dict[str, float] = {}
    segmenter = _time(ms, "load", lambda: open_segmenter(bundle, engine, arguments.threads))
    _time(ms, "set_image", lambda: segmenter.set_image(rgb))
    call = partial(segmenter.predict_prompts, prompts, logits, multimask=arguments.multimask)
    masks = _time(ms, "predict", call)
    written = _write(files, rgb, masks, prompts)
    if arguments.json:
        report = _report(bundle, engine, rgb, prompts, masks)
        report["prompts"]["mask_input"] = str(arguments.mask_input) if logits is not None else None
        report["ms"] = {"device": "host"} | {name: round(value, 3) for name, value in ms.items()}
        report["files"] = [str(path) for path in written]
        print(json.dumps(report, indent=2))
        return 0
    kind = masks.word if bundle.manifest.detections is None else "score"
    for i, (value, mask) in enumerate(zip(masks.scores, masks.masks, strict=True)):
        print(f"mask {i}: {kind} {value:.3f}, {int(mask.sum())} pixels")
    for path in written:
        print(path)
    return 0


def _report(
    bundle: Bundle, engine: str, rgb: Bytes, prompts: Prompts, masks: Masks
) -> dict[str, Any]:
    manifest = bundle.manifest
    value = "iou_prediction" if manifest.detections is None else "score"
    return {
        "bundle": str(bundle.path),
        "variant": manifest.variant,
        "target": manifest.target,
        "precision": manifest.precision,
        "engine": engine,
        "image": {"width": rgb.shape[1], "height": rgb.shape[0]},
        "prompts": asdict(prompts),
        "masks": [
            {
                value: float(masks.iou_predictions[i]),
                **({} if masks.stability is None else {"stability": float(masks.stability[i])}),
                "area": int(mask.sum()),
                "box": bounding_box(mask),
            }
            for i, mask in enumerate(masks.masks)
        ],
    }


def bounding_box(mask: Bools) -> list[int] | None:
    """x0, y0, x1, y1 around a mask, the last two exclusive; None for an empty mask."""
    ys, xs = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(ys):
        return None
    return [int(xs[0]), int(ys[0]), int(xs[-1]) + 1, int(ys[-1]) + 1]


def _write(files: Files, rgb: Bytes, masks: Masks, prompts: Prompts) -> list[Path]:
    """Write the files asked for; returns their paths, in order."""
    written = []
    if files.overlay is not None:
        save_picture(files.overlay, overlay(rgb, masks, prompts))
        written.append(files.overlay)
    for path, mask in _mask_files(files.mask, masks):
        save_picture(path, Image.fromarray(mask.astype(np.uint8) * np.uint8(255)))
        written.append(path)
    if files.logits is not None:
        write_whole(files.logits, lambda stream: np.save(stream, masks.low_res_masks))
        written.append(files.logits)
    return written


def _mask_files(path: Path | None, masks: Masks) -> list[tuple[Path, Any]]:
    if path is None:
        return []
    if len(masks.masks) == 1:
        return [(path, masks.masks[0])]
    return [(path.with_stem(f"{path.stem}_{i}"), mask) for i, mask in enumerate(masks.masks)]


def _files(arguments: argparse.Namespace) -> Files:
    """Name the files asked for. RequestError, before any work, if one cannot be written."""
    image: Path = arguments.image
    files = Files(arguments.output, arguments.mask, arguments.save_logits)
    asked = [path for path in (files.overlay, files.mask, files.logits) if path is not None]
    if not asked and not arguments.json:
        files = Files(Path(f"{image.stem}.overlay.png"), None, None)
    if len({path.resolve() for path in [image, *asked]}) <= len(asked):
        raise RequestError("IMAGE, -o, --mask and --save-logits should be different files")
    for path in asked:
        if not path.parent.is_dir():
            raise RequestError(f"there is no folder {path.parent} to write {path.name} to")
    pictures = Image.registered_extensions()
    for picture in (files.overlay, files.mask):
        if picture is not None and pictures.get(picture.suffix.lower()) not in Image.SAVE:
            raise RequestError(f"{picture} should end in .png or another picture format")
    return files


def _prompts(arguments: argparse.Namespace) -> Prompts:
    return Prompts(
        points=tuple((x, y) for x, y, _ in arguments.point),
        labels=tuple(label for _, _, label in arguments.point),
        box=arguments.box,
    )


def _time(ms: dict[str, float], name: str, work: Callable[[], T]) -> T:
    start = time.perf_counter()
    result = work()
    ms[name] = (time.perf_counter() - start) * 1000
    return result


if __name__ == "__main__":
    sys.exit(main())
