"""`sam-bench` on simulated phones and simulators: the runner and its runtime are real."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from ios_harness import crashes, exchange
from ios_harness.transports import coredevice, usbmux
from ios_harness.transports import simulator as simulators
from profiles import cli
from profiles.numbers.summary import summarise
from profiles.store import Store
from tests.device.ios_kit import SHORT, only_line, phone_world
from tests.fakes.apple.world import UDID, FakeDevice, World
from tests.unit.tiny_bundle import Recipe, build, seal

IOS, USB = f"ios:{UDID}", f"pymobiledevice3:{UDID}"
SIMULATOR = "38C2AD9E-9318-445C-95CC-AAC69492FC2D"
PROVISION = "A valid provisioning profile for this executable was not found."


@pytest.fixture
def world(tmp_path, monkeypatch) -> World:
    """A phone; both programs are here."""
    world = phone_world(tmp_path, monkeypatch)
    monkeypatch.setattr(exchange, "LOG_SECONDS", 0.0)
    for module in (coredevice, usbmux, simulators):
        monkeypatch.setattr(module, "GRACE", 2.0)
    return world


@pytest.fixture
def sam_bench(world, tmp_path):
    """`sam-bench ARGUMENTS` on the phone, with the store p.jsonl; its exit status."""
    store = ("--store", str(tmp_path / "p.jsonl"))

    def run(*arguments: object, device: str = IOS) -> int:
        words = [str(argument) for argument in arguments]
        if not device:
            return cli.main([*words, *store])
        pairs = zip(SHORT[::2], SHORT[1::2], strict=True)
        usual = [word for pair in pairs if pair[0] not in words for word in pair]
        return cli.main([*usual, "--quiet", *store, "--device", device, *words])

    return run


@pytest.fixture
def stored(tmp_path):
    return lambda: Store(tmp_path / "p.jsonl").read()


@pytest.mark.parametrize("device", [IOS, USB, f"simulator:{SIMULATOR}"])
def test_a_bundle_is_measured_and_marked_as_simulated(
    sam_bench, world, stored, tiny_folder, device
):
    world.add(FakeDevice(udid=SIMULATOR, name="iPhone 17 Pro", kind="simulator", booted=False))
    assert sam_bench(tiny_folder, device=device) == 0
    (profile,) = stored()
    assert profile.device.device == device
    assert profile.device.device_class == "simulated"
    assert profile.device.system == "iOS 26.5"
    assert profile.method.delegate == "all"
    assert profile.parity
    (repeat,) = profile.repeats
    assert [run.graph for run in repeat.runs] == ["image_encoder", "mask_decoder"]
    assert all(run.way == "runner" and len(run.samples_ns) >= 3 for run in repeat.runs)
    assert all("ONNX Runtime computes on the CPU, not on all" in run.notes for run in repeat.runs)
    assert repeat.session is not None
    assert repeat.before.thermal_status is not None
    assert repeat.before.thermal_status.word == "nominal"
    assert repeat.before.battery_percent == 80
    assert summarise(profile).click_ms is not None
    assert world.running(UDID) == []
    assert not next(d for d in world.devices() if d.udid == SIMULATOR).booted


def test_files_are_sent_once_and_a_damaged_one_again(sam_bench, world, tiny_folder, stored):
    assert sam_bench("--no-check", tiny_folder) == 0
    kept = world.home() / "Documents" / "files"
    (model,) = kept.glob("bundle-*/mask_decoder.onnx")
    good = model.read_bytes()
    model.write_bytes(bytes(len(good)))
    before = len(_pushes(world))
    assert sam_bench("--no-check", "--label", "again", tiny_folder) == 0
    assert model.read_bytes() == good
    jobs = 3  # a graph each, and the session
    assert len(_pushes(world)) - before == jobs + 1
    assert len(stored()) == 2


def _pushes(world):
    return [line for line in world.calls() if " copy to " in line]


def test_a_clean_leaves_nothing(sam_bench, world, tiny_folder, capsys):
    assert sam_bench("--no-check", tiny_folder) == 0
    capsys.readouterr()
    assert cli.main(["clean", "--device", IOS]) == 0
    assert re.fullmatch(rf"{IOS}: \d+\.\d MB removed\n", capsys.readouterr().out)
    assert list((world.home() / "Documents").rglob("*.onnx")) == []


def test_a_bundle_that_computes_something_else_is_not_timed(sam_bench, tmp_path, capsys):
    build(tmp_path / "scaled", Recipe(flaw="scaled"))
    assert sam_bench(tmp_path / "scaled") == 1
    said = only_line(capsys)
    assert "low_res_masks" in said
    assert "nothing was timed" in said
    assert not (tmp_path / "p.jsonl").exists()


def test_a_core_ml_bundle_is_told_what_this_runner_has(sam_bench, tmp_path, capsys):
    made = build(tmp_path / "bundle", Recipe())
    seal(tmp_path / "bundle", replace(made, target="coreml", content_sha256=""))
    assert sam_bench("--no-check", tmp_path / "bundle") == 2
    assert "is a coreml bundle, and the runner on" in only_line(capsys)


# ---------------------------------------------------------------------------------------- faults

BEFORE = [
    ({"connected": False}, 2, "it is not connected: connect its cable"),
    ({"paired": False}, 2, "does not trust this computer: connect its cable, unlock it and tap"),
    ({"developer_mode": False}, 2, "developer mode is off: turn on Settings > Privacy & Security"),
    ({"locked": True}, 2, "it is locked: unlock it, and set Settings > Display & Brightness"),
    ({"image": False}, 2, "its developer disk image is not mounted: open Xcode > Window"),
    ({"installed": False}, 2, "the runner is not installed: build and sign it"),
    ({"trusted": False}, 2, "it does not trust who signed the runner: on it, open Settings"),
]
WITHIN = [  # the fault, the request that it comes with, what is said
    ("crash", "run", "the runner crashed (EXC_CRASH, SIGABRT, Abort trap: 6) during "),
    ("memory", "run", "the system ended the runner for its memory (per-process-limit) during "),
    ("hang", "run", "nor did its own watchdog end it; it was ended: restart the device"),
    ("lost", "run", "the device went away during `devicectl device process launch"),
    ("truncate", "look", "the runner's answer is cut short at "),
    ("version", "look", "the runner on the device speaks version 7, not 1: build and install"),
    ("old", "look", "not what was asked: end the app on the device"),
]


@pytest.mark.parametrize(
    ("changes", "status", "words"), BEFORE, ids=[next(iter(f[0])) for f in BEFORE]
)
def test_what_stands_in_the_way_is_one_line(
    sam_bench, world, tiny_folder, tmp_path, capsys, changes, status, words
):
    world.change(**changes)
    assert sam_bench(tiny_folder) == status
    said = only_line(capsys)
    assert words in said
    assert (said.startswith(f"sam-bench: error: {IOS}: "), said.count(UDID)) == (True, 1)
    assert not (tmp_path / "p.jsonl").exists()
    assert world.running() == []


@pytest.mark.parametrize(("fault", "on", "words"), WITHIN, ids=[f[0] for f in WITHIN])
def test_a_fault_is_one_line_and_leaves_nothing(
    sam_bench, world, tiny_folder, tmp_path, capsys, fault, on, words
):
    world.change(fault=fault, on=on)
    seconds = "1" if fault == "hang" else "60"
    assert sam_bench("--deadline", seconds, "--no-check", tiny_folder) == 1
    said = only_line(capsys)
    assert words in said
    assert said.startswith(f"sam-bench: error: {IOS}: ")
    # What is sent is called by the name of the tool, which knows the device by a name of its own.
    assert said.count(UDID) == 1
    assert not (tmp_path / "p.jsonl").exists()
    assert world.running() == []


def test_the_crash_log_is_kept(sam_bench, world, tiny_folder, capsys):
    world.change(fault="crash")
    assert sam_bench(tiny_folder) == 1
    said = only_line(capsys)
    log = exchange.log_folder() / "SamRunner-2026-11-30-031500.ips"
    assert f"its log is {log}" in said
    assert json.loads(log.read_text().splitlines()[0])["app_name"] == crashes.EXECUTABLE


def test_a_prediction_that_does_not_end_is_ended_by_the_runner(
    sam_bench, tiny_folder, tmp_path, capsys
):
    assert sam_bench("--no-check", "--seconds", "60", "--deadline", "1", tiny_folder) == 1
    said = only_line(capsys)
    assert "did not end in time and stopped itself: calling image_encoder took longer" in said
    assert not (tmp_path / "p.jsonl").exists()


def test_low_power_mode_is_refused(sam_bench, world, tiny_folder, tmp_path, capsys):
    world.tell(low_power=True)
    assert sam_bench(tiny_folder) == 2
    said = (
        f"sam-bench: error: {IOS}: low-power mode is on, so its clocks are held back: turn it off"
    )
    assert only_line(capsys).startswith(said)
    assert not (tmp_path / "p.jsonl").exists()


@pytest.mark.parametrize(("level", "word"), [(2, "serious"), (3, "critical")])
def test_a_hot_phone_is_waited_for(sam_bench, world, tiny_folder, tmp_path, capsys, level, word):
    world.tell(thermal=level)
    assert sam_bench("--no-check", "--cool-limit", "0", tiny_folder) == 1
    assert f"did not cool within 0 s: thermal status {word}" in only_line(capsys)
    assert not (tmp_path / "p.jsonl").exists()


def test_a_phone_that_grows_hot_is_marked(sam_bench, world, tiny_folder, stored):
    world.change(fault="hot")
    assert sam_bench("--no-check", tiny_folder) == 0
    (profile,) = stored()
    assert "thermal status serious after the repeat" in profile.repeats[0].throttled


def test_a_full_phone(sam_bench, world, tiny_folder, tmp_path, capsys):
    world.tell(free_bytes=1 << 20)
    assert sam_bench(tiny_folder) == 1
    said = only_line(capsys)
    assert f"{IOS}: the device is full: 17 MB are needed and 1 MB are free" in said
    assert f"`sam-bench clean --device {IOS}`" in said
    assert not (tmp_path / "p.jsonl").exists()


@pytest.mark.parametrize(
    ("device", "changes", "words"),
    [
        (IOS, {"full": True}, "the device is full: free some space on it"),
        (IOS, {"accepts": False}, "refused the runner (`devicectl device install app "),
        (USB, {"full": True}, "it is full: free some space on it"),
        (USB, {"accepts": False}, "refused the runner ("),
    ],
)  # fmt: skip
def test_an_install_that_is_refused(
    sam_bench, world, tiny_folder, runner_app, capsys, device, changes, words
):
    world.change(installed=False, **changes)
    assert sam_bench("--runner", runner_app, tiny_folder, device=device) == 1
    said = only_line(capsys)
    assert words in said
    assert (PROVISION in said) == (device == IOS and "accepts" in changes)
    assert world.running() == []


def test_the_runner_is_installed_if_it_is_given(sam_bench, world, tiny_folder, runner_app, stored):
    world.change(installed=False)
    assert sam_bench("--runner", runner_app, "--no-check", tiny_folder) == 0
    assert len(stored()) == 1


@pytest.fixture
def runner_app(tmp_path):
    """An app's folder with nothing but its identifier."""
    app = tmp_path / "SamRunner.app"
    app.mkdir()
    (app / "Info.plist").write_bytes(
        b'<?xml version="1.0"?><plist version="1.0"><dict><key>CFBundleIdentifier</key>'
        b"<string>org.samexport.runner</string></dict></plist>"
    )
    return app


