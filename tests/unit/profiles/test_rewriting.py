"""A store is rewritten whole or not at all, and the old one is kept."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import threading
import time

import pytest

from exporter.errors import ExportError, RequestError
from profiles import cli, rewriting
from profiles.rewriting import reclassed, rewrite
from profiles.store import Store
from tests.unit.profile_making import HOST, PHONE, profile

GENYMOTION = dataclasses.replace(
    PHONE, soc="vbox86", model="Pixel 3", device="android:10.0.0.5:5555"
)
TENSOR = dataclasses.replace(
    PHONE, soc="Google Tensor G3", build="google/shiba/shiba:15/AP4A/1:user/release-keys"
)


@pytest.fixture
def store(tmp_path):
    """As an earlier release left it: an emulator, a phone and an unproven one, all as phones."""
    made = Store(tmp_path / "profiles.jsonl")
    for seed, device in enumerate((GENYMOTION, TENSOR, PHONE, HOST)):
        made.append(profile(seed=seed, device=device))
    lines = [json.loads(line) for line in made.path.read_text().splitlines()]
    for line in lines:
        del line["device"]["evidence"], line["device"]["class_reason"]
    made.path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return made


def classes(store):
    return [p.device.device_class for p in store.read()]


def test_rows_of_an_earlier_release_are_classed_by_what_they_show(store):
    before = store.path.read_bytes()
    done = rewrite(store, reclassed)
    assert classes(store) == ["emulator", "phone", "unknown", "host"]
    assert [(a.device.device_class, b.device.device_class) for a, b in done.changed] == [
        ("phone", "emulator"),
        ("phone", "unknown"),
    ]
    assert "vbox" in done.changed[0][1].device.class_reason
    assert done.total == 4
    assert done.kept == store.path.with_name("profiles.jsonl.old")
    assert done.kept.read_bytes() == before
    old, new = before.splitlines(), store.path.read_bytes().splitlines()
    assert (old[1], old[3]) == (new[1], new[3])
    assert rewrite(store, reclassed).kept is None


def test_only_the_class_of_a_row_changes(store):
    before = store.read()
    rewrite(store, reclassed)
    for old, new in zip(before, store.read(), strict=True):
        device = dataclasses.replace(new.device, device_class="phone", class_reason="")
        assert dataclasses.replace(new, device=device).repeats == old.repeats
        if old.device.device_class == "phone":
            assert dataclasses.replace(new, device=device) == old


def test_an_old_file_is_never_replaced(store):
    (store.path.parent / "profiles.jsonl.old").write_text("mine")
    assert rewrite(store, reclassed).kept.name == "profiles.jsonl.old-2"
    assert (store.path.parent / "profiles.jsonl.old").read_text() == "mine"


def test_where_files_have_one_name_the_old_one_is_copied(store, monkeypatch):
    def refuse(self, target):
        raise PermissionError(1, "Operation not permitted")

    before = store.path.read_bytes()
    monkeypatch.setattr("pathlib.Path.hardlink_to", refuse)
    assert rewrite(store, reclassed).kept.read_bytes() == before
    assert classes(store)[0] == "emulator"


def test_looking_changes_nothing(store):
    before = sorted(store.path.parent.iterdir()), store.path.read_bytes()
    done = rewrite(store, reclassed, only_look=True)
    assert (len(done.changed), done.kept) == (2, None)
    assert (sorted(store.path.parent.iterdir()), store.path.read_bytes()) == before


def test_a_line_of_another_release_stays_and_a_damaged_one_is_set_aside(store):
    lines, other = store.path.read_bytes().splitlines(keepends=True), b'{"schema_version": 99}\n'
    store.path.write_bytes(b"".join([lines[0], b"{broken}\n", other, b"\n", *lines[1:]]))
    told = []
    assert rewrite(store, reclassed, told.append).total == 4
    assert store.path.read_bytes().splitlines(keepends=True)[1] == other
    assert store.path.with_name("profiles.jsonl.torn").read_bytes() == b"{broken}\n"
    assert [line for line in told if "line 3" in line and "left as it is" in line]


def test_a_disk_that_is_full_leaves_the_store_as_it_was(store, monkeypatch):
    def full(descriptor, data):
        raise OSError(28, "No space left on device")

    before = store.path.read_bytes()
    monkeypatch.setattr(rewriting, "write_whole", full)
    with pytest.raises(ExportError, match=r"profiles\.jsonl .No space left on device"):
        rewrite(store, reclassed)
    assert store.path.read_bytes() == before
    assert [path.name for path in store.path.parent.iterdir()] == ["profiles.jsonl"]


def test_what_is_appended_meanwhile_is_not_lost(store):
    late = profile(seed=9, device=HOST)
    writer = threading.Thread(target=store.append, args=(late,))

    def change(one):
        if not writer.is_alive():
            writer.start()
            time.sleep(0.3)  # it has opened the old file by now, and waits for its lock
        return reclassed(one)

    rewrite(store, change)
    writer.join(10)
    assert [p.id for p in store.read()][-1] == late.id
    assert len(store.read()) == 5


def test_a_process_that_dies_while_it_writes_leaves_the_store_whole(store):
    before = store.path.read_bytes()
    program = (
        "import os, sys; from pathlib import Path; from profiles import rewriting as r\n"
        "r.Path.replace = lambda *a: os._exit(9)\n"
        "r.rewrite(r.Store(Path(sys.argv[1])), r.reclassed)\n"
    )
    ran = subprocess.run([sys.executable, "-c", program, store.path], env=os.environ, check=False)
    assert ran.returncode == 9
    assert store.path.read_bytes() == before
    assert len(rewrite(store, reclassed).changed) == 2


def test_without_a_store_nothing_is_made(tmp_path):
    with pytest.raises(RequestError, match="there is no store"):
        rewrite(Store(tmp_path / "none.jsonl"), reclassed)
    assert list(tmp_path.iterdir()) == []


def test_the_command_says_what_changed_and_why(store, capsys):
    assert cli.main(["reclass", "--store", str(store.path), "--dry-run"]) == 0
    assert "2 of 4 measurements would be of another class" in capsys.readouterr().err
    assert cli.main(["reclass", "--store", str(store.path)]) == 0
    said = capsys.readouterr()
    row = next(line for line in said.out.splitlines() if "10.0.0.5" in line)
    assert row.split()[-5:] == ["phone", "emulator", "ro.soc.model", "says", "vbox"]
    assert f"the store as it was is {store.path}.old" in said.err
    assert cli.main(["reclass", "--store", str(store.path), "--json"]) == 0
    said = capsys.readouterr()
    assert (json.loads(said.out), "each of 4 measurements is of its class" in said.err) == (
        [],
        True,
    )


def test_a_budget_of_phones_no_longer_sees_what_was_none(store, capsys):
    command = ["check", "--budget", "phone", "--store", str(store.path), "--json"]
    cli.main(command)
    # Of one bundle on two devices that looked like phones: the last of each device.
    seen = {row["device"] for row in json.loads(capsys.readouterr().out)}
    assert seen == {"android:10.0.0.5:5555", "android:A1"}
    rewrite(store, reclassed)
    cli.main(command)
    assert {row["device"] for row in json.loads(capsys.readouterr().out)} == {"android:A1"}
