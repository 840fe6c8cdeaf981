"""`sam-segment --frames` follows an object through a folder as the Python tracker does."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from exporter.bundle.folder import Bundle, seal
from exporter.bundle.manifest import Figure
from runtimes.tracker import open_tracker
from tests.unit import tiny_bundle, video_bundle
from tests.unit.published_tracker import picture
from tests.unit.runtimes.segment_kit import AGREE, expect_refusal
from tests.unit.runtimes.swift.swift_kit import run
from tests.unit.video_bundle import twin

MASK_INPUT = ("mask_input", "has_mask_input")
DARK = 0
"""A frame without the object."""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Bundle:
    return video_bundle.build(tmp_path_factory.mktemp("video") / "bundle")


@pytest.fixture(scope="module")
def frames(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("frames")
    for at in range(9):
        # By its letters, frame 10 would come first.
        Image.fromarray(picture(at, dark=at == DARK)).save(folder / f"frame {at + 2}.png")
    return folder


def test_masks_of_frames(built, bundle, frames, tmp_path) -> None:
    words = ("--frames", frames, "--point", "40,20", "--mask", tmp_path / "mask.png")
    ran = run(built, bundle.path, *words)
    assert ran.returncode == 0, ran.stderr
    tracker = open_tracker(bundle)
    tracker.start(picture(0, dark=True), frames=9)
    found = [tracker.add_object("dog", points=[(40, 20)], labels=[1])]
    found += [tracker.track(picture(at))["dog"] for at in range(1, 9)]
    assert [one.present for one in found].index(True) == 1
    lines = [line for line in ran.stdout.splitlines() if line.startswith("frame ")]
    for at, (one, line) in enumerate(zip(found, lines, strict=True)):
        assert line.startswith(f"frame {at}: {'there' if one.present else 'gone'}, score ")
        assert float(line.split()[-1]) == pytest.approx(one.score, abs=2e-3)
        mask = np.asarray(Image.open(tmp_path / f"mask_{at}.png"))
        assert np.mean((mask == 255) == one.mask) >= AGREE


def test_verify_takes_the_graphs_of_a_memory(built, bundle, tmp_path) -> None:
    """A decoder's pointers have the name of a bank's and are not fed to it."""
    folder = tmp_path / "bundle"
    shutil.copytree(bundle.path, folder)
    np.savez(folder / "goldens.npz", **_goldens())
    floor = Figure(
        "memory_attention", "conditioned_embeddings", "psnr_db", 150, "dB", "higher", 100
    )
    seal(folder, video_bundle.manifest(folder, parity=(floor,)))
    ran = run(built, folder, "--verify")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    (line,) = [
        line
        for line in ran.stdout.splitlines()
        if line.startswith("memory_attention ") and "psnr" in line
    ]
    assert "reaches the floor 100 dB" in line
    assert "cpuOnly (chosen): agrees" in ran.stdout


def _goldens() -> dict[str, np.ndarray]:
    """Inputs and the twin's outputs of every graph."""
    stored = tiny_bundle.goldens(1)
    for key in [key for key in stored if key.endswith("/point_coords")]:
        case = key.split("/")[1]
        shared = {n: stored.get(f"mask_decoder/*/{n}") for n in ("image_embeddings", *MASK_INPUT)}
        own = {key.split("/")[2]: a for key, a in stored.items() if key.split("/")[1] == case}
        given = {n: own.get(n, shared.get(n)) for n in (*shared, "point_coords", "point_labels")}
        stored |= {f"mask_decoder/{case}/{n}": a for n, a in twin("mask_decoder", given).items()}
    rng = np.random.default_rng(5)
    for spec in video_bundle.specs()[2:]:
        given = {t.name: rng.random(t.shape, np.float32) for t in spec.inputs}
        given |= {n: np.round(6 * given[n]) for n in ("memory_age", "pointer_age") if n in given}
        answers = twin(spec.name, given)
        stored |= {f"{spec.name}/full/{n}": a for n, a in (given | answers).items()}
    return stored


def test_the_wrong_kind_of_bundle_ends_with_one_line(built, bundle, frames, tmp_path) -> None:
    first = next(frames.iterdir())
    expect_refusal(built, bundle.path, [first, "--point", "5,5"], "open it with Tracker")
    tiny_bundle.build(tmp_path / "tiny")
    asked = ["--frames", frames, "--point", "5,5"]
    expect_refusal(built, tmp_path / "tiny", asked, "has no memory of earlier frames")
    expect_refusal(
        built, bundle.path, ["--frames", tmp_path, "--point", "5,5"], "holds no pictures"
    )
