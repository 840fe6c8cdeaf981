"""`sam-segment --frames` follows an object through a folder as the Python tracker does."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from exporter.bundle.folder import Bundle, seal
from exporter.bundle.manifest import Figure
from tests.unit import tiny_bundle, video_bundle
from tests.unit.runtimes.frame_cases import try_frames, try_wrong_bundles
from tests.unit.runtimes.swift.swift_kit import run
from tests.unit.video_bundle import twin

MASK_INPUT = ("mask_input", "has_mask_input")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Bundle:
    return video_bundle.build(tmp_path_factory.mktemp("video") / "bundle")


def test_masks_of_frames(built, tmp_path) -> None:
    try_frames(built, tmp_path)


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


def test_the_wrong_kind_of_bundle_ends_with_one_line(built, tmp_path) -> None:
    try_wrong_bundles(built, tmp_path)
