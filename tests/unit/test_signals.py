"""SIGTERM and Ctrl-C: what was begun is put back first, and one line says how it ended."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress

import pytest

from exporter.signals import Terminated, terminable, uninterrupted
from profiles import cli, kinds
from tests.fakes import signals as loop
from tests.unit.profile_making import HOST, PHONE, FakeDevice
from tests.unit.tiny_bundle import build


@pytest.fixture(autouse=True)
def handler():
    """What whoever runs `main` does with SIGTERM: here nothing, so that it ends no test."""

    def unheard(number, frame):
        pass

    before = signal.signal(signal.SIGTERM, unheard)
    yield unheard
    signal.signal(signal.SIGTERM, before)


class Terminating(FakeDevice):
    """Its first session ends with SIGTERM; another comes while it is put back."""

    @contextmanager
    def open(self, method):
        try:
            yield self
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            self.undone = True

    def run_session(self, bundle):
        made = super().run_session(bundle)
        os.kill(os.getpid(), signal.SIGTERM)
        return made


@pytest.fixture
def measure(tiny_folder, tmp_path, monkeypatch):
    """`sam-bench BUNDLE` on a device, with a store of its own; the exit status."""

    def run(device):
        monkeypatch.setattr(kinds, "find", lambda _: device)
        return cli.main([str(tiny_folder), "--store", str(tmp_path / "p.jsonl"), "--quiet"])

    return run


def only_line(capsys):
    [line] = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize("known", [HOST, PHONE], ids=["here", "in a thread"])
def test_sigterm_ends_as_ctrl_c_does(known, measure, handler, capsys):
    device = Terminating(known)
    assert measure(device) == 143
    assert only_line(capsys).startswith("sam-bench: terminated; finished repeats are kept: give")
    assert device.undone
    assert sum("session" in step for step in device.log) == 1
    assert signal.getsignal(signal.SIGTERM) is handler


def test_ctrl_c_is_still_told_apart(measure, capsys):
    device = FakeDevice(HOST)
    device.fail = {"tiny-onnx-fp32 session": KeyboardInterrupt()}
    assert measure(device) == 130
    assert only_line(capsys).startswith("sam-bench: interrupted; ")


def test_the_handler_is_put_back_after_every_end(measure, handler):
    device = FakeDevice(HOST)
    device.fail = {"tiny-onnx-fp32 session": ValueError("a bug")}
    assert measure(device) == 1
    assert signal.getsignal(signal.SIGTERM) is handler
    assert cli.main(["devices"]) == 0
    assert signal.getsignal(signal.SIGTERM) is handler


def test_main_may_run_in_a_thread(measure, handler):
    statuses = []
    thread = threading.Thread(target=lambda: statuses.append(measure(FakeDevice(HOST))))
    thread.start()
    thread.join(60)
    assert statuses == [0]
    assert signal.getsignal(signal.SIGTERM) is handler


def test_a_sigterm_that_is_ignored_stays_so():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with terminable():
        os.kill(os.getpid(), signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN


@pytest.mark.parametrize(
    ("number", "kind"), [(signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt)]
)
def test_nothing_stops_the_putting_back(number, kind):
    steps = []

    def put_back():
        with uninterrupted():
            for _ in range(2):
                os.kill(os.getpid(), number)
            steps.append("put back")
        steps.append("went on")

    with pytest.raises(KeyboardInterrupt) as caught, terminable():
        put_back()
    assert caught.type is kind
    assert steps == ["put back"]


def go_on(seconds=20):
    """Work that nothing but an exception stops."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


class Losing:
    """Its end sends SIGTERM, and loses what that raises, as every destructor does."""

    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        for _ in range(100):  # here it is raised
            pass


def test_an_end_that_a_destructor_lost_comes_again_and_nobody_hears_of_the_loss(capsys):
    start = time.monotonic()

    def work():
        Losing()
        go_on()

    with pytest.raises(Terminated), terminable():
        work()
    assert time.monotonic() < start + 10
    assert capsys.readouterr().err == ""


def test_an_end_that_was_swallowed_comes_again():
    start = time.monotonic()

    def work():
        with suppress(BaseException):
            os.kill(os.getpid(), signal.SIGTERM)
        go_on()

    with pytest.raises(Terminated), terminable():
        work()
    assert time.monotonic() < start + 10


@pytest.mark.parametrize(
    ("number", "kind"), [(signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt)]
)
def test_an_end_that_became_an_error_is_an_end(number, kind):
    def work():
        try:
            os.kill(os.getpid(), number)
        except KeyboardInterrupt:
            raise ImportError("initialization failed") from None

    with pytest.raises(KeyboardInterrupt) as caught, terminable():
        work()
    assert caught.type is kind


def test_an_end_in_the_last_moment_is_told_as_one():
    with pytest.raises(Terminated), terminable(), suppress(BaseException):
        os.kill(os.getpid(), signal.SIGTERM)


def test_a_long_clean_up_is_not_stopped_by_what_comes_again():
    steps = []

    def clean_up():
        for _ in range(8):
            time.sleep(0.1)
            steps.append("step")

    def work():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            with suppress(ValueError):
                clean_up()
                raise ValueError

    with pytest.raises(Terminated), terminable():
        work()
    assert len(steps) == 8


def test_errors_pass_if_nothing_came():
    with pytest.raises(ImportError, match=r"^no$"), terminable():
        raise ImportError("no")


def test_ctrl_c_while_a_command_starts_is_one_line():
    """What the interpreter does before it runs our first line is out of our reach."""
    code = (
        "import importlib, signal, sys; from exporter import start\n"
        "def stopped(name):\n    signal.raise_signal(signal.SIGINT)\n"
        "importlib.import_module = stopped\n"
        "start.sam_run()"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (ran.returncode, ran.stderr) == (130, b"sam-run: interrupted\n")


def test_a_ctrl_c_that_is_ignored_stays_so():
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "import sys; sys.argv = ['sam-export', '--version']; from exporter import start\n"
        "try:\n    start.sam_export()\nexcept SystemExit:\n    pass\n"
        "assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("command", ["run", "bench"])
def test_commands_stopped_at_any_moment_end_with_143_and_one_line(command, tmp_path):
    """A few moments; `python -m tests.fakes.signals` tries hundreds."""
    build(tmp_path / "tiny")
    place = loop.Place(tmp_path, (tmp_path / "tiny",))
    tally = loop.run(command, place, 6, signal.SIGTERM, undisturbed=1)
    assert tally.faults == []
    assert sum(tally.ended.values()) == 6
    assert set(tally.ended) <= {"told and ended", "by the signal", "had ended", "ended as it did"}


@pytest.mark.parametrize(
    ("number", "end"), [(signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt)]
)
def test_an_import_is_finished_before_a_signal_ends_the_block(number, end, tmp_path, monkeypatch):
    """A module of C++ whose start is stopped ends the process with SIGABRT."""
    name = f"slow_to_start_{number}"
    text = f"import os\nos.kill(os.getpid(), {int(number)})\nwhole = True\n"
    (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    before, whole = signal.getsignal(signal.SIGINT), []

    def block():
        whole.append(importlib.import_module(name).whole)
        time.sleep(10)

    with pytest.raises(end) as raised, terminable():
        block()
    assert raised.type is end
    assert whole == [True]
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no terminals that hang up here")
def test_a_closed_terminal_is_an_end_as_any_other():
    before, undone = signal.getsignal(signal.SIGHUP), []

    def work():
        try:
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(5)
        finally:
            undone.append(True)

    with pytest.raises(Terminated), terminable():
        work()
    assert undone
    assert signal.getsignal(signal.SIGHUP) is before
