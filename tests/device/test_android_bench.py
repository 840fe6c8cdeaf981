"""Measuring on a simulated phone whose runner is a script: what goes wrong, and what is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from android_harness import modes, runs
from exporter.bundle.folder import open_bundle
from exporter.errors import DeviceLostError, RequestError, RunnerError, TooHotError
from runtimes.device import Method
from runtimes.remote.errors import BusyError, UnusableError
from runtimes.remote.lock import lock_file
from tests.device.android_kit import (
    MEASURE,
    assert_tidy,
    connection_to,
    look_at,
    ours,
    runs_on,
    scripted,
)
from tests.fakes.system import sample
from tests.unit.tiny_bundle import build, reseal

RUNNER = r"sh \./measured/measure.*?(?=\n)"
METHOD = Method(check=False, cores="all")


@pytest.fixture(scope="session")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles") / "tiny-onnx-fp32"
    build(folder)
    return open_bundle(folder)


@pytest.fixture
def device(phone, adb_environment, monkeypatch, tmp_path):
    look_at(adb_environment, monkeypatch)
    return scripted(phone, tmp_path)


def test_a_run_from_push_to_times(device, phone, bundle):
    with device.open(METHOD) as bench:
        bench.prepare(bundle)
        graph = bench.run_graph(bundle, "mask_decoder")
        session = bench.run_session(bundle)
        assert phone.state("wakefulness") == "Awake\n"
    assert (graph.graph, graph.load_ns, graph.samples_ns) == ("mask_decoder", 2000, (100, 110, 120))
    assert (graph.way, graph.notes) == ("script", ())
    assert (session.first_mask_ns, session.click_ns) == (4000, (100, 110, 120))
    assert_tidy(phone)
    assert "files/measured/measure" in ours(phone)
    assert phone.state("wakefulness") == "Asleep\n"


def test_what_a_run_changes_is_put_back_as_it_was(device, phone, bundle):
    phone.set_state("wakefulness", "Awake\n")
    phone.set_state("setting.global.stay_on_while_plugged_in", "3\n")
    with device.open(METHOD):
        assert phone.state("setting.global.stay_on_while_plugged_in") == "2\n"
    assert phone.state("setting.global.stay_on_while_plugged_in") == "3\n"
    assert phone.state("wakefulness") == "Awake\n"
    assert not any("KEYCODE_SLEEP" in call for call in phone.calls)


def test_a_setting_that_was_not_set_is_not_set_again(device, phone):
    (phone.root / "metadata/fake/setting.global.stay_on_while_plugged_in").unlink()
    with device.open(METHOD):
        pass
    assert phone.state("setting.global.stay_on_while_plugged_in") == ""


def test_fixed_performance_is_set_and_unset(device, phone):
    with device.open(replace(METHOD, modes=("fixed-performance",))):
        assert phone.state("fixed_performance") == "1\n"
    assert_tidy(phone)


def test_fixed_performance_that_a_device_has_not(device, phone, faults):
    faults.no_fixed_performance = True
    with (
        pytest.raises(RequestError, match=r"has no fixed-performance mode \(.*\): leave it out"),
        device.open(replace(METHOD, modes=("fixed-performance",))),
    ):
        pass
    assert_tidy(phone)


def test_a_core_that_does_not_exist_is_refused_before_anything_is_changed(device, phone):
    with (
        pytest.raises(RequestError, match="core 99 does not exist: this device has"),
        device.open(replace(METHOD, cores="99")),
    ):
        pass
    assert phone.calls == []
    assert phone.files() == []


def test_fast_cores_are_numbers_in_the_job(device, phone, bundle):
    with device.open(replace(METHOD, cores="fast", threads=1)) as bench:
        bench.prepare(bundle)
        plan = bench._loaded[bundle.path].plans["session", ""]
    assert plan.job.cores == (phone.cores[-1].index,)


def test_a_core_ml_bundle_is_refused_by_name(device, phone, tmp_path):
    build(tmp_path / "mac")
    reseal(tmp_path / "mac", target="coreml")
    mac = open_bundle(tmp_path / "mac")
    words = "is a coreml bundle, and Android runs onnx and tflite"
    with device.open(METHOD) as bench, pytest.raises(RequestError, match=words):
        bench.prepare(mac)
    assert_tidy(phone)


def test_the_second_run_pushes_only_its_jobs(device, phone, bundle):
    with device.open(METHOD) as bench:
        bench.prepare(bundle)
    phone.commands.clear()
    with device.open(METHOD) as bench:
        bench.prepare(bundle)
        for _ in range(3):
            bench.run_graph(bundle, "image_encoder")
    # Trips, not seconds: those would be this host's.
    assert len(phone.commands) <= 13, phone.commands


def test_a_runner_that_is_killed(device, phone, faults, bundle):
    faults.kill = RUNNER
    with device.open(METHOD) as bench:
        with pytest.raises(RunnerError, match=r"killed the runner \(out of memory\?\)"):
            bench.run_graph(bundle, "image_encoder")
        faults.kill = None
        assert bench.run_graph(bundle, "image_encoder").samples_ns
    assert_tidy(phone)


def test_a_runner_that_hangs_is_ended_on_the_device(device, phone, faults, bundle):
    faults.hang = RUNNER
    with device.open(replace(METHOD, deadline_seconds=2)) as bench:
        start = time.monotonic()
        with pytest.raises(RunnerError, match=r"did not end in time .* 'stopped after 2 s'"):
            bench.run_graph(bundle, "image_encoder")
        assert 1.5 < time.monotonic() - start < 20
        assert runs_on(phone) == []
    assert_tidy(phone)


def test_a_runner_that_hangs_on_a_device_that_does_not_end_it(
    device, phone, faults, bundle, monkeypatch
):
    monkeypatch.setattr(runs, "GRACE", 0.0)
    monkeypatch.setattr(runs, "QUICK", 0.0)
    with device.open(replace(METHOD, deadline_seconds=3)) as bench:
        bench.prepare(bundle)
        faults.hang = RUNNER + r"|sleep 3; : > late"
        with pytest.raises(RunnerError, match="did not end, nor did the device end it"):
            bench.run_graph(bundle, "image_encoder")
        assert runs_on(phone) == []
    assert_tidy(phone)


def test_a_garbled_answer(device, phone, faults, bundle):
    with device.open(METHOD) as bench:
        bench.prepare(bundle)
        faults.garble = "measure job"
        with pytest.raises(RunnerError, match="cut short or garbled"):
            bench.run_graph(bundle, "image_encoder")
        faults.garble = None
        assert bench.run_graph(bundle, "image_encoder").samples_ns
    assert_tidy(phone)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("echo '{\"runner\": 2,'", "cut short or garbled"),
        ('echo \'{"runner": 3, "error": "no such model"}\'; exit 1', "failed: no such model"),
        ("exit 0", "no answer"),
        ("echo 'cannot link libfoo' >&2; exit 127", "exit code 127 .*cannot link libfoo"),
        ("kill -SEGV $$", "segmentation fault"),
    ],
)
def test_a_runner_that_answers_nonsense(
    phone, adb_environment, monkeypatch, tmp_path, bundle, text, words
):
    look_at(adb_environment, monkeypatch)
    device = scripted(phone, tmp_path, text=f"#!/system/bin/sh\n{text}\n")
    with device.open(METHOD) as bench, pytest.raises(RunnerError, match=words):
        bench.run_graph(bundle, "image_encoder")
    assert_tidy(phone)


def test_a_device_that_cannot_start_the_runner(
    phone, adb_environment, monkeypatch, tmp_path, bundle
):
    look_at(adb_environment, monkeypatch)
    device = scripted(phone, tmp_path, test="{ echo 'CANNOT LINK EXECUTABLE' >&2; exit 7; }")
    with (
        pytest.raises(RunnerError, match=r"script does not start .*exit code 7\): CANNOT LINK"),
        device.open(METHOD) as bench,
    ):
        bench.prepare(bundle)
    assert_tidy(phone)


def lose_the_cable(bench, bundle, faults, meanwhile=lambda: None):
    """Half a second into a run that would never end."""
    bench.prepare(bundle)
    faults.hang, faults.drop_on, faults.drop_after_seconds = RUNNER, "measure job", 0.5
    meanwhile()
    bench.run_graph(bundle, "image_encoder")


def test_the_cable_is_pulled_during_a_run_for_good(
    device, phone, faults, bundle, monkeypatch, adb_server
):
    monkeypatch.setattr(modes, "BACK_SECONDS", 1.0)
    words = r"went away.*did not come back within 1 s.*next run"
    with pytest.raises(DeviceLostError, match=words), device.open(METHOD) as bench:
        lose_the_cable(bench, bundle, faults)
    assert runs_on(phone) == []  # the connection's end was the runner's
    assert phone.changes() != {}
    faults.hang = faults.drop_on = None
    phone.plug()
    adb_server.disconnect(phone)
    adb_server.connect(phone)
    with device.open(METHOD) as bench:
        assert bench.run_graph(bundle, "image_encoder").samples_ns
    assert_tidy(phone)  # of both runs


def test_a_cable_that_comes_back_at_once(device, phone, faults, bundle):
    with pytest.raises(DeviceLostError) as caught, device.open(METHOD) as bench:
        lose_the_cable(bench, bundle, faults, lambda: threading.Timer(1.5, phone.plug).start())
    assert "not put back" not in str(caught.value)
    assert_tidy(phone)


def test_a_device_that_never_cools(device, phone, faults):
    with device.open(replace(METHOD, cool_seconds=0.2)) as bench:
        start = bench.condition()
        assert start.thermal_status.level == 0
        faults.thermal = (sample("thermalservice-throttling.txt"),)
        with pytest.raises(TooHotError, match=r"thermal status moderate, skin 40.1 °C"):
            bench.cool(start)
    assert_tidy(phone)


def test_a_device_that_cools(device, faults, monkeypatch):
    monkeypatch.setattr("runtimes.remote.cooling.POLL", 0.01)
    hot = sample("thermalservice-throttling.txt")
    with device.open(METHOD) as bench:
        start = bench.condition()
        faults.thermal = (hot, hot, sample("thermalservice-android16-xiaomi.txt"))
        assert bench.cool(start).thermal_status.level == 0


def test_a_faked_thermal_status_is_refused(device, phone, bundle):
    with device.open(METHOD) as bench:
        start = bench.condition()
        connection_to(phone).check("cmd thermalservice override-status 0")
        with pytest.raises(UnusableError, match="overridden"):
            bench.cool(start)
    with pytest.raises(UnusableError, match="overridden"), device.open(METHOD):
        pass


def test_heat_and_held_cores_during_a_run_are_notes_of_it(
    phone, adb_environment, monkeypatch, tmp_path, faults, bundle
):
    look_at(adb_environment, monkeypatch)
    device = scripted(phone, tmp_path, text=MEASURE + "sleep 1\n")
    core = phone.cores[-1]
    with device.open(METHOD) as bench:
        bench.prepare(bundle)
        assert bench.run_graph(bundle, "image_encoder").notes == ()
        cool = sample("thermalservice-android16-xiaomi.txt")
        faults.thermal = (cool, sample("thermalservice-throttling.txt"))

        def hold():
            while not runs_measure(phone):
                time.sleep(0.02)
            phone.set_frequency(core.index, 900_000, 1_747_000)

        holding = threading.Thread(target=hold)
        holding.start()
        run = bench.run_graph(bundle, "image_encoder")
        holding.join()
    assert run.notes == (
        "throttled: thermal status none -> moderate",
        f"throttled: core {core.index} held to 1747000 kHz",
    )


def runs_measure(phone):
    return any("sleep 1" in line for line in phone.processes())


def test_a_clock_that_jumps_changes_nothing(device, faults, bundle):
    faults.clock = (0, -86400, 86400)
    with device.open(METHOD) as bench:
        assert bench.run_graph(bundle, "image_encoder").samples_ns == (100, 110, 120)


def test_two_runs_on_one_device_are_one_too_many(device):
    first, second = device.open(METHOD), device.open(METHOD)
    with first, pytest.raises(BusyError, match="used by another run"), second:
        pass
    assert not lock_file(device.connection.serial).exists()
    with device.open(METHOD):
        assert lock_file(device.connection.serial).exists()


def test_clean_leaves_nothing(device, phone, bundle):
    with device.open(METHOD) as bench:
        bench.prepare(bundle)
    assert device.clean() > 0
    assert phone.files() == []


INTERRUPTED = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from android_harness import modes
from android_harness.adb.program import find_adb
from android_harness.adb.connection import Connection
from android_harness.devices.android import AndroidDevice
from exporter.bundle import open_bundle
from runtimes.device import Method
from tests.device.android_kit import ScriptWay
modes._UNDO = "sleep 0.8\\n" + modes._UNDO  # so that a second Ctrl-C comes in the middle of it
way = ScriptWay(Path({folder!r}), text="#!/system/bin/sh\\nexec sleep 1000\\n")
device = AndroidDevice(Connection(find_adb(), {serial!r}), "android:x", find_way=lambda *a: way)
bundle = open_bundle(Path({bundle!r}))
with device.open(Method(check=False, cores="all")) as bench:
    bench.prepare(bundle)
    print("running", flush=True)
    bench.run_graph(bundle, "image_encoder")
"""


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_puts_everything_back(phone, adb_environment, monkeypatch, tmp_path, bundle, times):
    look_at(adb_environment, monkeypatch)
    code = INTERRUPTED.format(
        root=str(Path(__file__).parents[2]),
        folder=str(tmp_path),
        serial=phone.serial,
        bundle=str(bundle.path),
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout.readline() == "running\n"
    end = time.monotonic() + 20
    while not any("sleep 1000" in line for line in phone.processes()):
        assert time.monotonic() < end
        time.sleep(0.05)
    for _ in range(times):
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all in the foreground
        time.sleep(0.4)
    said = process.communicate(timeout=40)[1]
    assert process.returncode != 0
    assert "KeyboardInterrupt" in said
    assert_tidy(phone)
