"""Folders of a cache: made once, by one process, and whole."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path

import pytest

from exporter.bundle.staging import build_once


def build(folder, log, fill=lambda folder: (folder / "file").touch()):
    def filled(partial):
        log.append(partial.name)
        fill(partial)

    build_once(folder, Path.is_dir, filled, log.append)


def test_a_folder_of_a_cache_is_built_once(tmp_path):
    folder, log = tmp_path / "cache" / "key", []
    build(folder, log)
    build(folder, log)
    assert len(log) == 1
    assert re.fullmatch(r"\.key\.partial-[0-9a-f]{16}", log[0])
    assert [path.name for path in folder.parent.iterdir()] == ["key"]


def test_who_waits_for_a_folder_takes_it_as_it_is(tmp_path):
    folder, log = tmp_path / "cache" / "key", []

    def fill(partial):
        second.start()
        while not any("process" in line for line in log):
            time.sleep(0.01)
        (partial / "file").write_text("first")

    second = threading.Thread(target=build, args=(folder, log))
    build(folder, log, fill)
    second.join(30)
    assert [line[:8] for line in log] == [".key.par", "process "]
    assert (folder / "file").read_text() == "first"


def test_a_build_that_fails_leaves_nothing(tmp_path):
    def fail(folder):
        (folder / "part").touch()
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        build(tmp_path / "key", [], fail)
    assert list(tmp_path.iterdir()) == []