@pytest.mark.parametrize("device", ["ios", "pymobiledevice3"])
def test_no_phone(sam_bench, world, tiny_folder, capsys, device):
    (world.folder / "world.json").unlink()
    assert sam_bench(tiny_folder, device=device) == 2
    assert f"no {device} device: connect one, unlock it" in only_line(capsys)


@pytest.mark.parametrize("device", ["ios", "pymobiledevice3"])
def test_two_phones_and_no_choice(sam_bench, world, tiny_folder, capsys, device):
    world.add(FakeDevice(udid="00008030-000000000000002E", name="Other"))
    assert sam_bench(tiny_folder, device=device) == 2
    said = only_line(capsys)
    assert f"several devices are connected; choose from {device}:{UDID}, {device}:00008030" in said


def test_a_phone_on_a_cable_that_was_pulled(sam_bench, world, tiny_folder, tmp_path, capsys):
    world.change(fault="lost")
    assert sam_bench(tiny_folder, device=USB) == 1
    assert "the device went away during `" in only_line(capsys)
    assert not (tmp_path / "p.jsonl").exists()


@pytest.mark.parametrize("at", ["preparing", "session"])
def test_ctrl_c_between_two_steps_leaves_nothing_and_the_next_run_goes_on(
    sam_bench, world, tiny_folder, tmp_path, stored, monkeypatch, at
):
    def stop(line: str) -> None:
        if line.endswith(at):
            raise KeyboardInterrupt

    monkeypatch.setattr(cli, "silent", stop)
    assert sam_bench("--no-check", tiny_folder) == 130
    assert not (tmp_path / "p.jsonl").exists()
    assert world.running() == []
    monkeypatch.setattr(cli, "silent", lambda line: None)
    assert sam_bench("--no-check", tiny_folder) == 0
    assert len(stored()) == 1


