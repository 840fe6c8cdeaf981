"""The capsule, put together from what is on this machine and started as a device would start it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from android_harness.runner.compilers import find_compiler
from android_harness.runtimes import needed_runtime
from android_harness.ways import Wanted
from android_harness.ways.capsule import Capsule, __main__, wheels
from android_harness.ways.capsule.__main__ import main
from android_harness.ways.capsule.assemble import LOADER, build
from exporter.cache import default_cache
from exporter.errors import DownloadError, RunnerError
from runtimes.engines import loader
from runtimes.measures import find_misses
from runtimes.parity import check_parity
from runtimes.remote.plans import check_plan, graph_plan, replay
from tests.device.runner_kit import ABI, JOB, QUICK, Folder, shell, tiny_onnx, tiny_tflite
from tests.fakes import qemu

BUNDLES = {"onnx": tiny_onnx, "tflite": tiny_tflite}
CPUINFO = Path(__file__).parents[1] / "fakes/samples/proc-cpuinfo-arm64-2core.txt"


def cache_with(abi, target, folder):
    """A cache that needs no network, or a skip that says what is missing."""
    compiler = find_compiler(abi)
    if compiler is None:
        pytest.skip(f"no C compiler for {abi}")
    wheel = needed_runtime(target).wheel
    if wheels.installed(wheel, abi) is None:
        downloads = default_cache(os.environ) / "downloads"
        found = wheels.kept(wheel, abi, downloads)
        if found is None:
            pytest.skip(f"no {abi} wheel of {wheel.project} {wheel.version} in {downloads}")
        (folder / "downloads").mkdir(parents=True)
        shutil.copy(found, folder / "downloads")
    return folder


class CapsuleOnHost:
    """A capsule in a folder, its loader started through `prefix`."""

    def __init__(self, abi, target, folder, prefix=""):
        self.abi, self.prefix = abi, prefix
        self.way = Capsule(cache_with(abi, target, folder / "cache"))
        self.work = Folder(Path("unused"), folder / "work")
        for file in self.way.files(Wanted(abi, target)):
            self.work.put({file.remote: file.local})
            (self.work.path / file.remote).chmod(0o755 if file.executable else 0o644)

    def library(self, bundle):
        return self.way.library(Wanted(self.abi, bundle.manifest.target))

    def run(self, plan):
        self.work.put({**plan.files, JOB: plan.job.text().encode()})
        line = self.way.command(str(self.work.path), plan.job, JOB, prefix=self.prefix)
        return self.way.read(plan.job, shell(line))


@pytest.fixture(params=sorted(BUNDLES))
def target(request):
    return request.param


def arm64(target, tmp_path):
    if qemu.missing():
        pytest.skip(qemu.missing())
    root = tmp_path / "root"
    (root / "proc").mkdir(parents=True)
    # The runtimes read this file, and die where it is another machine's.
    shutil.copy(CPUINFO, root / "proc/cpuinfo")
    return CapsuleOnHost("arm64-v8a", target, tmp_path, f"{qemu.program()} -L {root}")


def compared(capsule, bundle):
    plan = check_plan(bundle, capsule.library(bundle), QUICK)
    capsule.run(plan)
    load = replay(plan, capsule.work.pull(plan))
    device = check_parity(bundle.path, bundle.manifest, load=load)
    # The host's rules are not the device's: a picture end to end is checked on the host alone.
    host = check_parity(bundle.path, bundle.manifest, load=loader(bundle))
    assert len(device) == len(host) >= 3
    for here, there in zip(host, device, strict=True):
        assert (here.graph, here.output, here.measure) == (there.graph, there.output, there.measure)
        if here.measure == "worst_error":
            assert abs(here.value - there.value) <= 1e-5


def test_a_capsule_of_this_host_computes_what_the_engine_does(target, tmp_path):
    if not ABI:
        pytest.skip("this host is neither x86_64 nor arm64")
    compared(CapsuleOnHost(ABI, target, tmp_path), BUNDLES[target](tmp_path / "bundle"))


def test_an_arm64_capsule_computes_what_the_engine_does(target, tmp_path):
    compared(arm64(target, tmp_path), BUNDLES[target](tmp_path / "bundle"))


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")  # the toolkits': torch versions, deprecations
def test_float16_reaches_its_floors_with_arm64s_kernels(demo_bundle, tmp_path):
    """ONNX Runtime has float16 kernels on arm64 alone, and GELU's is coarse."""
    bundle, capsule = demo_bundle("onnx", "fp16"), arm64("onnx", tmp_path)
    plan = check_plan(bundle, capsule.library(bundle), QUICK)
    capsule.run(plan)
    load = replay(plan, capsule.work.pull(plan))
    figures = check_parity(bundle.path, bundle.manifest, load=load)
    assert {f.floor for f in figures if f.measure == "psnr_db"} >= {50.0, 40.0}
    assert find_misses(figures) == []


