"""A store that something damaged, or that is none: each line costs itself alone."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys

import pytest

from exporter.errors import ExportError, RequestError
from profiles import cli, lines
from profiles.store import Store
from tests.unit.profile_making import profile

ONE, TWO, THREE = (profile(seed=seed, repeats=1).to_line().encode() for seed in (1, 2, 3))
IDS = ["0000000001", "0000000002"]
NEWER = json.dumps({"schema_version": 3, "colour": "red"}).encode() + b"\n"


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "p.jsonl")


def read(store):
    """ids, and what was said."""
    said = []
    return [p.id for p in store.read(said.append)], said


DAMAGED = {
    "broken": b'{"bundle": broken\n',
    "not UTF-8": b'{"\xff\xfe"}\n',
    "words": b"# Notes\n",
    "a list": b"[1]\n",
    "a number": b"17\n",
    "binary": bytes(range(1, 10)) + bytes(range(11, 256)) + b"\n",
    "deep": b"[" * 100_000 + b"\n",
    "5,000 digits": b'{"schema_version": ' + b"9" * 5000 + b"}\n",
    "more than 64 bits": ONE.replace(b'"bytes":', b'"bytes":' + b"9" * 400),
    "infinite": b'{"schema_version": 1e999}\n',
    "no number": b'{"schema_version": NaN}\n',
    "a torn line glued to the next": ONE[:200] + TWO,
    "a field twice": ONE.replace(b'"label":', b'"label":"a","label":'),
    "zeros": bytes(5000) + b"\n",
}


@pytest.mark.parametrize("name", DAMAGED)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_damaged_line_costs_itself_alone(store, name, place):
    whole = [ONE, TWO]
    content = b"".join([*whole[:place], DAMAGED[name], *whole[place:]])
    store.path.write_bytes(content)
    ids, said = read(store)
    assert ids == IDS
    [line] = said
    assert line.startswith(f"{store.path} line {place + 1} ")
    assert line.endswith("; this line was left out")
    assert line.isprintable()
    assert store.ids() == set(IDS)
    assert store.path.read_bytes() == content  # reading changes nothing

    said.clear()
    store.append(profile(seed=3, repeats=1), said.append)
    aside = store.path.with_name("p.jsonl.torn")
    [line] = said
    assert line.startswith(f"{store.path} line {place + 1} is not JSON and was moved to ")
    assert aside.read_bytes() == DAMAGED[name]
    assert read(store) == ([*IDS, "0000000003"], [])
    assert store.path.read_bytes() == content.replace(
        DAMAGED[name], b" " * (len(DAMAGED[name]) - 1) + b"\n"
    ) + (THREE)


@pytest.mark.parametrize("blank", [b"\n", b"  \r\n", b"\t\n\n\n"])
def test_blank_lines_are_nothing(store, blank):
    store.path.write_bytes(blank + ONE + blank + TWO + blank)
    assert read(store) == (IDS, [])
    store.append(profile(seed=3))
    assert len(store.read()) == 3
    assert not store.path.with_name("p.jsonl.torn").exists()


def test_zeros_that_a_power_cut_left_before_a_line_cost_nothing(store):
    store.path.write_bytes(ONE + b"\0" * 5000 + TWO)
    assert read(store) == (IDS, [])


def test_line_ends_and_marks_of_windows_are_read(store):
    store.path.write_bytes(b"\xef\xbb\xbf" + (ONE + TWO).replace(b"\n", b"\r\n"))
    assert read(store) == (IDS, [])


@pytest.mark.parametrize("line", [NEWER, ONE.replace(b'"label":', b'"colour":1,"label":')])
def test_a_line_of_a_newer_release_is_told_of_and_stays(store, line):
    store.path.write_bytes(ONE + line + TWO)
    ids, [said] = read(store)
    assert ids == IDS
    assert "line 2" in said
    store.append(profile(seed=3, repeats=1))
    assert store.path.read_bytes() == ONE + line + TWO + THREE


def test_a_store_of_zeros_alone_can_be_written_to(store):
    store.path.write_bytes(bytes(5000))
    store.append(profile(seed=3, repeats=1))
    assert read(store) == (["0000000003"], [])


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (b'"memory_mb":8192', b'"memory_mb":-1', "line 2.device.memory_mb should be int >= 0"),
        (b'"runs":50', b'"runs":0', "line 2.method.runs should be int >= 1"),
        (b'"threads":2,"timed"', b'"threads":-4,"timed"', "threads should be int >= 1"),
        (b'"load_ns":', b'"load_ns":-', "load_ns should be int >= 0"),
        (b'"input_size":64', b'"input_size":0', "line 2.bundle.input_size should be int >= 1"),
    ],
)
def test_a_value_that_cannot_be_costs_its_line(store, before, after, words):
    assert before in TWO
    store.path.write_bytes(ONE + TWO.replace(before, after))
    ids, [said] = read(store)
    assert ids == IDS[:1]
    assert words in said


def test_the_time_of_a_line_is_one(store):
    store.path.write_bytes(ONE + TWO.replace(b'"created":"2', b'"created":"\\u001b2'))
    ids, [said] = read(store)
    assert ids == IDS[:1]
    assert "line 2.created should be a time" in said
    assert said.isprintable()


@pytest.mark.parametrize(
    "content",
    [b"# Notes\n", b"hello", b"[1]\n", bytes(range(256)) * 40, b"\xff\xfe\0{", b"{}", NEWER],
    ids=lambda content: str(content[:8]),
)
def test_a_file_that_is_no_store_is_refused_and_left_alone(store, content):
    store.path.write_bytes(content)
    for use in (store.read, store.ids):
        with pytest.raises(RequestError, match="line 1"):
            use()
    if content not in (b"{}", NEWER):  # those may be lines of another release
        with pytest.raises(RequestError, match="line 1 is not JSON"):
            store.append(profile())
        assert store.path.read_bytes() == content
    assert {path.name for path in store.path.parent.iterdir()} <= {"p.jsonl"}


def test_a_large_file_of_another_kind_is_not_read_to_its_end(store, monkeypatch):
    store.path.write_bytes(b"note\n" * 100_000)
    seen = []
    real = lines.Line.text
    monkeypatch.setattr(lines.Line, "text", lambda *a: (seen.append(1), real(*a))[1])
    with pytest.raises(RequestError, match="line 1 is not JSON"):
        store.read()
    assert len(seen) == 1000


def test_many_damaged_lines_are_counted(store):
    store.path.write_bytes(ONE + b"note\n" * 5000 + TWO)
    ids, said = read(store)
    assert ids == IDS
    assert len(said) == 4
    assert said[-1] == f"{store.path}: 4997 more lines likewise"


def test_a_line_of_100_mb_is_left_out_with_little_memory(store):
    with store.path.open("wb") as stream:
        stream.write(ONE + b'{"bundle":"')
        for _ in range(100):
            stream.write(b"x" * 10**6)
        stream.write(b'"}\n' + TWO)
    ids, [said] = read(store)
    assert ids == IDS
    assert "line 2 has 100000014 bytes, and no profile is so long" in said
    store.append(profile(seed=3, repeats=1))
    assert store.path.with_name("p.jsonl.torn").stat().st_size == 100_000_014
    assert [p.id for p in store.read()] == [*IDS, "0000000003"]


@pytest.mark.parametrize("line", [b"{", b'{"bun', ONE[:300], ONE[:-2]])
def test_a_torn_first_line_is_no_other_file(store, line):
    store.path.write_bytes(line)
    ids, [said] = read(store)
    assert ids == []
    assert "is torn and was left out" in said
    store.append(profile(seed=2, repeats=1))
    assert store.path.read_bytes() == TWO


def test_a_folder_is_a_wrong_request(tmp_path):
    store = Store(tmp_path)
    for use in (store.read, store.ids, lambda: store.append(profile())):
        with pytest.raises(RequestError, match="Is a directory"):
            use()


def test_a_device_is_no_store():
    with pytest.raises(RequestError, match="/dev/zero is a device"):
        Store(type(Store().path)("/dev/zero")).read()


def test_a_store_may_come_through_a_pipe(store, tmp_path):
    os.mkfifo(store.path)
    writer = subprocess.Popen(["sh", "-c", 'cat > "$0"', str(store.path)], stdin=subprocess.PIPE)
    writer.stdin.write(ONE + TWO)
    writer.stdin.close()
    assert read(store) == (IDS, [])
    writer.wait()


FULL = """
import resource, sys
from pathlib import Path
from profiles.store import Store
from tests.unit.profile_making import profile
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
Store(Path(sys.argv[1])).append(profile(seed=3, repeats=1))
"""


@pytest.mark.parametrize("room", [0, 1, 100])
def test_a_disk_that_is_full_is_named_and_the_store_is_as_it_was(store, room):
    store.path.write_bytes(ONE * 3 + TWO)
    before = store.path.read_bytes()
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(store.path), str(len(before) + room)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"ExportError: cannot write {store.path} (File too large): free some" in done.stderr
    assert store.path.read_bytes() == before
    assert [path.name for path in store.path.parent.iterdir()] == ["p.jsonl"]


def test_a_disk_that_is_full_for_what_is_set_aside_is_named(store, monkeypatch):
    store.path.write_bytes(ONE + b"note\n")
    real = os.write

    def write(descriptor, data):
        if bytes(data) == b"note\n":
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data)

    monkeypatch.setattr("profiles.store.os.write", write)
    with pytest.raises(ExportError, match=rf"cannot write {store.path}\.torn \(No space"):
        store.append(profile())
    assert store.path.read_bytes() == ONE + b"note\n"


def test_every_command_that_reads_tells_and_goes_on(store, capsys):
    store.path.write_bytes(ONE + b"note\n" + TWO)
    before = store.path.read_bytes()
    place = ["--store", str(store.path)]
    for words in (["list"], ["compare", *IDS], ["report", "--markdown", f"{store.path}.md"]):
        assert cli.main([*words, *place]) == 0
        [line] = capsys.readouterr().err.splitlines()
        assert line.startswith(f"sam-bench: {store.path} line 2 is not JSON: ")
        assert line.endswith("; this line was left out")
    assert store.path.read_bytes() == before


KILLED = """
import sys
from pathlib import Path
from profiles.store import Store
from tests.unit.profile_making import profile
store, first = Store(Path(sys.argv[1])), int(sys.argv[2])
made = [profile(seed=first + i, repeats=1) for i in range(200)]
print(flush=True)
for one in made:
    store.append(one)
