"""Core AI: a published case through its files, equal bytes in another process, and bad files.

Apple's reference runtime takes a minute of processor time for most networks, so the family here is
the smallest.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from exporter.arithmetic import multiply_accumulates
from exporter.bundle.folder import open_bundle, seal
from exporter.graphs import graphs_of
from exporter.host_rules import prompt_rule
from exporter.models.layers import freeze
from exporter.precision import load_precision
from exporter.targets import Options, load_target
from exporter.variants import load_variant
from profiles.lab.matrix.measure import inspect_bundle
from runtimes.cli import main as sam_run
from runtimes.engines import choose_engine, run_canonical
from tests.conformance import test_published_numbers as published

ROOT = Path(__file__).parents[2]
SMALLEST = "efficienttam_ti_512x512"
FORMS = (("demo", "int4-weights"), (SMALLEST, "fp32"))
pytestmark = [
    pytest.mark.parity,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(
        importlib.util.find_spec("coreai_torch") is None, reason="coreai-torch is not installed"
    ),
]
AGAIN = "import sys; from tests.parity.test_core_ai import digests; print(digests(sys.argv[1]))"


class Lowered:
    """A graph's module, computed by the runtime."""

    def __init__(self, graph, precision, folder):
        file = load_target("coreai").lower(graph, load_precision(precision), folder, Options())
        self.spec = file.spec
        # As a bundle says it: whether half arithmetic is computed as the file says follows from it.
        file = dataclasses.replace(file, multiply_accumulates=multiply_accumulates(graph))
        self.loaded = choose_engine("coreai").open(folder / file.file, file, 1)

    def __call__(self, *tensors):
        names = [tensor.name for tensor in self.spec.inputs]
        given = {n: t.numpy() for n, t in zip(names, tensors, strict=True)}
        outputs = run_canonical(self.loaded, self.spec, given)
        return tuple(torch.from_numpy(outputs[tensor.name]) for tensor in self.spec.outputs)


def agrees(name, precision, folder):
    """Hold a published case against the lowered graphs, as against torch."""
    ran = published.run_case(name)
    encoder = Lowered(ran.encoder, precision, folder)
    names = [tensor.name for tensor in ran.encoder.spec.outputs]
    ran.features.update(zip(names, encoder(ran.image), strict=True))
    del encoder
    decoder = SimpleNamespace(module=Lowered(ran.decoder, precision, folder))
    published.check_prompts(dataclasses.replace(ran, decoder=decoder))


def test_a_published_case_comes_out_as_in_torch(tmp_path):
    agrees(SMALLEST, "fp32", tmp_path)


def digests(folder):
    """Lower every form; return a hash of each graph's file, by name, as JSON."""
    found = {}
    for name, precision in FORMS:
        variant = load_variant(name)
        torch.manual_seed(0)
        network = freeze(variant.layouts[0].build())
        for graph in graphs_of(network, variant, prompt_rule(variant)):
            parts = Path(folder) / f"{name}-{precision}"
            parts.mkdir(parents=True, exist_ok=True)
            file = load_target("coreai").lower(graph, load_precision(precision), parts, Options())
            content = (parts / file.file / "main.mlirb").read_bytes()
            found[f"{name} {precision} {graph.spec.name}"] = hashlib.sha256(content).hexdigest()
    return json.dumps(found)


def test_another_process_with_other_hashes_writes_the_same_bytes(tmp_path):
    environment = os.environ | {"PYTHONHASHSEED": "7", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", AGAIN, str(tmp_path / "there")]
    ran = subprocess.run(
        command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True
    )
    here = json.loads(digests(tmp_path / "here"))
    assert len(here) == 2 * len(FORMS)
    assert json.loads(ran.stdout.splitlines()[-1]) == here


def test_the_matrix_counts_what_each_function_has(exports):
    bundle = exports.bundle("coreai", "fp32")
    found = inspect_bundle(bundle.path)
    assert list(found) == [graph.spec.name for graph in bundle.manifest.graphs]
    encoder, decoder = found.values()
    assert encoder["operations"]["conv2d"] > decoder["operations"]["conv2d"] > 0
    assert (encoder["max_rank"], decoder["dynamic"]) == (4, 0)


def cut(asset):
    content = (asset / "main.mlirb").read_bytes()
    (asset / "main.mlirb").write_bytes(content[: len(content) // 2])


def cut_and_hashed(asset):
    cut(asset)
    digest = hashlib.sha256((asset / "main.mlirb").read_bytes()).digest()
    (asset / "main.hash").write_bytes(digest)


def of_a_later_form(asset):
    described = asset / "metadata.json"
    described.write_text(described.read_text().replace('"2.0"', '"9.0"'))


def no_asset(asset):
    (asset / "main.mlirb").unlink()
    (asset / "notes.txt").write_text("nothing")


BAD = {
    "cut short": (cut, "was changed or cut short"),
    "cut short, and its hash made anew": (cut_and_hashed, "Core AI cannot load"),
    "a hash of another program": (
        lambda asset: (asset / "main.hash").write_bytes(bytes(32)),
        "was changed or cut short",
    ),
    "a later form": (of_a_later_form, "is not supported"),
    "a folder that is none": (no_asset, "is no .aimodel"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_one_line_and_status_2(name, exports, tmp_path, capfd):
    """Sealed again, so that the bundle's own hashes are not what refuses it."""
    change, words = BAD[name]
    bundle = exports.bundle("coreai", "fp32")
    folder = tmp_path / "bundle"
    shutil.copytree(bundle.path, folder, ignore=shutil.ignore_patterns("swift", "README.md"))
    asset = folder / bundle.manifest.graphs[0].file
    change(asset)
    size = sum(path.stat().st_size for path in asset.iterdir())
    first, second = bundle.manifest.graphs
    sizes = size // 2, size - size // 2
    graphs = [dataclasses.replace(g, bytes=n) for g, n in zip((first, second), sizes, strict=True)]
    seal(folder, dataclasses.replace(bundle.manifest, graphs=tuple(graphs)))
    open_bundle(folder)
    picture, made = ROOT / "exporter/demo/sample.png", tmp_path / "masks.png"
    assert sam_run([str(folder), str(picture), "--point", "40,40", "-o", str(made)]) == 2
    line = capfd.readouterr().err
    assert line.count("\n") == 1
    assert words in line
    assert not made.exists()


def test_without_the_runtime_it_is_said_what_to_install(exports, monkeypatch, capfd):
    bundle = exports.bundle("coreai", "fp32")
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "coreai" else found(name)
    )
    assert sam_run([str(bundle.path), "--check"]) == 2
    line = capfd.readouterr().err
    assert line.count("\n") == 1
    assert "pip install 'sam-export[run-coreai]'" in line
