"""`sam-export` called in this process, and a real bundle for it to meet."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from exporter.bundle.folder import open_bundle
from exporter.bundle.manifest import GraphFile
from exporter.cli import main
from exporter.targets import load_target
from tests.contract.demo_exports import JOB


@pytest.fixture(scope="session")
def exported(exports):
    """The folder of a real bundle; shared, so no test may change it."""
    return exports.bundle("onnx", "fp32").path


@pytest.fixture
def run(capfd):
    """argv -> (status, the lines on stderr); nothing may be on stdout when it fails."""

    def call(*argv):
        try:
            status = main([str(a) for a in argv])
        except SystemExit as stop:
            status = stop.code
        said = capfd.readouterr()
        assert not (status and said.out)
        return status, said.err.splitlines()

    return call


@pytest.fixture
def refused(run):
    """argv -> the one line that a failing command prints, after checking status and form."""

    def call(*argv, status=2):
        got, lines = run(*argv)
        assert got == status, lines
        assert len(lines) == 1, lines
        assert lines[0].startswith("sam-export: error: ")
        return lines[0].removeprefix("sam-export: error: ")

    return call


@pytest.fixture
def fake(monkeypatch):
    """Put another `lower` into the onnx target."""

    def use(lower):
        def each(work):
            return lower(work.graph, work.precision.name, work.folder, work.options)

        target = dataclasses.replace(load_target("onnx"), lowers={"fp32": each, "fp16": each})
        monkeypatch.setattr("exporter.job.load_target", lambda name: target)

    return use


@pytest.fixture
def quick(exported, weights, fake):
    """A target that has the exported graphs at hand; gives the job that exports them again."""

    def lower(graph, precision, folder, options):
        stored = open_bundle(exported).manifest.graph(graph.spec.name)
        path = Path(shutil.copy(exported / stored.file, folder))
        return GraphFile(graph.spec, path.name, path.stat().st_size)

    fake(lower)
    return (*JOB, "--checkpoint", weights)
