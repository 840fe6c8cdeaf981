from __future__ import annotations

import errno
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace

import pytest

from exporter.bundle import claim as claims
from exporter.bundle import owner as owners
from exporter.bundle.claim import Claim, claim, lock_of
from exporter.bundle.owner import STALE_S, Owner, ourselves, parse_owner
from exporter.errors import RequestError

HOLD = """
import sys
from pathlib import Path
from exporter.bundle.claim import Claim
mine = Claim(Path(sys.argv[1]))
print(mine.acquire(), flush=True)
sys.stdin.read()
"""


def taken(holder):
    return RequestError(f"taken by {holder}")


def refused(path):
    """The holder that a claim is refused for."""
    with pytest.raises(RequestError, match="taken by ") as caught, claim(path, taken):
        pass
    return str(caught.value).removeprefix("taken by ")


def is_free(path):
    with claim(path, taken) as mine:
        return mine.held()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "thing"


@pytest.fixture
def holder(path):
    """Another process that holds `path`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "\n"
    yield process
    process.kill()
    process.communicate()


@pytest.fixture(params=["flock", "no flock", "no fcntl", "no links", "nothing"])
def system(request, monkeypatch):
    """What a file system or an operating system does not have."""

    def unable(*_):
        raise OSError(errno.EOPNOTSUPP, "not supported")

    if request.param in ("no flock", "nothing"):
        monkeypatch.setattr(claims.fcntl, "flock", unable)
    if request.param == "no fcntl":
        monkeypatch.setattr(claims, "fcntl", None)
    if request.param in ("no links", "nothing"):
        monkeypatch.setattr(claims.os, "link", unable)
    return request.param


def write_lock(path, age=0.0, **changes):
    """A lock that nobody holds, as a dead process left it."""
    owner = replace(ourselves("0" * 16, locked=False), **changes)
    lock = lock_of(path)
    lock.write_text(json.dumps(asdict(owner)))
    os.utime(lock, (time.time() - age,) * 2)  # noqa: TID251 - the file system's clock
    return owner


def dead_pid():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


ELSEWHERE = {"machine": "another boot", "host": "elsewhere", "pid": 1}
OTHER_CONTAINER = {"namespace": "pid:[1]", "host": "3f2a9c", "pid": 1}


def test_one_holds_it_and_leaves_nothing(system, path):
    with claim(path, taken) as mine:
        assert mine.held()
        assert f"process {os.getpid()} on " in refused(path)
        assert mine.held()
        assert [p.name for p in path.parent.iterdir()] == [".thing.lock"]
    assert not mine.held()
    assert list(path.parent.iterdir()) == []
    assert is_free(path)


def test_threads_of_one_process_are_kept_apart(system, path):
    inside, most, start = [], [], threading.Barrier(6)

    def work():
        start.wait()
        with claim(path, lambda _: None):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.02)
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert most == [1] * 6
    assert list(path.parent.iterdir()) == []


def _count_up(path):
    for _ in range(20):
        with claim(path, lambda _: None):
            number = int(path.read_text())
            time.sleep(0.001)
            path.write_text(str(number + 1))


def test_processes_are_kept_apart(path):
    path.write_text("0")
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=_count_up, args=(path,)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert path.read_text() == "80"


def test_a_live_process_is_named(holder, path):
    assert refused(path).startswith(f"process {holder.pid} on ")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_process_that_was_killed_holds_nothing(holder, path, number):
    holder.send_signal(number)
    holder.wait()
    assert lock_of(path).is_file()
    assert is_free(path)


def test_a_process_that_was_stopped_still_holds_it_however_long(holder, path):
    holder.send_signal(signal.SIGSTOP)
    os.utime(lock_of(path), (0, 0))
    assert f"process {holder.pid} " in refused(path)


def test_a_child_that_inherited_the_lock_does_not_hold_it(path):
    code = HOLD.replace("sys.stdin.read()", "") + (
        "import os, time\nif not os.fork():\n    time.sleep(60)\nelse:\n    os._exit(0)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdout=subprocess.DEVNULL, start_new_session=True
    )
    process.wait()
    try:
        assert is_free(path)
    finally:
        os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("age", "changes", "free"),
    [
        (0, {"pid": 10**9}, True),
        (10**6, {"pid": os.getppid(), "started": ""}, False),
        (0, {"pid": os.getppid(), "started": "1"}, True),
        (0, {"pid": 2**80}, True),
        (10**6, {}, True),
        (0, ELSEWHERE, False),
        (STALE_S - 20, ELSEWHERE, False),
        (STALE_S + 20, ELSEWHERE, True),
        (-STALE_S - 20, ELSEWHERE, True),
        (STALE_S + 20, ELSEWHERE | {"locked": True}, True),
        (0, ELSEWHERE | {"locked": True}, False),
        (0, OTHER_CONTAINER, False),
        (STALE_S + 20, OTHER_CONTAINER, True),
        (0, OTHER_CONTAINER | {"locked": True}, True),
    ],
    ids=str,
)
def test_a_dead_holder_is_told_from_a_live_one(path, age, changes, free):
    if changes.get("started") == "":
        changes = changes | {"started": owners._started(str(os.getppid()))}
    owner = write_lock(path, age, **changes)
    if free:
        assert is_free(path)
    else:
        assert refused(path) == str(owner)
        assert parse_owner(lock_of(path).read_bytes()) == owner


def test_a_zombie_holds_nothing(path):
    process = subprocess.Popen([sys.executable, "-c", ""])
    while owners._started(str(process.pid))[:5] != "ended":
        time.sleep(0.01)
    write_lock(path, pid=process.pid)
    assert is_free(path)
    process.wait()


def test_windows_is_never_asked_for_a_process(path, monkeypatch):
    def kill(pid, number):
        raise AssertionError("os.kill would end the process there")

    monkeypatch.setattr(owners.os, "kill", kill)
    monkeypatch.setattr(owners, "WINDOWS", True)
    assert owners._runs(replace(ourselves("1", locked=False), pid=os.getppid())) is None


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 99, b"{", b"[" * 4000, b"[1]", b'{"pid": 1}', b"\xff\xfe", b"9" * 9000],
    ids=lambda content: str(content[:6]),
)
def test_a_lock_that_says_nothing_is_believed_for_a_while(path, content):
    lock_of(path).write_bytes(content)
    assert refused(path) == "a process that has not said who it is"
    os.utime(lock_of(path), (0, 0))
    assert is_free(path)


@pytest.mark.parametrize("field", ["token", "host", "since", "pid", "locked", "started"])
def test_a_lock_with_wrong_types_says_nothing(field):
    data = asdict(ourselves("1", locked=True)) | {field: ["x"]}
    assert parse_owner(json.dumps(data).encode()) is None


def test_what_a_lock_says_is_shown_without_control_characters():
    owner = Owner("", "\x1b[31m" + "x" * 999, "", "", 1, "", "now\n", locked=False)
    assert str(owner).isprintable()
    assert len(str(owner)) < 200


def test_a_holder_gives_signs_of_life(path, monkeypatch):
    monkeypatch.setattr(claims, "BEAT_S", 0.02)
    with claim(path, taken):
        os.utime(lock_of(path), (0, 0))
        end = time.monotonic() + 10
        while lock_of(path).stat().st_mtime < 1 and time.monotonic() < end:
            time.sleep(0.01)
        assert lock_of(path).stat().st_mtime > 1


def test_a_claim_that_was_taken_over_is_not_touched(path):
    mine = Claim(path)
    assert mine.acquire() == ""
    lock_of(path).unlink()
    theirs = write_lock(path, **ELSEWHERE)
    assert not mine.held()
    mine.release()
    assert parse_owner(lock_of(path).read_bytes()) == theirs


def test_waiting_is_told_once(holder, path):
    told = []

    def waiting(who):
        told.append(who)
        threading.Timer(0.8, holder.kill).start()

    with claim(path, waiting):
        pass
    assert len(told) == 1
    assert f"process {holder.pid} " in told[0]


def test_leftovers_of_making_a_lock_are_swept(path):
    old, new = (path.with_name(f".thing.lock-{word}") for word in ("old", "new"))
    for leftover in (old, new):
        leftover.touch()
    os.utime(old, (0, 0))
    assert is_free(path)
    assert [p.name for p in path.parent.iterdir()] == [new.name]


def test_a_full_disk_leaves_no_lock(system, path, monkeypatch):
    def full(descriptor, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(claims.os, "write", full)
    with pytest.raises(OSError, match="No space left"):
        is_free(path)
    assert list(path.parent.iterdir()) == []


def test_names_with_glob_characters_are_claimed_too(tmp_path):
    assert is_free(tmp_path / "a[b]*?")
    assert list(tmp_path.iterdir()) == []
