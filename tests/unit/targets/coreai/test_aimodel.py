"""Core AI: two graphs in one file, its bytes, its metadata, and what the runtime computes."""

from __future__ import annotations

import copy
import dataclasses
import gc
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from exporter.bundle.licence import Licence
from exporter.bundle.manifest import Source
from exporter.bundle.tensors import GraphSpec, TensorSpec
from exporter.graphs import Graph
from exporter.precision import load_precision
from exporter.targets import Joining, Options, load_target
from runtimes.engines import choose_engine, engine_in
from runtimes.engines.coreai import takes_long

ROOT = Path(__file__).parents[4]
pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(
        importlib.util.find_spec("coreai_torch") is None, reason="coreai-torch is not installed"
    ),
]
AGAIN = "import sys; from tests.unit.targets.coreai.test_aimodel import write; write(*sys.argv[1:])"


class Block(torch.nn.Module):
    """A norm and a product, which become a composite function and constants of the file."""

    def __init__(self):
        super().__init__()
        self.norm, self.last = torch.nn.LayerNorm(32), torch.nn.Linear(32, 32)

    def forward(self, x):
        return torch.sin(self.last(self.norm(x)))


class Plain(Block):
    """The same without the sine, which keeps all before it in float32."""

    def forward(self, x):
        return self.last(self.norm(x))


def graph(name, given, made, kind=Block):
    torch.manual_seed(len(name))
    one, other = (TensorSpec(n, (1, 4, 32), "float32", "NCW") for n in (given, made))
    spec = GraphSpec(name, (one,), (other,), "image")
    return Graph(spec, kind().eval(), (torch.zeros(1, 4, 32),))


GRAPHS = (graph("first", "x", "y"), graph("second", "y", "z"))
PLAIN = (graph("plain", "x", "y", Plain),)
MANIFEST = SimpleNamespace(
    variant="demo",
    precision="fp32",
    licence=Licence("MIT", "https://example.org/mit", True),
    source=Source("https://example.org", "", "demo.pt", "ab" * 32, "own"),
    tools={"sam-export": "1"},
)


def write(folder, precision, graphs=GRAPHS):
    target, folder = load_target("coreai"), Path(folder)
    (folder / "parts").mkdir(parents=True)
    wanted = load_precision(precision)
    files = [target.lower(each, wanted, folder / "parts", Options()) for each in graphs]
    return target.join(Joining(MANIFEST, tuple(files), folder / "parts", folder))


def test_both_functions_compute_as_torch_does(tmp_path):
    for precision, most in (("fp32", 1e-5), ("fp16", 1e-2)):
        files = write(tmp_path / precision, precision)
        assert len({file.file for file in files}) == 1
        path = tmp_path / precision / files[0].file
        assert sum(f.bytes for f in files) == sum(p.stat().st_size for p in path.iterdir())
        values = np.linspace(-2, 2, 128, dtype=np.float32).reshape(1, 4, 32)
        for each, file in zip(GRAPHS, files, strict=True):
            (given,), (made,) = each.spec.inputs, each.spec.outputs
            got = choose_engine("coreai").open(path, file, 1).run({given.name: values})[made.name]
            assert got.dtype == np.float32
            wanted = each.module(torch.from_numpy(values)).detach().numpy()
            assert 0 <= np.abs(got - wanted).max() < most


def test_half_arithmetic_is_computed_as_the_file_says_or_in_float32_on_its_weights(tmp_path):
    (file,) = write(tmp_path / "half", "fp16", PLAIN)
    (whole,) = write(tmp_path / "float", "fp32", PLAIN)
    values = np.linspace(-2, 2, 128, dtype=np.float32).reshape(1, 4, 32)

    def run(engine, made, folder):
        loaded = choose_engine("coreai", engine).open(tmp_path / folder / made.file, made, 1)
        return loaded.run({"x": values})["y"], loaded.arithmetic

    module = copy.deepcopy(PLAIN[0].module)
    with torch.no_grad():
        for each in module.parameters():
            each.copy_(each.half().float())
    wanted = module(torch.from_numpy(values)).detach().numpy()
    literal, said = run("coreai-literal", file, "half")
    assert said == ""
    assert np.abs(literal - wanted).max() > 1e-5
    widened, said = run("coreai-float32", file, "half")
    assert said == "float32"
    assert np.abs(widened - wanted).max() < 2e-6
    assert run("coreai-float32", whole, "float")[1] == ""


def test_what_takes_long_is_computed_in_float32_unless_it_is_to_be_literal(tmp_path):
    (file,) = write(tmp_path, "fp16", PLAIN)
    image = TensorSpec("image", (1, 4, 32), "float32", "NCW")
    spec = dataclasses.replace(file.spec, inputs=(image,))
    large = dataclasses.replace(file, spec=spec, multiply_accumulates=3_000_000_000)
    assert takes_long(large)
    assert not takes_long(dataclasses.replace(large, multiply_accumulates=1_000_000_000))
    assert not takes_long(dataclasses.replace(large, spec=file.spec))
    for engine, said in (("coreai", "float32"), ("coreai-literal", "")):
        loaded = choose_engine("coreai", engine).open(tmp_path / file.file, large, 1)
        assert loaded.arithmetic == said
    assert engine_in("coreai", "literal") == "coreai-literal"
    assert engine_in("coreai", "quick") == "coreai-float32"


def test_a_process_that_ends_leaves_no_files(tmp_path, monkeypatch):
    (file,) = write(tmp_path / "half", "fp16", PLAIN)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    loaded = choose_engine("coreai", "coreai-float32").open(tmp_path / "half" / file.file, file, 1)
    assert list((tmp_path / "tmp").rglob("*.aimodel*"))
    del loaded
    gc.collect()
    assert list((tmp_path / "tmp").iterdir()) == []


def test_another_process_writes_the_same_bytes_without_a_date_or_a_path(tmp_path):
    (file, _) = write(tmp_path / "here", "fp32")
    environment = os.environ | {"PYTHONHASHSEED": "7", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", AGAIN, str(tmp_path / "there"), "fp32"]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    for path in (tmp_path / "here" / file.file).iterdir():
        content = path.read_bytes()
        assert content == (tmp_path / "there" / file.file / path.name).read_bytes()
        assert str(tmp_path).encode() not in content
        assert str(ROOT).encode() not in content
    metadata = json.loads((tmp_path / "here" / file.file / "metadata.json").read_text())
    assert metadata["license"] == "MIT https://example.org/mit"
    assert metadata["creatorDefinedMetadata"]["variant"] == "demo"
    assert "creationDate" not in metadata


def test_a_file_of_a_later_form_is_one_line(tmp_path):
    (file, _) = write(tmp_path, "fp32")
    described = tmp_path / file.file / "metadata.json"
    described.write_text(described.read_text().replace('"2.0"', '"9.0"'))
    with pytest.raises(Exception, match=r'Asset version "9.0" is not supported') as error:
        choose_engine("coreai").open(tmp_path / file.file, dataclasses.replace(file), 1)
    assert "\n" not in str(error.value)
