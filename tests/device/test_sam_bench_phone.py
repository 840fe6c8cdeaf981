"""`sam-bench` on a simulated phone: real adb, runner and runtimes. None of its times counts."""

from __future__ import annotations

import json

from android_harness import modes
from profiles import cli
from profiles.numbers.summary import summarise
from profiles.store import Store
from tests.device.android_kit import assert_tidy
from tests.unit.tiny_bundle import Recipe, build


def _stored(tmp_path):
    return Store(tmp_path / "p.jsonl").read()


def test_a_bundle_is_measured_and_marked_as_simulated(
    sam_bench, phone, tiny_folder, tmp_path, capsys
):
    assert sam_bench(tiny_folder) == 0
    assert sam_bench(tiny_folder, device="host") == 0
    on_phone, on_host = _stored(tmp_path)
    assert on_phone.device.device_class == "simulated"
    assert len(on_phone.repeats) == 2
    assert {run.way for repeat in on_phone.repeats for run in repeat.runs} == {"capsule"}
    assert all(repeat.session is not None for repeat in on_phone.repeats)
    assert on_phone.parity
    assert summarise(on_phone).click_ms is not None
    capsys.readouterr()
    assert sam_bench("compare", on_phone.id, on_host.id, device="") == 2
    assert "different classes are never compared" in capsys.readouterr().err
    assert sam_bench("report", "-o", tmp_path / "r.html", device="") == 0
    assert "simulated" in (tmp_path / "r.html").read_text()
    assert_tidy(phone)


def test_a_bundle_that_computes_something_else_is_not_timed(sam_bench, tmp_path, capsys):
    build(tmp_path / "scaled", Recipe(flaw="scaled"))
    assert sam_bench(tmp_path / "scaled") == 1
    said = capsys.readouterr().err
    assert "low_res_masks" in said
    assert "nothing was timed" in said
    assert not (tmp_path / "p.jsonl").exists()


def test_a_cable_that_is_pulled_costs_one_repeat(
    sam_bench, phone, tiny_folder, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(modes, "BACK_SECONDS", 1.0)
    said: list[str] = []

    def pull(line):
        said.append(line)
        if "repeat 2 of 2: mask_decoder" in line:
            phone.unplug()

    monkeypatch.setattr(cli, "on_stderr", lambda: pull)
    assert sam_bench(tiny_folder) == 1
    assert capsys.readouterr().err.count("sam-bench: error:") == 1
    assert not (tmp_path / "p.jsonl").exists()
    phone.plug()
    said.clear()
    monkeypatch.setattr(cli, "on_stderr", lambda: said.append)
    assert sam_bench(tiny_folder) == 0
    [profile] = _stored(tmp_path)
    assert len(profile.repeats) == 2
    assert any("repeat 1 was done before" in line for line in said)
    assert not any("checking parity" in line for line in said)


def test_an_adb_that_is_none_is_refused(sam_bench, tiny_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SAM_EXPORT_ADB", "")  # so that it is put back after --adb
    assert sam_bench(tiny_folder, "--adb", tmp_path / "adb") == 2
    assert f"{tmp_path / 'adb'} is not a program" in capsys.readouterr().err


def test_the_phone_is_listed_and_cleaned(sam_bench, phone, tiny_folder, capsys):
    assert sam_bench(tiny_folder) == 0
    capsys.readouterr()
    assert cli.main(["devices"]) == 0
    assert f"android:{phone.serial}" in capsys.readouterr().out
    assert cli.main(["devices", "--json"]) == 0
    rows = {row["device"]: row for row in json.loads(capsys.readouterr().out)}
    row = rows[f"android:{phone.serial}"]
    known, now = row["facts"], row["condition"]
    assert (known["device_class"], known["abi"]) == ("simulated", "x86_64")
    assert (known["model"], known["system"]) == ("sdk_gphone64_x86_64", "Android 14 (API 34)")
    assert sum(len(cluster["cores"]) for cluster in known["clusters"]) == len(phone.cores)
    assert (now["battery_percent"], row["problem"]) == (100, "")
    assert now["thermal_status"] == {"level": 0, "word": "none"}
    assert cli.main(["clean", "--device", f"android:{phone.serial}"]) == 0
    assert "MB removed" in capsys.readouterr().out
    assert phone.files() == []
