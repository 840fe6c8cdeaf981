"""Memory, threads and cores of this process, on Linux and as other systems tell them."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from exporter.errors import RequestError
from runtimes import host_facts, process, windows
from runtimes.devices import host
from runtimes.engines import load_graph
from runtimes.process import crowding, peak_bytes

MB = 2**20


class Kernel:
    """Stands for Windows' kernel32: writes its answers where the real one does."""

    def __init__(self, told=1):
        self.told = told
        self.GetCurrentProcess = SimpleNamespace()
        self.GetCurrentProcess = type("Function", (), {"__call__": lambda self: -1})()
        self.K32GetProcessMemoryInfo = type("Function", (), {"__call__": self._process})()
        self.GlobalMemoryStatusEx = type("Function", (), {"__call__": self._machine})()

    def _process(self, handle, address, size):
        ctypes.c_size_t.from_address(address + 8).value = 300 * MB  # after two DWORDs
        assert size == ctypes.sizeof(ctypes.c_size_t) * 8 + 8
        return self.told

    def _machine(self, address):
        assert ctypes.c_uint32.from_address(address).value == 64
        ctypes.c_uint64.from_address(address + 8).value = 16 * 2**30
        return self.told


@pytest.fixture
def on_windows(monkeypatch):
    def use(told=1):
        monkeypatch.setattr(ctypes, "windll", SimpleNamespace(kernel32=Kernel(told)), raising=False)
        monkeypatch.setattr(process, "resource", None)
        monkeypatch.setattr(process, "Path", lambda name: Path("/nowhere"))

    return use


def test_windows_tells_the_peak(on_windows):
    on_windows()
    assert peak_bytes() == 300 * MB


def test_windows_tells_the_machines_memory(on_windows, monkeypatch):
    on_windows()
    monkeypatch.delattr("os.sysconf")
    assert host_facts.host_facts().memory_mb == 16 * 1024


def test_a_system_that_does_not_tell_gives_nothing(on_windows, monkeypatch):
    on_windows(told=0)
    assert (peak_bytes(), windows.memory_bytes()) == (0, 0)
    monkeypatch.delattr(ctypes, "windll")
    assert (peak_bytes(), windows.memory_bytes()) == (0, 0)


@pytest.mark.parametrize(("platform", "unit"), [("darwin", 1), ("linux", 1024)])
def test_the_peak_is_in_bytes_on_every_system(monkeypatch, platform, unit):
    usage = SimpleNamespace(ru_maxrss=5000)
    fake = SimpleNamespace(RUSAGE_SELF=0, getrusage=lambda who: usage)
    monkeypatch.setattr(process, "Path", lambda name: Path("/nowhere"))
    monkeypatch.setattr(process, "resource", fake)
    monkeypatch.setattr(sys, "platform", platform)
    assert peak_bytes() == 5000 * unit


def test_a_host_that_counts_no_load_is_no_busy_one(monkeypatch):
    monkeypatch.delattr("os.getloadavg")
    now = host_facts.host_condition()
    assert now.load is None
    assert host_facts.BUSY_NOTE not in now.notes


def test_without_affinity_every_core_may_be_used(monkeypatch):
    monkeypatch.delattr("os.sched_getaffinity", raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    assert process.allowed_cores() == (0, 1, 2)


def test_more_threads_than_cores_is_a_word():
    assert crowding(2, 2) == ""
    assert crowding(3, 1) == "3 threads on 1 core wait for each other"
    assert crowding(64, 8) == "64 threads on 8 cores wait for each other"


def test_the_host_measures_crowded_threads_up_to_a_bound(monkeypatch, caplog):
    monkeypatch.setattr(host, "allowed_cores", lambda: (0, 1))
    with host.HostDevice().open(host.Method(threads=8, cores="all")):
        assert "8 threads on 2 cores wait for each other" in caplog.text
    with (
        pytest.raises(RequestError, match=r"9 threads on 2 cores .* --threads 2, or 8 at most"),
        host.HostDevice().open(host.Method(threads=9, cores="all")),
    ):
        pass


@pytest.mark.parametrize("threads", [0, -1, 1025, 10**50])
def test_no_engine_starts_an_absurd_number_of_threads(tiny, threads):
    with pytest.raises(RequestError, match="threads must be 1 to 1024, not "):
        load_graph(tiny, "image_encoder", threads=threads)
