"""`sam-bench` on a simulated phone: bundles that no runtime takes, and phones reached by USB."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from profiles import cli
from tests.device.ios_kit import ROOT, SHORT, only_line, phone_world
from tests.fakes.apple.world import UDID, World

IOS, USB = f"ios:{UDID}", f"pymobiledevice3:{UDID}"
CASES = ROOT / "runtimes" / "golden_vectors" / "cases"
REFUSED = [
    case
    for case in json.loads((CASES / "refusals.json").read_text())
    if case["kind"] == "bundle" and case["error"] and case["name"] != "no_square"
]
"""The cases that Swift, Kotlin and Python refuse; Python runs an input that is no square."""


@pytest.fixture
def world(tmp_path, monkeypatch) -> World:
    """A phone; both programs are here."""
    return phone_world(tmp_path, monkeypatch)


@pytest.fixture
def measure(world, tmp_path):
    """`sam-bench BUNDLE --device DEVICE`; its exit status."""
    store = ("--store", str(tmp_path / "p.jsonl"))

    def run(bundle: Path, device: str = IOS) -> int:
        return cli.main([*SHORT, "--quiet", *store, "--device", device, str(bundle)])

    return run


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case["name"])
def test_a_wrong_bundle_is_one_line_and_never_reaches_the_phone(
    measure, world, tmp_path, capsys, case
) -> None:
    assert measure(CASES / "bundles" / case["name"]) == 2
    said = only_line(capsys)
    # Another target is refused by what the runner on the phone has.
    words = (
        ["is a tflite bundle", "runs coreai and onnx"]
        if case["name"] == "other_target"
        else case["says"]
    )
    assert [word for word in words if word not in said] == []
    assert not (tmp_path / "p.jsonl").exists()
    assert [line for line in world.calls() if " copy to " in line] == []
    assert world.running() == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"connected": False}, "no pymobiledevice3 device: connect one, unlock it"),
        ({"paired": False}, "does not trust this computer: connect its cable, unlock it and tap"),
        ({"developer_mode": False}, "developer mode is off: turn on Settings > Privacy & Security"),
        ({"locked": True}, "it is locked: unlock it, and set Settings > Display & Brightness"),
        ({"image": False}, "disk image is not mounted: `pymobiledevice3 mounter auto-mount`"),
        ({"installed": False}, "the runner is not installed: build and sign it"),
        ({"trusted": False}, "it does not trust who signed the runner: on it, open Settings"),
    ],
)
def test_what_stands_in_the_way_by_usb_is_one_line(
    measure, world, tiny_folder, tmp_path, capsys, changes, words
) -> None:
    world.change(**changes)
    assert measure(tiny_folder, "pymobiledevice3") == 2
    said = only_line(capsys)
    assert words in said
    assert said.count(UDID) == (0 if "connected" in changes else 1)
    assert not (tmp_path / "p.jsonl").exists()
    assert world.running() == []


@pytest.mark.parametrize(
    ("fault", "on", "words"),
    [
        ("crash", "run", "the runner crashed (EXC_CRASH, SIGABRT, Abort trap: 6) during "),
        ("memory", "run", "the system ended the runner for its memory (per-process-limit) during "),
        ("truncate", "look", "the runner's answer is cut short at "),
        ("version", "look", "the runner on the device speaks version 7, not 1: build and install"),
        ("old", "look", "not what was asked: end the app on the device"),
    ],
)
def test_a_fault_by_usb_is_one_line_and_leaves_nothing(
    measure, world, tiny_folder, tmp_path, capsys, fault, on, words
) -> None:
    world.change(fault=fault, on=on)
    assert measure(tiny_folder, USB) == 1
    said = only_line(capsys)
    assert words in said
    assert (said.startswith(f"sam-bench: error: {USB}: "), said.count(UDID)) == (True, 1)
    assert not (tmp_path / "p.jsonl").exists()
    assert world.running() == []
