"""The host's share of a click in Swift, Kotlin and Python: `make bench-apps`.

    python -m tests.unit.runtimes.app_speed --write

A bundle of two graphs that do next to nothing, with a side of 1024, leaves what the host does: a
12-megapixel picture resized, padded and copied by `setImage`, one mask upscaled to it by `predict`.
Python does the first with Pillow and the second with numpy. The three are asked in turns; a ratio
is of one turn, so that what else runs here moves both. `--write` renews the page.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from PIL import Image

from exporter.bundle.folder import open_bundle, seal
from exporter.bundle.rules import MaskRule
from exporter.bundle.tensors import GraphSpec, TensorSpec
from exporter.printable import one_line
from profiles.lab.bench.machine import circumstances
from runtimes.segmenters import open_segmenter
from tests.unit import tiny_bundle
from tests.unit.runtimes.app_commands import build_commands
from tests.unit.runtimes.segment_kit import ROOT, run

PAGE = ROOT / "profiles" / "results" / "bench-apps.md"
SIDE, LOW, CELLS = 1024, 256, 16
WIDTH, HEIGHT = 4032, 3024
POINT = (2000, 1500)
SAID = re.compile(r"setImage ([\d.]+) ms, predict ([\d.]+) ms")
STEPS = ("picture of 12 megapixels to 1024", "one mask to 12 megapixels")
HEAD = """# The host's share of a click

{width} x {height} pixels in, one mask of that size out, in a bundle whose graphs do next to
nothing: what is left is preparing the picture (`setImage`) and upscaling the mask (`predict`).
Milliseconds are medians of {rounds} turns of {times} calls; ratios are medians of the turns'
ratios, **below 1 is faster than Pillow and numpy**. **Host timings, not phone timings**, beside
whatever else ran here.

- command: `make bench-apps ARGS='{words}'`, {date} (UTC)
- machine: {machine}

| step | Python, ms | Swift, ms | Kotlin, ms | Swift / Python | Kotlin / Python |
| --- | --- | --- | --- | --- | --- |
"""

Times = dict[str, tuple[float, float]]
"""Milliseconds of both steps by language."""


def main() -> int:
    """Measure; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7, help="turns (default: 7)")
    parser.add_argument("--times", type=int, default=11, help="calls a turn (default: 11)")
    parser.add_argument("--write", action="store_true", help=f"renew {PAGE.name}")
    given = parser.parse_args()
    try:
        commands = build_commands()
    except pytest.skip.Exception as missing:
        sys.stderr.write(f"not measured: {missing}\n")
        return 0
    with tempfile.TemporaryDirectory() as name:
        bundle, picture = thin_bundle(Path(name) / "thin"), Path(name) / "picture.png"
        pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT // 8, WIDTH // 8, 3), np.uint8)
        # Level 1: the file is read before anything is timed.
        Image.fromarray(pixels).resize((WIDTH, HEIGHT)).save(picture, compress_level=1)
        turns = []
        for turn in range(given.rounds):
            turns.append(ask(bundle, picture, commands, given.times))
            sys.stderr.write(f"turn {turn + 1} of {given.rounds}: {turns[-1]}\n")
    text = page(turns, given)
    if given.write:
        PAGE.write_text(text)
    sys.stdout.write(text)
    return 0


def ask(bundle: Path, picture: Path, commands: Mapping[str, Path], times: int) -> Times:
    """One turn: every language on the same picture and point, after one call that is not timed."""
    found = {"Python": _python(bundle, picture, times)}
    for language, command in commands.items():
        point = ",".join(map(str, POINT))
        ran = run(command, bundle, picture, "--point", point, "--times", times)
        said = SAID.search(ran.stdout)
        assert said, ran.stdout + ran.stderr
        found[language] = (float(said[1]), float(said[2]))
    return found


