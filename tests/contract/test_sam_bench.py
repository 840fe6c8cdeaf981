"""`sam-bench` as a user meets it: words, help, one-line errors, exit statuses."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from android_harness.devices.android import OPTIONS
from profiles import arguments as asked
from profiles import cli, kinds
from profiles.method import options, read_method
from profiles.store import Store
from runtimes.device import CLASSES, Device, DeviceKind, Method
from tests.unit import tiny_bundle
from tests.unit.profile_making import HOST, FakeDevice, profile

ROOT = Path(cli.__file__).parents[1]


@pytest.fixture
def store(tmp_path):
    made = Store(tmp_path / "p.jsonl")
    for p in (
        profile(seed=0xA1, label="before"),
        profile(seed=0xA2, click=6.0, label="after"),
        profile(seed=0xA3, label="here", device=HOST),
    ):
        made.append(p)
    return str(made.path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("bundles") / "tiny-onnx-fp32"
    tiny_bundle.build(made)
    return made


def _run(*arguments: str, cwd: Path = ROOT):
    command = [sys.executable, "-m", "profiles.cli", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, env=environment, check=False
    )


@pytest.mark.parametrize("word", list(cli.WORDS))
def test_every_word_explains_its_options(word: str, capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([*([word] if word else []), "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    for option in re.findall(r"^  (--[a-z-]+)", text, re.MULTILINE):
        assert re.search(rf"{option}\b[^\n]*(\n {{6,}}\S|\s{{2,}}\S)", text), option
    if not word:
        assert "examples:" in text
        assert all(other in text for other in cli.WORDS)


def test_the_command_and_its_budgets_are_installed() -> None:
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert data["project"]["scripts"]["sam-bench"] == "exporter.start:sam_bench"
    assert "budgets/*.toml" in data["tool"]["setuptools"]["package-data"]["profiles"]


def test_reading_profiles_imports_no_toolkit_and_no_harness(store) -> None:
    code = (
        "import sys; from profiles.cli import main\n"
        f"main(['list', '--store', {store!r}])\n"
        "bad = {'torch', 'coremltools', 'onnxruntime', 'ai_edge_litert', 'android_harness'}\n"
        "assert not bad & set(sys.modules), bad & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=ROOT)


def test_kinds_of_devices_keep_their_contract() -> None:
    found = list(kinds.kinds())
    assert found[0].name == "host"
    assert len({kind.name for kind in found}) == len(found)
    for kind in found:
        assert isinstance(kind, DeviceKind)
        assert kind.name.isidentifier()
    host: Device = kinds.find("host")
    assert host.facts().device_class in CLASSES


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "the following arguments are required: BUNDLE"),
        (["nowhere"], "is not a bundle"),
        (
            ["FOLDER", "--device", "toaster"],
            "unknown device 'toaster'; choose from host, android",
        ),
        (["FOLDER", "--device", "host:1"], "there is one host"),
        (["FOLDER", "--runs", "0"], "whole number from 1"),
        (["FOLDER", "--cores", "big"], "fast, all or numbers"),
        (["FOLDER", "--cores", "7-4"], "numbers as 4,5,7 or 4-7, not '7-4'"),
        (["FOLDER", "--cores", "0-4095"], "the host has no core"),
        (["FOLDER", "--deadline", "soon"], "should be seconds"),
        (["FOLDER", "--way", "capsule"], "the host has no way 'capsule'"),
        (["FOLDER", "FOLDER"], "the same bundle"),
        (["compare", "before"], "required: B"),
        (["compare", "before", "after", "--fail-on", "much"], "a percentage"),
        (["compare", "before", "here"], "different classes are never compared"),
        (["compare", "before", "nobody"], "no store file, and no id"),
        (["check", "--budget", "tablet"], "there is no budget"),
        (["check", "--budget", "emulator"], "no profile of class emulator"),
        (["report", "-o", "nowhere/r.html"], "there is no folder"),
        (["report", "--markdown", "nowhere/r.md"], "there is no folder"),
        (["report"], "give -o FILE for HTML"),
        (["report", "-o", "r.html", "--variant", "none"], "no profile"),
        (["list", "--since", "then"], "--since takes a day"),
        (["clean", "--device", "host"], "nothing of ours is kept on host"),
    ],
)
def test_a_wrong_request_is_one_line_and_status_2(arguments, words, store, folder, capsys) -> None:
    given = [str(folder) if a == "FOLDER" else a for a in arguments]
    if given[:1] != ["clean"]:
        given += ["--store", store]
    if {"FOLDER", "nowhere"} & set(arguments):
        given.append("--quiet")
    try:
        status = cli.main(given)
    except SystemExit as ended:
        status = ended.code
    printed = capsys.readouterr()
    assert status == 2
    assert printed.err.count("\n") == 1
    assert printed.err.startswith("sam-bench")
    assert words in printed.err


def test_a_bug_is_one_line_too(store, monkeypatch, capsys) -> None:
    monkeypatch.setattr(cli.tables, "listing", lambda _: 1 / 0)
    assert cli.main(["list", "--store", store]) == 1
    assert "ZeroDivisionError" in capsys.readouterr().err
    cli.main(["list", "--store", store, "--debug"])
    assert "Traceback" in capsys.readouterr().err


def test_compare_fails_on_a_regression_alone(store, capsys) -> None:
    compared = ["compare", "before", "after", "--store", store]
    assert cli.main(compared) == 0
    assert cli.main([*compared, "--fail-on", "5%"]) == 1
    printed = capsys.readouterr()
    assert re.search(r"^click .* worse$", printed.out, re.MULTILINE)
    assert "worse, beyond noise and --fail-on 5.0%" in printed.err
    assert cli.main(["compare", "after", "before", "--store", store, "--fail-on", "5%"]) == 0
    capsys.readouterr()
    assert cli.main([*compared, "--json"]) == 0
    [data] = json.loads(capsys.readouterr().out)
    assert {c["what"] for c in data["changes"] if c["verdict"] == "worse"} == {
        "mask_decoder",
        "click",
    }


def test_check_holds_to_a_budget(store, tmp_path, capsys) -> None:
    assert cli.main(["check", "--budget", "phone", "--store", store]) == 0
    assert capsys.readouterr().out.count(" kept") == 5
    tight = tmp_path / "tight.toml"
    tight.write_text('device_class = "phone"\n[limits]\nclick_p50_ms = 5\n')
    given = ["check", "--budget", str(tight), "--store", store]
    assert cli.main(given) == 1
    printed = capsys.readouterr()
    assert "OVER" in printed.out
    assert "click_p50_ms of tiny-onnx-fp32" in printed.err
    assert cli.main([*given, "--profile", "before"]) == 0
    capsys.readouterr()
    assert cli.main([*given, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)[0]["verdict"] == "OVER"


def test_report_and_list(store, tmp_path, capsys) -> None:
    page = tmp_path / "r.html"
    assert cli.main(["report", "-o", str(page), "--store", store]) == 0
    assert "2 measurements" in capsys.readouterr().out  # the latest of each device
    assert page.read_text().startswith("<!DOCTYPE html>")
    assert cli.main(["report", "-o", str(page), "--store", store, "--all"]) == 0
    assert "3 measurements" in capsys.readouterr().out
    tables = tmp_path / "r.md"
    given = ["report", "--markdown", str(tables), "--store", store, "--device-class", "host"]
    assert cli.main(given) == 0
    assert "1 measurement\n" in capsys.readouterr().out
    assert tables.read_text().startswith("# What these bundles take")
    assert cli.main(["list", "--store", store, "--device-class", "host", "--json"]) == 0
    [row] = json.loads(capsys.readouterr().out)
    assert row["label"] == "here"
    assert cli.main(["list", "--store", store]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_a_method_is_spelt_as_it_was_asked_for() -> None:
    given = [*("--runs", "7", "--seconds", "0.5", "--warmup", "2", "--repeats", "4")]
    given += [*("--threads", "3", "--cores", "4,5", "--way", "ndk", "--delegate", "gpu")]
    given += ["--cool-limit", "9", "--deadline", "60", "--objects", "1,3"]
    given += ["--fixed-performance", "--no-check"]
    read = read_method(asked.measuring().parse_args(["BUNDLE", *given]))
    assert options(read) == given
    assert options(Method()) == []
    plain = {field.name for field in dataclasses.fields(Method)}
    changed = {name for name in plain if getattr(read, name) != getattr(Method(), name)}
    # A new field has to be spelt here too. When times are stable is one rule for every device.
    assert plain - changed == {"warmup_least_seconds", "stable_calls", "stable_within"}


@pytest.mark.parametrize(
    ("text", "numbers"), [("4-7", "4,5,6,7"), ("4-5,7", "4,5,7"), ("6,4", "4,6"), ("all", "all")]
)
def test_cores_may_be_ranges_and_are_one_method_however_spelt(text, numbers) -> None:
    read = read_method(asked.measuring().parse_args(["BUNDLE", "--cores", text]))
    assert read.cores == numbers
    assert "4,5,7 or 4-7" in asked.measuring().format_help()


def test_devices_lists_this_host(capsys, monkeypatch) -> None:
    monkeypatch.setattr(kinds, "catalogues", lambda: ("runtimes.devices",))
    assert cli.main(["devices", "--json"]) == 0
    [row] = json.loads(capsys.readouterr().out)
    assert row["device"] == "host"
    assert row["facts"]["device_class"] == "host"
    assert cli.main(["devices"]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("host")


@pytest.fixture
def no_adb_called(monkeypatch):
    """A harness whose devices log as the real one does, and what became of $SAM_EXPORT_ADB."""
    monkeypatch.setenv("SAM_EXPORT_ADB", "before")  # so that it is put back after --adb
    used: list[str] = []

    def listed():
        used.append(os.environ["SAM_EXPORT_ADB"])
        logging.getLogger("sam_export.adb").debug("adb devices -l -> 0")
        logging.getLogger("sam_export.device").info("pushing")
        return ()

    kind = DeviceKind("fake", FakeDevice, listed, options=OPTIONS)
    monkeypatch.setattr(kinds, "kinds", lambda: [kind])
    return used


def test_debug_shows_the_calls_of_adb(no_adb_called, capsys) -> None:
    assert cli.main(["devices"]) == 0
    printed = capsys.readouterr()
    assert printed.err == "sam-bench: pushing\n"
    assert cli.main(["devices", "--debug"]) == 0
    assert "sam-bench: adb devices -l -> 0\n" in capsys.readouterr().err


def test_adb_is_the_program_that_was_asked_for(no_adb_called) -> None:
    assert cli.main(["devices", "--adb", "/opt/adb"]) == 0
    assert cli.main(["devices"]) == 0
    assert no_adb_called == ["/opt/adb", "/opt/adb"]  # of the whole process


@pytest.mark.parametrize(("quiet", "shown"), [([], True), (["--quiet"], False)])
def test_what_a_device_logs_is_progress(quiet, shown, folder, tmp_path, monkeypatch, capfd) -> None:
    device = FakeDevice(HOST)

    def prepare(bundle):
        logging.getLogger("sam_export.device").info("pushing image_encoder.onnx, 21 MB")

    device.prepare = prepare
    monkeypatch.setattr(kinds, "find", lambda _: device)
    assert cli.main([str(folder), "--store", str(tmp_path / "p.jsonl"), *quiet]) == 0
    line = r"^\[ +[\d.]+ s\] pushing image_encoder.onnx, 21 MB$"
    assert bool(re.search(line, capfd.readouterr().err, re.MULTILINE)) == shown


def test_measuring_on_the_host_from_the_command_line(folder, tmp_path) -> None:
    short = ["--runs", "3", "--seconds", "0", "--warmup", "0", "--repeats", "2"]
    ran = _run(str(folder), *short, "--label", "x", "--json", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    [summary] = json.loads(ran.stdout)["profiles"]
    assert summary["device_class"] == "host"
    assert len(summary["graphs"]) == 2
    assert "repeat 2 of 2" in ran.stderr
    [stored] = Store(tmp_path / "profiles.jsonl").read()
    assert stored.id == summary["id"]
    assert not (tmp_path / "profiles.jsonl.partial").exists()


def test_ctrl_c_says_how_to_go_on(folder, tmp_path, monkeypatch, capsys) -> None:
    device = FakeDevice(HOST)
    device.fail = {"tiny-onnx-fp32 session": KeyboardInterrupt()}
    monkeypatch.setattr(kinds, "find", lambda _: device)
    given = [str(folder), "--store", str(tmp_path / "p.jsonl"), "--quiet"]
    assert cli.main(given) == 130
    assert "give the same command again within 24 hours" in capsys.readouterr().err
