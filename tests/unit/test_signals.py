"""SIGTERM and Ctrl-C: what was begun is put back first, and one line says how it ended."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager

import pytest

from exporter.signals import Terminated, terminable, uninterrupted
from profiles import cli, kinds
from tests.unit.profile_making import HOST, PHONE, FakeDevice


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