"""


def test_killed_writers_lose_at_most_the_line_that_they_wrote(store):
    for round_ in range(5):
        words = [sys.executable, "-c", KILLED, str(store.path), str(1000 * round_)]
        writer = subprocess.Popen(words, stdout=subprocess.PIPE)
        writer.stdout.readline()
        while not store.path.exists() or store.path.stat().st_size < (round_ + 1) * 10 * len(ONE):
            assert writer.poll() is None
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    ids, said = read(store)
    assert len(said) <= 1
    by_writer = [[int(i, 16) for i in ids if int(i, 16) // 1000 == n] for n in range(5)]
    assert all(
        seen == list(range(1000 * n, 1000 * n + len(seen))) for n, seen in enumerate(by_writer)
    )
    store.append(profile(seed=9999))
    assert len(store.read()) == len(ids) + 1


def test_reading_needs_little_more_memory_than_the_profiles(store):
    """Half a gigabyte of one line, with no room to hold it."""
    code = (
        "import resource, sys\nfrom pathlib import Path\nfrom profiles.store import Store\n"
        "resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[2]),) * 2)\n"
        "print(len(Store(Path(sys.argv[1])).read()))\n"
    )
    store.path.write_bytes(ONE)
    os.truncate(store.path, 2**29)  # zeros that take no room on the disk
    with store.path.open("ab") as stream:
        stream.write(b"\n" + TWO)
    done = subprocess.run(
        [sys.executable, "-c", code, str(store.path), str(2**30)],
        capture_output=True,
        text=True,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        check=False,
    )
    assert done.stdout == "2\n", done.stderr
