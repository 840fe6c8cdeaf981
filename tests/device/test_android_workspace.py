"""Files on a simulated phone: pushed by hash, whole or not at all, within a budget."""

from __future__ import annotations

import hashlib
import os

import pytest

from android_harness.adb import connection as connections
from android_harness.errors import ReadOnlyError
from android_harness.workspace import BIG, MARGIN, DeviceStore, Item, clear
from exporter.errors import DeviceError, DeviceLostError
from runtimes.remote.errors import NoSpaceError
from tests.device.android_kit import connection_to, look_at, ours, runs_on


@pytest.fixture
def store(phone, adb_environment, monkeypatch):
    look_at(adb_environment, monkeypatch)
    return DeviceStore(connection_to(phone), f"android:{phone.serial}")


def files(phone):
    return phone.tmp / "sam-export/files"


def item(name, content, executable=False):
    return Item(name, content, hashlib.sha256(content).hexdigest(), executable)


def test_what_is_missing_is_pushed_and_nothing_else(store, phone, tmp_path):
    (tmp_path / "model").write_bytes(b"m" * 1000)
    items = [Item.of("bundle-1/model.onnx", tmp_path / "model"), item("runner", b"#!", True)]
    assert store.ensure(items) == 1002
    assert (files(phone) / "bundle-1/model.onnx").read_bytes() == b"m" * 1000
    assert os.access(files(phone) / "runner", os.X_OK)
    assert not os.access(files(phone) / "bundle-1/model.onnx", os.X_OK)
    assert ours(phone) == ["files", "files/bundle-1", "files/bundle-1/model.onnx", "files/runner"]
    phone.commands.clear()
    assert store.ensure(items) == 0
    assert len(phone.commands) == 2
    assert store.ensure([*items, item("in.bin", b"new")]) == 3


def test_a_stale_file_of_the_same_size_is_replaced(store, phone):
    store.ensure([item("model", b"good")])
    (files(phone) / "model").write_bytes(b"evil")
    assert store.ensure([item("model", b"good")]) == 4
    assert (files(phone) / "model").read_bytes() == b"good"


def test_one_content_under_two_names(store, phone):
    assert store.ensure([item("a", b"same"), item("b", b"same"), item("d/c", b"same")]) == 12
    assert {(files(phone) / n).read_bytes() for n in ("a", "b", "d/c")} == {b"same"}


def test_many_files_take_few_trips(store, phone):
    phone.commands.clear()
    store.ensure([item(f"in-{n}.bin", bytes([n]) * 5000) for n in range(40)])
    assert len(phone.commands) <= 5


def test_a_big_file_is_told(store, phone, caplog):
    caplog.set_level("INFO", "sam_export.device")
    store.ensure([item("weights", bytes(BIG)), item("small", b"x")])
    assert "pushing weights, 16 MB" in caplog.text
    assert "small" not in caplog.text
    assert (files(phone) / "weights").stat().st_size == BIG


def test_a_full_device_is_refused_before_a_byte_is_sent(store, phone, faults):
    faults.storage_bytes = 8 << 20
    with pytest.raises(NoSpaceError, match=r"is full: 117 MB are needed .* and [78] MB are free"):
        store.ensure([item("weights", bytes(100 << 20))])
    assert [name for name in ours(phone) if "." in name or len(name) > 20] == []


def test_a_device_that_fills_up_meanwhile_keeps_nothing_half(store, phone, faults, monkeypatch):
    before = connections.Connection.push

    def push(self, sources, folder):
        faults.storage_bytes = 1 << 20  # someone else wrote just now
        before(self, sources, folder)

    monkeypatch.setattr(connections.Connection, "push", push)
    with pytest.raises(NoSpaceError, match=r"is full: 21 MB are needed .* and [01] MB are free"):
        store.ensure([item("weights", bytes(4 << 20))])
    assert ours(phone) == ["files"]


def test_what_was_unused_for_longest_makes_room(store, phone, faults):
    for age, name in enumerate(("old", "older", "oldest")):
        store.ensure([item(name, name.encode() * 100_000)])
        then = 1_700_000_000 - 1000 * age
        os.utime(files(phone) / name, (then, then))
    faults.storage_bytes = MARGIN + 1_300_000 + 200_000
    assert store.ensure([item("older", b"older" * 100_000), item("new", b"n" * 600_000)]) == 600_000
    assert sorted(p.name for p in files(phone).iterdir()) == ["new", "old", "older"]


def test_the_budget_is_kept_but_never_at_the_cost_of_this_run(store, phone):
    small = DeviceStore(store.connection, store.device, budget=1000)
    small.ensure([item("first", b"a" * 600)])
    small.ensure([item("second", b"b" * 600)])
    assert [p.name for p in files(phone).iterdir()] == ["second"]
    small.ensure([item("second", b"b" * 600), item("third", b"c" * 600)])
    assert sorted(p.name for p in files(phone).iterdir()) == ["second", "third"]


def test_what_arrives_damaged_is_not_kept(store, phone):
    wrong = Item("model", b"content", "0" * 64)
    with pytest.raises(DeviceError, match="model arrived damaged"):
        store.ensure([wrong])
    assert ours(phone) == ["files"]


def test_a_cable_pulled_during_the_push_leaves_no_file_with_a_name(
    store, phone, faults, adb_server
):
    faults.drop_after_bytes = 1 << 20
    with pytest.raises(DeviceLostError, match="went away during `adb push"):
        store.ensure([item("weights", bytes(8 << 20))])
    assert not (files(phone) / "weights").exists()
    phone.plug()
    faults.drop_after_bytes = None
    assert store.connection.reconnect(10)
    assert store.ensure([item("weights", bytes(8 << 20))]) == 8 << 20
    assert ours(phone) == ["files", "files/weights"]


def test_a_read_only_device(store, faults):
    faults.read_only = ("/data/local/tmp/sam-export",)
    with pytest.raises(ReadOnlyError, match="cannot be written"):
        store.ensure([item("a", b"a")])


def test_clear_removes_everything_and_ends_what_runs(store, phone):
    assert clear(store.connection) == 0
    store.ensure([item("weights", bytes(1 << 20))])
    script = "mkdir /data/local/tmp/sam-export/run-1; cd /data/local/tmp/sam-export/run-1; "
    store.connection.check(script + "sleep 1000 > /dev/null 2>&1 &")
    assert any("sleep 1000" in line for line in phone.processes())
    assert clear(store.connection) >= 1 << 20
    assert phone.files() == []
    assert runs_on(phone) == []


def test_files_of_this_run_are_kept_though_they_are_not_asked_for_again(store, phone):
    small = DeviceStore(store.connection, store.device, budget=1000)
    small.ensure([item("first", b"a" * 600)])
    small.ensure([item("second", b"b" * 600)], keep={"first"})
    assert sorted(p.name for p in files(phone).iterdir()) == ["first", "second"]


def test_a_device_without_sha256sum(store, monkeypatch):
    before = connections.Connection.ask

    def ask(self, parts, deadline):
        without = {name: f"PATH=/nowhere; {part}" for name, part in parts.items()}
        return before(self, without, deadline)

    monkeypatch.setattr(connections.Connection, "ask", ask)
    with pytest.raises(DeviceError, match="has no sha256sum: use Android 8"):
        store.ensure([item("a", b"a")])
