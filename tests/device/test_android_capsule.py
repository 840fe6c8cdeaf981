"""The whole way: a bundle, the real runner, the real runtimes, the real adb, a simulated phone."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from android_harness.devices import android
from android_harness.ways import Wanted
from android_harness.ways.capsule import Capsule
from exporter.bundle.folder import Bundle, open_bundle, seal
from exporter.errors import DownloadError, RequestError
from runtimes.device import Method
from runtimes.measures import find_misses
from tests.device.android_kit import assert_tidy, look_at
from tests.device.runner_kit import tiny_tflite
from tests.unit.tiny_bundle import Recipe, build, manifest, reseal
from tests.unit.tiny_tflite import SHAPE

QUICK = Method(runs=5, seconds=0.1, warmup_seconds=0.5, way="capsule", cores="all", threads=1)
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))


@pytest.fixture
def device(phone, adb_environment, monkeypatch):
    look_at(adb_environment, monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", str(CACHE))  # HOME is the test server's now
    missing = Capsule().missing(Wanted("x86_64", "onnx", "cpu"))
    if missing:
        pytest.skip(missing)
    return android.find(phone.serial)


@pytest.fixture(scope="session")
def tiny_onnx(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles") / "tiny"
    build(folder)
    return open_bundle(folder)


def use(device, bundle, method=QUICK):
    """check -> graphs -> session, as `sam-bench` does."""
    names = [graph.spec.name for graph in bundle.manifest.graphs]
    with device.open(method) as bench:
        bench.prepare(bundle)
        figures = bench.check(bundle)
        runs = [bench.run_graph(bundle, name) for name in names]
        session = bench.run_session(bundle)
    return figures, runs, session


def test_a_tiny_onnx_bundle(device, phone, tiny_onnx):
    figures, runs, session = use(device, tiny_onnx)
    assert find_misses(figures) == []
    assert len(figures) == 10
    assert {figure.graph for figure in figures} == {
        "image_encoder",
        "mask_decoder",
        "image_encoder+mask_decoder",
    }
    for run in runs:
        assert len(run.samples_ns) >= 5
        assert min(run.samples_ns) > 0
        assert run.runtime.startswith("onnxruntime 1.")
        assert (run.threads, run.way) == (1, "capsule")
        assert run.peak_bytes > 2**20
    assert len(session.click_ns) >= 5
    assert session.first_mask_ns > session.load_ns > 0
    assert_tidy(phone)


def test_a_bundle_that_computes_something_else_is_found_on_the_device(device, tmp_path):
    build(tmp_path / "scaled", Recipe(flaw="scaled"))
    with device.open(QUICK) as bench:
        figures = bench.check(open_bundle(tmp_path / "scaled"))
    assert {figure.output for figure in find_misses(figures)} == {"low_res_masks"}


def test_all_golden_cases_of_all_graphs_take_one_process_and_one_pull(device, phone, tiny_onnx):
    with device.open(QUICK) as bench:
        bench.prepare(tiny_onnx)
        phone.commands.clear()
        bench.check(tiny_onnx)
    during = [line for line in phone.commands if "stay_on" not in line and "restore" not in line]
    assert len([line for line in during if "exec" in line and "job.txt" in line]) == 1
    assert len(during) == 3  # run, gather, remove; the job and the pull are copies


def test_the_process_is_held_to_the_cores_that_were_chosen(device, phone, tiny_onnx):
    core = phone.cores[-1].index
    with device.open(replace(QUICK, cores=str(core), check=False)) as bench:
        assert bench.run_graph(tiny_onnx, "mask_decoder").affinity == (core,)


def test_a_delegate_that_a_capsule_has_not(device, phone, tiny_onnx):
    method = replace(QUICK, delegate="gpu")
    with (
        device.open(method) as bench,
        pytest.raises(RequestError, match="a capsule offers cpu for onnx bundles, not gpu"),
    ):
        bench.prepare(tiny_onnx)
    assert_tidy(phone)


def test_a_way_that_there_is_not(device, tiny_onnx):
    method = replace(QUICK, way="engine")
    with device.open(method) as bench, pytest.raises(RequestError, match="unknown way"):
        bench.prepare(tiny_onnx)


def test_a_changed_runner_on_the_device_is_replaced(device, phone, tiny_onnx):
    with device.open(QUICK) as bench:
        bench.prepare(tiny_onnx)
    (runner,) = (phone.tmp / "sam-export/files").rglob("runner")
    good = runner.read_bytes()
    runner.write_bytes(bytes(len(good)))
    with device.open(QUICK) as bench:
        assert bench.run_graph(tiny_onnx, "image_encoder").samples_ns
    assert runner.read_bytes() == good


def test_a_model_with_its_weights_beside_it(device, phone, tmp_path):
    """Above 2 GB an ONNX model is two files, and the runtime looks for the second by its name."""
    build(tmp_path / "two")
    model = tmp_path / "two/mask_decoder.onnx"
    # Not those that shapes follow from: the runtime wants them in the first file.
    beside = {"location": "mask_decoder.onnx.data", "size_threshold": 512}
    onnx.save(onnx.load(model), model, save_as_external_data=True, **beside)
    assert (tmp_path / "two/mask_decoder.onnx.data").stat().st_size >= 512
    made = manifest(Recipe(), tmp_path / "two")
    sizes = [sum(p.stat().st_size for p in model.parent.glob(f"{g.file}*")) for g in made.graphs]
    graphs = [replace(g, bytes=size) for g, size in zip(made.graphs, sizes, strict=True)]
    reseal(tmp_path / "two", graphs=tuple(graphs))
    figures, _, session = use(device, open_bundle(tmp_path / "two"))
    assert find_misses(figures) == []
    assert session.click_ns
    assert_tidy(phone)


def test_a_tiny_tflite_bundle(device, phone, tmp_path):
    bundle = tiny_tflite(tmp_path / "tiny")
    with np.load(bundle.path / "goldens.npz") as stored:
        arrays = dict(stored)
    for case in ("click_left", "click_right"):
        coords = np.random.default_rng(len(case)).standard_normal(SHAPE, np.float32)
        arrays[f"mask_decoder/{case}/point_coords"] = coords
        arrays[f"mask_decoder/{case}/low_res_masks"] = (
            arrays["mask_decoder/*/image_embeddings"] + coords
        )
    np.savez(bundle.path / "goldens.npz", **arrays)
    bundle = Bundle(bundle.path, seal(bundle.path, bundle.manifest))
    figures, runs, session = use(device, bundle)
    assert find_misses(figures) == []
    assert all(run.runtime.startswith("LiteRT 2.") for run in (*runs, session))
    assert_tidy(phone)


def test_an_arm64_phone(phone_arm64, adb_environment, monkeypatch, tiny_onnx):
    """Under qemu: that it computes the same is what this proves; its times mean nothing."""
    look_at(adb_environment, monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", str(CACHE))
    missing = Capsule().missing(Wanted("arm64-v8a", "onnx", "cpu"))
    if missing:
        pytest.skip(missing)
    with android.find("").open(replace(QUICK, warmup_seconds=0.0, seconds=0.0)) as bench:
        try:
            bench.prepare(tiny_onnx)
        except DownloadError as error:
            pytest.skip(str(error))
        assert find_misses(bench.check(tiny_onnx)) == []
        assert bench.run_session(tiny_onnx).click_ns
    assert_tidy(phone_arm64)


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")  # the toolkits': torch versions, deprecations
def test_the_embedded_default(device, phone, demo_bundle):
    figures, runs, session = use(device, demo_bundle("onnx", "fp16"))
    assert find_misses(figures) == []
    assert all(run.runtime.startswith("onnxruntime 1.") for run in (*runs, session))
    assert session.first_mask_ns > max(session.click_ns)
    assert_tidy(phone)