def _python(bundle: Path, picture: Path, times: int) -> tuple[float, float]:
    with Image.open(picture) as opened:
        pixels = np.asarray(opened.convert("RGB"))
    segmenter = open_segmenter(open_bundle(bundle))
    images, clicks = [], []
    for _ in range(times + 1):
        began = time.perf_counter()
        segmenter.set_image(pixels)
        between = time.perf_counter()
        masks = segmenter.predict(points=[POINT], labels=[1]).masks
        ended = time.perf_counter()
        assert masks.shape == (1, HEIGHT, WIDTH)
        images.append(1e3 * (between - began))
        clicks.append(1e3 * (ended - between))
    return statistics.median(images[1:]), statistics.median(clicks[1:])


def thin_bundle(folder: Path) -> Path:
    """Write a bundle whose encoder averages patches and whose decoder draws one disc."""
    folder.mkdir()
    image = TensorSpec("image", (1, 3, SIDE, SIDE), "float32", "NCHW")
    embedded = TensorSpec("image_embeddings", (1, 3, CELLS, CELLS), "float32", "NCHW")
    coords = TensorSpec("point_coords", (1, 6, 2), "float32", "NCH")
    labels = TensorSpec("point_labels", (1, 6), "float32", "NC")
    masks = TensorSpec("low_res_masks", (1, 4, LOW, LOW), "float32", "NCHW")
    scores = TensorSpec("iou_predictions", (1, 4), "float32", "NC")
    encoder = GraphSpec("image_encoder", (image,), (embedded,), "image")
    decoder = GraphSpec("mask_decoder", (embedded, coords, labels), (masks, scores), "prompt")
    cell = SIDE // CELLS
    pool = helper.make_node(
        "AveragePool",
        ["image"],
        ["image_embeddings"],
        kernel_shape=[cell, cell],
        strides=[cell, cell],
    )
    onnx.save(tiny_bundle.onnx_graph(encoder, [pool], {}), folder / "image_encoder.onnx")
    across = np.linspace(-1, 1, LOW, dtype=np.float32)
    disc = 5 * (0.5 - across[:, None] ** 2 - across[None, :] ** 2)
    constants = {
        "disc": np.broadcast_to(disc, (1, 4, LOW, LOW)).copy(),
        "base": np.full((1, 4), 0.9, np.float32),
        "nothing": np.float32(0),
        "axes": np.array([1, 2]),
    }
    nodes = [
        helper.make_node("ReduceSum", ["point_coords", "axes"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["sum", "nothing"], ["zero"]),
        helper.make_node("Add", ["disc", "zero"], ["low_res_masks"]),
        helper.make_node("Add", ["base", "zero"], ["iou_predictions"]),
    ]
    onnx.save(tiny_bundle.onnx_graph(decoder, nodes, constants), folder / "mask_decoder.onnx")
    made = tiny_bundle.manifest(tiny_bundle.Recipe(takes_mask=False), folder)
    files = [
        replace(file, spec=spec) for file, spec in zip(made.graphs, (encoder, decoder), strict=True)
    ]
    preprocess = replace(made.preprocess, size=SIDE)
    mask = MaskRule(0.0, 0, (1, 2, 3), "bilinear", LOW)
    np.savez(folder / "goldens.npz")
    seal(folder, replace(made, graphs=tuple(files), preprocess=preprocess, mask=mask))
    return folder


def page(turns: list[Times], given: argparse.Namespace) -> str:
    """The turns as Markdown."""
    about = circumstances("")
    machine = about["machine"]
    text = HEAD.format(
        width=WIDTH,
        height=HEIGHT,
        rounds=len(turns),
        times=given.times,
        words=f"--rounds {given.rounds} --times {given.times} --write",
        date=about["date"],
        machine=one_line(f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}"),
    )
    for at, step in enumerate(STEPS):
        cells = [f"{statistics.median(turn[name][at] for turn in turns):.1f}" for name in turns[0]]
        for name in list(turns[0])[1:]:
            ratios = [turn[name][at] / turn["Python"][at] for turn in turns]
            cells.append(f"{statistics.median(ratios):.2f}")
        text += f"| {step} | {' | '.join(cells)} |\n"
    return text


if __name__ == "__main__":
    sys.exit(main())