@pytest.mark.parametrize("device", [IOS, f"simulator:{SIMULATOR}"])
def test_ctrl_c_while_the_runner_works_ends_it(sam_bench, world, tiny_folder, tmp_path, device):
    world.add(FakeDevice(udid=SIMULATOR, kind="simulator", booted=False))
    udid = device.partition(":")[2]
    world.change(udid, fault="hang")

    def press() -> None:
        end = time.monotonic() + 60
        while not _stopped(world.running(udid)) and time.monotonic() < end:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press, daemon=True).start()
    assert sam_bench("--no-check", tiny_folder, device=device) == 130
    assert not (tmp_path / "p.jsonl").exists()
    assert world.running(udid) == []
    assert not next(d for d in world.devices() if d.udid == SIMULATOR).booted


def _stopped(pids: list[int]) -> bool:
    """Whether a process hangs, as the fault makes it."""
    states = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] for pid in pids]
    return states == ["T"]


def test_the_devices_are_listed_with_what_is_in_the_way(world, capsys):
    world.change(locked=True)
    world.add(FakeDevice(udid="00008030-000000000000002E", name="New", installed=False))
    world.add(FakeDevice(udid="OLD-1", name="Old", kind="old", version="16.7", build="20H19"))
    world.add(FakeDevice(udid=SIMULATOR, kind="simulator", name="iPhone 17 Pro", booted=False))
    assert cli.main(["devices", "--json"]) == 0
    rows = {row["device"]: row for row in json.loads(capsys.readouterr().out)}
    assert "it is locked" in rows[IOS]["problem"]
    assert "the runner is not installed" in rows["ios:00008030-000000000000002E"]["problem"]
    assert "use --device pymobiledevice3:OLD-1" in rows["ios:OLD-1"]["problem"]
    assert rows["pymobiledevice3:OLD-1"]["problem"] == ""
    assert "it is shut down" in rows[f"simulator:{SIMULATOR}"]["problem"]
    assert "this is no Mac" in rows["mac"]["problem"]
    assert world.running() == []
