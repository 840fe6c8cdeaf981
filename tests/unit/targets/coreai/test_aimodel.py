"""Core AI: two graphs in one file, its bytes, its metadata, and what the runtime computes."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from exporter.bundle.manifest import Licence, Source
from exporter.bundle.tensors import GraphSpec, TensorSpec
from exporter.graphs import Graph
from exporter.precision import load_precision
from exporter.targets import Joining, Options, load_target
from runtimes.engines import choose_engine

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


def graph(name, given, made):
    torch.manual_seed(len(name))
    one, other = (TensorSpec(n, (1, 4, 32), "float32", "NCW") for n in (given, made))
    return Graph(
        GraphSpec(name, (one,), (other,), "image"), Block().eval(), (torch.zeros(1, 4, 32),)
    )


GRAPHS = (graph("first", "x", "y"), graph("second", "y", "z"))
MANIFEST = SimpleNamespace(
    variant="demo",
    precision="fp32",
    licence=Licence("MIT", "https://example.org/mit", True),
    source=Source("https://example.org", "", "demo.pt", "ab" * 32, "own"),
    tools={"sam-export": "1"},
)


def write(folder, precision):
    target, folder = load_target("coreai"), Path(folder)
    (folder / "parts").mkdir(parents=True)
    wanted = load_precision(precision)
    files = [target.lower(each, wanted, folder / "parts", Options()) for each in GRAPHS]
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
