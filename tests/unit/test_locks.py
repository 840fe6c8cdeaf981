"""Locks of open files: between processes here, and as Windows locks."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from exporter import locks
from exporter.locks import lock

ROOT = Path(__file__).parents[2]
HOLD = """
import os, sys
from exporter.locks import lock
descriptor = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
lock(descriptor)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def descriptor(tmp_path):
    number = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT | os.O_APPEND)
    yield number
    os.close(number)


def test_another_process_keeps_us_out_until_it_ends(descriptor, tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path / "file"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    ) as holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(BlockingIOError):
            lock(descriptor, wait=False)
        with pytest.raises(BlockingIOError):
            lock(descriptor, shared=True, wait=False)
        holder.kill()
    lock(descriptor)


def test_readers_share(descriptor, tmp_path):
    other = os.open(tmp_path / "file", os.O_RDONLY)
    lock(descriptor, shared=True, wait=False)
    lock(other, shared=True, wait=False)
    os.close(other)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_locks_nothing(descriptor, monkeypatch, number):
    def flock(descriptor, how):
        raise OSError(number, os.strerror(number))

    fake = SimpleNamespace(LOCK_EX=2, LOCK_SH=1, LOCK_NB=4, flock=flock)
    monkeypatch.setattr(locks, "fcntl", fake)
    lock(descriptor)


class Msvcrt:
    """Locks bytes as Windows' C library: from the file's position on, and at once or not at all."""

    LK_NBLCK = 2

    def __init__(self, refusals):
        self.refusals = refusals
        self.locked = []

    def locking(self, descriptor, mode, count):
        assert mode == self.LK_NBLCK
        if self.refusals:
            self.refusals -= 1
            raise PermissionError(errno.EACCES, "Permission denied")
        self.locked.append((os.lseek(descriptor, 0, os.SEEK_CUR), count))


@pytest.fixture
def windows(monkeypatch):
    def use(refusals):
        fake = Msvcrt(refusals)
        monkeypatch.setattr(locks, "fcntl", None)
        monkeypatch.setattr(locks, "msvcrt", fake)
        monkeypatch.setattr(locks, "POLL_S", 0.0)
        return fake

    return use


def test_on_windows_a_byte_behind_every_file_stands_for_it(windows, descriptor, tmp_path):
    fake = windows(refusals=3)
    os.write(descriptor, b"line\n")
    lock(descriptor)
    assert fake.locked == [(locks.BYTE, 1)]
    os.write(descriptor, b"next\n")
    assert (tmp_path / "file").read_bytes() == b"line\nnext\n"


def test_on_windows_a_held_lock_is_told_at_once_if_asked(windows, descriptor):
    windows(refusals=1)
    with pytest.raises(BlockingIOError):
        lock(descriptor, wait=False)


def test_on_windows_readers_take_no_lock(windows, descriptor):
    fake = windows(refusals=0)
    lock(descriptor, shared=True)
    assert fake.locked == []


def test_a_system_with_neither_locks_nothing(descriptor, monkeypatch):
    monkeypatch.setattr(locks, "fcntl", None)
    monkeypatch.setattr(locks, "msvcrt", None)
    lock(descriptor, wait=False)
