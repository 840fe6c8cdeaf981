"""What goes wrong on a device, as a user of `sam-bench` meets it: real adb, runner and runtime.

Each time: one line that says what and what to do, the exit status, nothing in the store, nothing
of ours running or changed on the device; and the same command succeeds once the fault is gone.
"""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager

import pytest

from android_harness import modes
from android_harness.adb.connection import Connection
from profiles import cli
from profiles.store import Store
from tests.device.android_kit import assert_tidy, ours, runs_on
from tests.fakes.faults import Faults
from tests.fakes.system import sample

RUNNER = r"capsule-x86_64/ld-linux\S+ --library-path \S+ \S+/runner job\.txt"
ONCE = ("--repeats", "1")
COOL, HOT = sample("thermalservice-android16-xiaomi.txt"), sample("thermalservice-throttling.txt")


def refuses_the_key(faults):
    faults.unauthorized = True


def drops_during_the_push(faults):
    faults.drop_after_bytes = 1 << 20


def drops_during_a_run(faults):
    faults.hang, faults.drop_on, faults.drop_after_seconds = RUNNER, r"runner job\.txt", 0.5


def is_full(faults):
    faults.storage_bytes = 5 << 20


def kills_the_runner(faults):
    faults.kill = RUNNER


def hangs(faults):
    faults.hang = RUNNER


def garbles(faults):
    faults.garble = r"runner job\.txt"


def never_cools(faults):
    faults.thermal = (COOL, COOL, HOT)


def may_not_be_written(faults):
    faults.read_only = ("/data/local/tmp/sam-export",)


FAULTS = [
    (refuses_the_key, 2, "is unauthorized: unlock its screen and allow USB debugging"),
    (drops_during_the_push, 1, "went away during `adb push"),
    (drops_during_a_run, 1, "went away during `adb shell"),
    (is_full, 2, "full: 4 MB are free in /data/local/tmp, 64 MB are the least"),
    (kills_the_runner, 1, "the system killed the runner (out of memory?)"),
    (hangs, 1, "did not end in time and was stopped"),
    (garbles, 1, "cut short or garbled"),
    (never_cools, 1, "did not cool within 0.2 s: thermal status moderate"),
    (may_not_be_written, 1, "cannot be written where measuring needs it"),
]


@pytest.fixture
def comes_back(phone, monkeypatch):
    """A cable that was pulled is put in again while the harness waits for that."""
    before = Connection.reconnect

    def reconnect(self, seconds):
        threading.Timer(0.3, phone.plug).start()
        return before(self, seconds)

    monkeypatch.setattr(Connection, "reconnect", reconnect)


@pytest.mark.parametrize(
    ("arrange", "status", "words"), FAULTS, ids=[f[0].__name__ for f in FAULTS]
)
def test_a_fault_is_one_line_and_leaves_nothing(
    sam_bench,
    phone,
    faults,
    adb_server,
    tiny_folder,
    tmp_path,
    capsys,
    comes_back,
    arrange,
    status,
    words,
):
    arrange(faults)
    adb_server.disconnect(phone)  # the key is asked for when it connects again
    deadline = ("--deadline", "3") if arrange is hangs else ()
    assert sam_bench(*deadline, "--cool-limit", "0.2", *ONCE, tiny_folder) == status
    assert words in only_line(capsys)
    assert not (tmp_path / "p.jsonl").exists()
    assert_tidy(phone)


@pytest.mark.parametrize("arrange", [drops_during_the_push, drops_during_a_run, never_cools])
def test_the_same_command_succeeds_once_the_fault_is_gone(
    sam_bench, phone, faults, tiny_folder, tmp_path, comes_back, arrange
):
    measure = ("--cool-limit", "0.2", *ONCE, tiny_folder)
    arrange(faults)
    assert sam_bench(*measure) == 1
    mend(faults)
    assert sam_bench(*measure) == 0
    [profile] = Store(tmp_path / "p.jsonl").read()
    assert len(profile.repeats) == 1
    assert profile.parity
    assert_tidy(phone)