def test_an_arm64_capsule_proves_that_it_starts_and_times_a_graph(target, tmp_path):
    capsule = arm64(target, tmp_path)
    line = capsule.way.self_test(str(capsule.work.path), Wanted("arm64-v8a", target))
    answer = shell(line.replace("exec ", f"exec {capsule.prefix} "))
    assert answer.status == 0, answer.stderr
    bundle = BUNDLES[target](tmp_path / "b")
    plan = graph_plan(bundle, "image_encoder", capsule.library(bundle), QUICK)
    assert len(capsule.run(plan).samples_ns) == QUICK.runs


def test_what_a_capsule_loads_is_its_own(tmp_path):
    """Nothing of the host's: with libc taken away it cannot start."""
    if not ABI:
        pytest.skip("this host is neither x86_64 nor arm64")
    capsule = CapsuleOnHost(ABI, "tflite", tmp_path)
    bundle = tiny_tflite(tmp_path / "b")
    plan = graph_plan(bundle, "image_encoder", capsule.library(bundle), QUICK)
    library = capsule.work.path / f"capsule-{ABI}"
    for name in ("libstdc++.so.6", "libLiteRt.so"):
        kept = (library / name).read_bytes()
        (library / name).write_bytes(b"\x7fELF broken")
        with pytest.raises(RunnerError, match=name.replace("+", r"\+")):
            capsule.run(plan)
        (library / name).write_bytes(kept)
    assert capsule.run(plan).samples_ns


def test_a_capsule_says_what_it_is_made_of(target, tmp_path):
    if not ABI:
        pytest.skip("this host is neither x86_64 nor arm64")
    cache = cache_with(ABI, target, tmp_path)
    folder = build(ABI, target, cache)
    listed = json.loads((folder / "manifest.json").read_text())
    assert {f.name for f in folder.iterdir()} == {*listed["files"], "manifest.json"}
    assert listed["files"]["libc.so.6"]["licence"] == "LGPL-2.1-or-later"
    assert {"runner", LOADER[ABI], needed_runtime(target).library} <= set(listed["files"])
    assert all(entry["origin"] for entry in listed["files"].values())
    assert not [p for p in folder.parent.iterdir() if p.name.startswith(".partial")]


def test_a_capsule_is_built_once_and_again_when_it_was_changed(tmp_path):
    if not ABI:
        pytest.skip("this host is neither x86_64 nor arm64")
    cache = cache_with(ABI, "tflite", tmp_path)
    folder = build(ABI, "tflite", cache)
    first = (folder / "runner").stat().st_mtime_ns
    assert build(ABI, "tflite", cache) == folder
    assert (folder / "runner").stat().st_mtime_ns == first
    (folder / "libm.so.6").write_bytes(b"changed")
    assert build(ABI, "tflite", cache) == folder
    assert len((folder / "libm.so.6").read_bytes()) > 1000
    assert (folder / "runner").stat().st_mtime_ns != first


def test_capsules_are_put_together_ahead_of_time(target, tmp_path, capsys):
    if not ABI:
        pytest.skip("this host is neither x86_64 nor arm64")
    cache = cache_with(ABI, target, tmp_path)
    words = ["--abi", ABI, "--target", target, "--cache", str(cache)]
    assert main(words) == 0
    folder = build(ABI, target, cache)
    assert capsys.readouterr().out == f"{ABI} {target}: {folder}\n"
    (runner,) = folder.glob("runner")
    first = runner.stat().st_mtime_ns
    assert main(words) == 0
    assert runner.stat().st_mtime_ns == first


def test_a_capsule_that_cannot_be_put_together_costs_the_others_nothing(
    tmp_path, capsys, monkeypatch
):
    def make(abi, target, cache):
        if target == "onnx":
            raise DownloadError("no network")
        return cache / abi

    monkeypatch.setattr(__main__, "build", make)
    assert main(["--abi", "arm64-v8a", "--cache", str(tmp_path)]) == DownloadError.exit_status
    said = capsys.readouterr()
    assert said.out == f"arm64-v8a tflite: {tmp_path / 'arm64-v8a'}\n"
    assert said.err == "capsule: error: arm64-v8a onnx: no network\n"


def test_the_arrays_of_a_check_are_the_specs(tmp_path):
    """`replay` gives what a loaded graph gives: shapes and dtypes of the spec."""
    if not ABI:
        pytest.skip("this host is neither x86_64 nor arm64")
    capsule = CapsuleOnHost(ABI, "tflite", tmp_path)
    bundle = tiny_tflite(tmp_path / "b")
    plan = check_plan(bundle, capsule.library(bundle), QUICK)
    capsule.run(plan)
    session = replay(plan, capsule.work.pull(plan))("image_encoder")
    stored = bundle.goldens()
    inputs = {n: stored.array("image_encoder", "scene", n) for n in ("image", "point_labels")}
    (got,) = session.run(inputs).values()
    assert (got.shape, got.dtype) == ((1, 2, 2, 3), np.float32)
    assert np.array_equal(got, inputs["image"] + inputs["point_labels"])
