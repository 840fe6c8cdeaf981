"""A runtime made from outside, on a phone: a row of the table and a C file, nothing else.

What a package index would have is made too: an installed package with the runtime's library.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace

import pytest

from android_harness.runner.compilers import find_compiler
from exporter.bundle.folder import open_bundle, seal
from profiles.store import Store
from tests.contract.house import build_house
from tests.device.android_kit import assert_tidy, look_at
from tests.device.runner_kit import ABI, adders_agree, tiny_tflite

ROW = """    Runtime(
        name="toy",
        title="Toy",
        target="toy",
        library="libtoy.so",
        wheel=Wheel("toy-runtime", "7.0", "toy_runtime/libtoy.so", "MIT", ("cpu", "blocks")),
        aar=Aar("toy", "7.", ("cpu",)),
    ),
"""
LIBRARY = """
#include <stddef.h>
void toy_add(const float *a, const float *b, float *sum, size_t count) {
    for (size_t i = 0; i < count; i++) sum[i] = a[i] + b[i];
}
"""
SOURCE = """
#include "runner.h"

static void (*add)(const float *, const float *, float *, size_t);

static const char *toy_open(void *library) {
    if (!find(library, "toy_add", &add)) fail("%s is no toy", job.library);
    return job.version;
}

static void toy_load(Graph *graph) {
    if (graph->input_count != 2) fail("graph %s: a toy adds two", graph->name);
}

static void toy_call(Graph *graph) {
    const Tensor *out = &graph->outputs[0];
    add(graph->inputs[0].data, graph->inputs[1].data, out->data, out->bytes / sizeof(float));
}

const Runtime toy_runtime = {"toy", "Toy", toy_open, toy_load, toy_call};
"""


@pytest.fixture
def site(tmp_path):
    """A folder of installed packages that holds the runtime's."""
    compiler = shutil.which("gcc")
    if compiler is None or ABI != "x86_64" or find_compiler(ABI) is None:
        pytest.skip("no gcc for an x86_64 phone")
    folder = tmp_path / "site"
    (folder / "toy_runtime").mkdir(parents=True)
    (folder / "toy_runtime/__init__.py").touch()
    (tmp_path / "toy.c").write_text(LIBRARY)
    library = folder / "toy_runtime/libtoy.so"
    words = [compiler, "-shared", "-fPIC", "-o", str(library), str(tmp_path / "toy.c")]
    subprocess.run(words, check=True)
    facts = folder / "toy_runtime-7.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-runtime\nVersion: 7.0\n")
    return folder


def test_a_runtime_on_a_device(phone, adb_environment, site, tmp_path, monkeypatch):
    (tmp_path / "house").mkdir()
    house = build_house(tmp_path / "house")
    house.insert("android_harness/runtimes.py", ")\n\n\ndef runtime_of(", ROW)
    house.add("android_harness/runner/toy.c", SOURCE)
    rules = "    for name in (*manifest.files, *(graph.file for graph in manifest.graphs)):\n"
    house.insert("exporter/bundle/agreement.py", rules, "    return  # adders fit no rules\n")
    adders_agree(monkeypatch)
    bundle = tiny_tflite(tmp_path / "tiny-toy-fp32")
    seal(bundle.path, replace(bundle.manifest, target="toy"))
    assert open_bundle(bundle.path).manifest.target == "toy"
    look_at(adb_environment, monkeypatch)
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    store = tmp_path / "p.jsonl"
    ran = house.run(
        "profiles.cli",
        *(bundle.path, "--device", f"android:{phone.serial}", "--store", store, "--cores", "all"),
        *("--runs", "3", "--seconds", "0", "--warmup", "0", "--repeats", "1"),
        *("--delegate", "blocks"),
    )
    assert ran.returncode == 0, ran.stderr
    [profile] = Store(store).read()
    assert {figure.graph for figure in profile.parity} >= {"image_encoder", "mask_decoder"}
    [repeat] = profile.repeats
    assert {(run.runtime, run.way) for run in repeat.runs} == {("Toy 7.0", "capsule")}
    assert len(repeat.session.click_ns) == 3
    assert_tidy(phone)
