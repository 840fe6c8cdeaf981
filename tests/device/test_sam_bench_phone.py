"""`sam-bench` on a simulated phone: real adb, runner and runtimes. None of its times counts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from android_harness.runner.capsule import Capsule
from exporter.progress import silent
from profiles import cli
from profiles.store import Store
from profiles.summary import summarise
from tests.device.android_kit import assert_tidy, look_at
from tests.unit.tiny_bundle import Recipe, build

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
SHORT = ("--runs", "3", "--seconds", "0", "--warmup", "0.2", "--repeats", "2", "--threads", "1")


@pytest.fixture
def bench(phone, adb_environment, monkeypatch, tmp_path):
    """Runs `sam-bench` with a store of its own on the simulated phone."""
    look_at(adb_environment, monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", str(CACHE))  # HOME is the test server's now
    missing = Capsule().missing("x86_64", "onnx", "cpu")
    if missing:
        pytest.skip(missing)
    monkeypatch.setattr(cli, "on_stderr", lambda: silent)
    store = ["--store", str(tmp_path / "p.jsonl")]

    def run(*arguments, device=f"android:{phone.serial}"):
        measuring = [*SHORT, "--cores", "all", "--device", device] if device else []
        return cli.main([*map(str, arguments), *measuring, *store])

    return run


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("bundles") / "tiny-onnx-fp32"
    build(made)
    return made


def _stored(tmp_path):
    return Store(tmp_path / "p.jsonl").read()


def test_a_bundle_is_measured_and_marked_as_simulated(bench, phone, folder, tmp_path, capsys):
    assert bench(folder) == 0
    assert bench(folder, device="host") == 0
    on_phone, on_host = _stored(tmp_path)
    assert on_phone.device.device_class == "simulated"
    assert len(on_phone.repeats) == 2
    assert {run.way for repeat in on_phone.repeats for run in repeat.runs} == {"capsule"}
    assert all(repeat.session is not None for repeat in on_phone.repeats)
    assert on_phone.parity
    assert summarise(on_phone).click_ms is not None
    capsys.readouterr()
    assert bench("compare", on_phone.id, on_host.id, device="") == 2
    assert "different classes are never compared" in capsys.readouterr().err
    assert bench("report", "-o", tmp_path / "r.html", device="") == 0
    assert "simulated" in (tmp_path / "r.html").read_text()
    assert_tidy(phone)


def test_a_bundle_that_computes_something_else_is_not_timed(bench, tmp_path, capsys):
    build(tmp_path / "scaled", Recipe(flaw="scaled"))
    assert bench(tmp_path / "scaled") == 1
    said = capsys.readouterr().err
    assert "low_res_masks" in said
    assert "nothing was timed" in said
    assert not (tmp_path / "p.jsonl").exists()


def test_a_cable_that_is_pulled_costs_one_repeat(
    bench, phone, folder, tmp_path, monkeypatch, capsys
):
    said: list[str] = []

    def pull(line):
        said.append(line)
        if "repeat 2 of 2: mask_decoder" in line:
            phone.unplug()

    monkeypatch.setattr(cli, "on_stderr", lambda: pull)
    assert bench(folder) == 1
    assert capsys.readouterr().err.count("sam-bench: error:") == 1
    assert not (tmp_path / "p.jsonl").exists()
    phone.plug()
    said.clear()
    monkeypatch.setattr(cli, "on_stderr", lambda: said.append)
    assert bench(folder) == 0
    [profile] = _stored(tmp_path)
    assert len(profile.repeats) == 2
    assert any("repeat 1 was done before" in line for line in said)
    assert not any("checking parity" in line for line in said)


def test_the_phone_is_listed_and_cleaned(bench, phone, folder, capsys):
    assert bench(folder) == 0
    capsys.readouterr()
    assert cli.main(["devices"]) == 0
    assert f"android:{phone.serial}" in capsys.readouterr().out
    assert cli.main(["clean", "--device", f"android:{phone.serial}"]) == 0
    assert "MB removed" in capsys.readouterr().out
    assert phone.files() == []