def only_line(capsys):
    """What was said on stderr: an error, on one line, and no traceback."""
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("sam-bench: error: ")
    return line


def mend(faults):
    for name, value in vars(Faults()).items():
        setattr(faults, name, value)


def test_a_cable_that_is_pulled_for_good(
    sam_bench, phone, faults, tiny_folder, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(modes, "BACK_SECONDS", 0.5)
    drops_during_a_run(faults)
    assert sam_bench(*ONCE, tiny_folder) == 1
    assert "did not come back within 0.5 s" in only_line(capsys)
    assert not (tmp_path / "p.jsonl").exists()
    assert runs_on(phone) == []  # the end of the connection is the end of the runner
    mend(faults)
    phone.plug()
    assert sam_bench(*ONCE, tiny_folder) == 0
    assert_tidy(phone)  # of both


def test_a_restarted_phone_is_measured(sam_bench, phone, tiny_folder, tmp_path):
    phone.restart()
    assert sam_bench(*ONCE, tiny_folder) == 0
    assert len(Store(tmp_path / "p.jsonl").read()) == 1
    assert_tidy(phone)


def test_a_clock_that_jumps_is_not_in_the_times(sam_bench, phone, faults, tiny_folder, tmp_path):
    faults.clock = (0, -86400, 86400)
    assert sam_bench(*ONCE, tiny_folder) == 0
    [profile] = Store(tmp_path / "p.jsonl").read()
    for run in profile.repeats[0].runs:
        assert all(0 < ns < 10e9 for ns in run.samples_ns)
    assert_tidy(phone)


def test_a_stale_model_of_the_same_size_is_not_measured(sam_bench, phone, tiny_folder, tmp_path):
    assert sam_bench(*ONCE, tiny_folder) == 0
    [name] = [name for name in ours(phone) if name.endswith("mask_decoder.onnx")]
    model = phone.tmp / "sam-export" / name
    good = model.read_bytes()
    model.write_bytes(bytes(len(good)))
    assert sam_bench(*ONCE, "--label", "again", tiny_folder) == 0
    assert model.read_bytes() == good
    assert len(Store(tmp_path / "p.jsonl").read()) == 2


def test_two_phones_and_no_choice(sam_bench, phone, second_phone, tiny_folder, tmp_path, capsys):
    assert sam_bench(tiny_folder, device="android") == 2
    said = only_line(capsys)
    assert "several devices are attached; choose from" in said
    assert all(f"android:{one.serial}" in said for one in (phone, second_phone))
    assert not (tmp_path / "p.jsonl").exists()
    assert (phone.calls, second_phone.calls) == ([], [])


def test_no_adb(sam_bench, tiny_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert sam_bench(tiny_folder, device="android") == 2
    assert "no adb here: install Android's platform-tools, `pip install" in only_line(capsys)
    assert not (tmp_path / "p.jsonl").exists()
    assert cli.main(["devices"]) == 0
    assert "no adb here" in capsys.readouterr().out
    assert sam_bench(*ONCE, tiny_folder, device="host") == 0


@contextmanager
def server_of_version(number):
    """An adb server that tells its version and stays though it is asked to go; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer():
            while True:
                try:
                    caller, _ = listening.accept()
                except OSError:
                    return
                with caller:
                    asked = caller.recv(4 + int(caller.recv(4), 16)).decode()
                    caller.sendall(b"OKAY" + (b"0004%04x" % number if "version" in asked else b""))

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_an_adb_server_of_another_version(sam_bench, tiny_folder, tmp_path, monkeypatch, capsys):
    with server_of_version(39) as port:
        monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(port))
        assert sam_bench(tiny_folder, device="android") == 2
    said = only_line(capsys)
    assert "an adb server of version 39 runs here, and" in said
    assert "set SAM_EXPORT_ADB to the adb that started it" in said
    assert not (tmp_path / "p.jsonl").exists()
