"""The runner built for this host, and bundles small enough to run on anything."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from android_harness.process import Answer, read_runner, start_command
from android_harness.runtimes import needed_runtime
from android_harness.ways.capsule import wheels
from exporter.bundle import agreement
from exporter.bundle.folder import Bundle, open_bundle, seal
from exporter.bundle.manifest import GraphFile
from exporter.bundle.tensors import GraphSpec, TensorSpec
from runtimes.device import Method
from runtimes.remote.job import Library
from runtimes.remote.plans import DevicePlan, Setting
from runtimes.remote.report import RunnerReport
from tests.unit import tiny_bundle
from tests.unit.tiny_tflite import SHAPE, write_adder

ABI = {"x86_64": "x86_64", "aarch64": "arm64-v8a"}.get(platform.machine(), "")
QUICK = Setting.of(Method(threads=1, runs=5, seconds=0.0, warmup_seconds=0.0), cores=())
JOB = "job.txt"


def library(bundle: Bundle) -> Library:
    """The one that is installed here for a bundle."""
    runtime = needed_runtime(bundle.manifest.target)
    installed = wheels.installed(runtime.wheel, ABI)
    return Library(runtime.name, str(installed), runtime.wheel.version)


@dataclass(frozen=True)
class Folder:
    """A work folder, as a device has one."""

    runner: Path
    path: Path

    def put(self, files: Mapping[str, Path | bytes]) -> None:
        for name, content in files.items():
            path = self.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.read_bytes())

    def start(self, text: str) -> Answer:
        (self.path / JOB).write_text(text)
        return shell(start_command(str(self.path), f"{self.runner} {JOB}"))

    def run(self, plan: DevicePlan) -> RunnerReport:
        self.put(plan.files)
        return read_runner(self.start(plan.job.text()))

    def pull(self, plan: DevicePlan) -> dict[str, bytes]:
        return {name: (self.path / name).read_bytes() for name in plan.outputs}


def shell(line: str) -> Answer:
    """Run it as a device's shell would; a signal is 128 and its number."""
    words = ["sh", "-c", line]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    status = done.returncode if done.returncode >= 0 else 128 - done.returncode
    return Answer(status, done.stdout, done.stderr)


def tiny_onnx(folder: Path) -> Bundle:
    tiny_bundle.build(folder)
    return open_bundle(folder)


def tiny_tflite(folder: Path) -> Bundle:
    """Two adders: the decoder adds what the encoder gave to a prompt."""
    folder.mkdir()
    names = {
        "image_encoder": ("image", "point_labels", "image_embeddings"),
        # Not the spec's names, and stored in another order: they are paired by number.
        "mask_decoder": ("args_0", "args_1", "output_0"),
    }
    for graph, inner in names.items():
        write_adder(folder / f"{graph}.tflite", graph, inner)
    rng = np.random.default_rng(0)
    image, labels, left, right = (rng.standard_normal(SHAPE, np.float32) for _ in range(4))
    np.savez(
        folder / "goldens.npz",
        **{
            "image_encoder/scene/image": image,
            "image_encoder/scene/point_labels": labels,
            "image_encoder/scene/image_embeddings": image + labels,
            "mask_decoder/*/image_embeddings": image + labels,
            "mask_decoder/click_left/point_coords": left,
            "mask_decoder/click_left/low_res_masks": image + labels + left,
            "mask_decoder/click_right/point_coords": right,
            "mask_decoder/click_right/low_res_masks": image + labels + right,
        },
    )
    specs = (
        GraphSpec(
            "image_encoder",
            (_tensor("image"), _tensor("point_labels")),
            (_tensor("image_embeddings"),),
            "image",
        ),
        GraphSpec(
            "mask_decoder",
            (_tensor("image_embeddings"), _tensor("point_coords")),
            (_tensor("low_res_masks"),),
            "prompt",
        ),
    )
    sizes = {s.name: (folder / f"{s.name}.tflite").stat().st_size for s in specs}
    graphs = tuple(GraphFile(s, f"{s.name}.tflite", sizes[s.name], signature=s.name) for s in specs)
    base = tiny_bundle.manifest(tiny_bundle.Recipe(), folder)
    # Not opened: adders take no image, so the rules of this manifest do not fit them.
    return Bundle(folder, seal(folder, replace(base, target="tflite", graphs=graphs)))


def adders_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands of this process open a bundle of adders, which fit no rules."""
    monkeypatch.setattr(agreement, "check_agreement", lambda manifest: None)


def _tensor(name: str) -> TensorSpec:
    return TensorSpec(name, SHAPE, "float32", "NCHW")
