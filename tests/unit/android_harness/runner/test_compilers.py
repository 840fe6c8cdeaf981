"""What decides that a runner in a cache is still the one that would be built now."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from android_harness import runtimes
from android_harness.runner import compilers


@pytest.fixture
def sources(tmp_path, monkeypatch):
    """The runner's sources, copied: a test may change them."""
    folder = tmp_path / "runner"
    folder.mkdir()
    for path in compilers.runner_sources():
        shutil.copy(path, folder)
    monkeypatch.setattr(compilers, "FOLDER", folder)
    return folder


def test_the_same_files_elsewhere_are_the_same_runner(sources, monkeypatch):
    there = compilers.fingerprint()
    monkeypatch.undo()
    assert there == compilers.fingerprint()


def test_a_change_of_any_file_or_name_is_another_runner(sources):
    seen = {compilers.fingerprint()}
    files = sorted(sources.iterdir())
    assert "runner.h" in {path.name for path in files}
    for path in files:
        path.write_text(path.read_text() + "/* changed */\n")
        seen.add(compilers.fingerprint())
    files[0].rename(sources / "renamed.c")
    seen.add(compilers.fingerprint())
    (sources / "more.c").touch()
    seen.add(compilers.fingerprint())
    assert len(seen) == len(files) + 3


def test_another_table_of_runtimes_is_another_runner(monkeypatch):
    before = compilers.fingerprint()
    rows = (*runtimes.RUNTIMES, replace(runtimes.RUNTIMES[0], name="toy"))
    monkeypatch.setattr(runtimes, "RUNTIMES", rows)
    assert compilers.runtimes_flag() == "-DRUNTIMES=RUNTIME(ort) RUNTIME(litert) RUNTIME(toy)"
    assert compilers.fingerprint() != before


def test_every_row_has_its_c_file():
    names = {path.name for path in compilers.runner_sources()}
    assert {f"{runtime.name}.c" for runtime in runtimes.RUNTIMES} <= names
