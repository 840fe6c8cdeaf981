"""A damaged .aimodel is refused before a runtime opens it, which needs no runtime."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import pytest

from exporter.bundle.manifest import GraphFile
from exporter.bundle.tensors import GraphSpec
from exporter.errors import BundleError
from runtimes.engines.coreai import open_graph, require_sound

CHANGES = {
    "cut short": (lambda a: (a / "main.mlirb").write_bytes(b"prog"), "was changed or cut short"),
    "another hash": (
        lambda a: (a / "main.hash").write_bytes(bytes(32)),
        "was changed or cut short",
    ),
    "no program": (lambda a: (a / "main.mlirb").unlink(), "is no .aimodel"),
    "no hash": (lambda a: (a / "main.hash").unlink(), "is no .aimodel"),
}


def sound(folder):
    folder.mkdir()
    (folder / "main.mlirb").write_bytes(b"program")
    (folder / "main.hash").write_bytes(hashlib.sha256(b"program").digest())
    return folder


def test_a_sound_file_passes(tmp_path):
    require_sound(sound(tmp_path / "a.aimodel"))


@pytest.mark.parametrize("name", CHANGES)
def test_a_damaged_file_is_one_line_that_says_what_to_do(tmp_path, name):
    path = sound(tmp_path / "a.aimodel")
    change, said = CHANGES[name]
    change(path)
    with pytest.raises(BundleError, match=said) as error:
        require_sound(path)
    assert "\n" not in str(error.value)
    assert str(error.value).endswith("copy or export the bundle again")


@pytest.mark.parametrize(
    ("odd", "error", "words"),
    [
        ("raise ImportError('no lib.so')", ImportError, "no lib.so"),
        ("raise ValueError('bad version')", BundleError, "bad version; copy or export the bundle"),
        ("import os; os.abort()", BundleError, "SIGABRT; copy or export the bundle again"),
    ],
)
def test_a_runtime_that_does_not_load_is_told_from_a_bad_file(
    tmp_path, monkeypatch, odd, error, words
):
    (tmp_path / "coreai").mkdir()
    (tmp_path / "coreai" / "__init__.py").write_text(odd)
    monkeypatch.syspath_prepend(tmp_path)
    spec = GraphSpec("segmenter", (), (), "image")
    with pytest.raises(error, match=words):
        open_graph(sound(tmp_path / "a.aimodel"), GraphFile(spec, "a.aimodel", 1), literal=True)


@pytest.mark.skipif(os.name != "posix", reason="Windows does not tell of a parent's end")
def test_a_computation_ends_with_the_process_that_asked_for_it():
    """A killed command leaves nothing that computes on for minutes."""
    child = (
        "import os, time; from runtimes.engines.aimodel.serving import end_with\n"
        "end_with(os.getppid()); print('here', flush=True); time.sleep(60); print('done')"
    )
    parent = (
        "import subprocess, sys, time\n"
        "subprocess.Popen([sys.executable, '-c', sys.argv[1]]); time.sleep(600)"
    )
    command = [sys.executable, "-c", parent, child]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as started:
        assert started.stdout.readline() == "here\n"
        started.kill()
        # The pipe is closed when its last holder, the child, has ended.
        assert started.stdout.read() == ""
