from __future__ import annotations

import dataclasses
import datetime
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from exporter.bundle.folder import open_bundle
from exporter.bundle.manifest import Figure
from exporter.errors import ExportError, ParityError, RequestError, RunnerError
from exporter.progress import silent
from profiles.collect import collect
from profiles.journal import EXPIRY_HOURS, Work, folder_of
from profiles.numbers.summary import summarise
from profiles.schema import bundle_facts
from profiles.store import Store
from runtimes.device import Method
from tests.unit.profile_making import COOL, HOST, HOT, PHONE, FakeDevice, plan
from tests.unit.tiny_bundle import Recipe, build, reseal

ROOT = Path(__file__).parents[3]
A, B = "tiny-onnx-fp32", "other-onnx-fp32"


@pytest.fixture(scope="module")
def other_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles") / B
    build(folder, Recipe(batch=2))
    return folder


@pytest.fixture
def store(tmp_path):
    return tmp_path / "p.jsonl"


def test_the_steps_and_their_order(store, tiny_folder, other_folder) -> None:
    device = FakeDevice()
    outcome = collect(plan(store, tiny_folder, other_folder, repeats=2), [device], silent)
    turn = [
        line
        for name in (A, B)
        for line in ("cool 0", f"{name} image_encoder", f"{name} mask_decoder", f"{name} session")
    ]
    before = [f"prepare {A}", f"prepare {B}", f"check {A}", f"check {B}"]
    assert device.log == [*before, *turn, *turn]
    assert device.undone
    stored = Store(store).read()
    assert tuple(outcome.profiles) == stored
    assert [p.bundle.name for p in stored] == [A, B]
    assert [len(p.repeats) for p in stored] == [2, 2]
    assert [run.graph for run in stored[0].repeats[0].runs] == ["image_encoder", "mask_decoder"]
    assert stored[0].device == PHONE
    assert stored[0].parity == device.figures
    assert not folder_of(store).exists()


def test_a_missed_floor_stops_before_any_time(store, tiny_folder, other_folder) -> None:
    low = Figure("mask_decoder", "low_res_masks", "psnr_db", 31.0, "dB", "higher", 100.0)
    device = FakeDevice(figures=(low,))
    outcome = collect(plan(store, tiny_folder, other_folder), [device], silent)
    assert outcome.profiles == []
    [(name, error)] = outcome.failures
    assert name == "android:A1"
    assert isinstance(error, ParityError)
    for word in (A, "mask_decoder", "low_res_masks", "31", "100", "nothing was timed"):
        assert word in str(error)
    assert not any("image_encoder" in line for line in device.log)
    assert not store.exists()


def test_a_degraded_bundle_is_measured_and_marked(store, tmp_path) -> None:
    """What it missed at its export, it may miss here; anything else stops it."""
    low = Figure("mask_decoder", "low_res_masks", "psnr_db", 31.0, "dB", "higher", 100.0)
    other = dataclasses.replace(low, measure="worst_error", value=0.5, better="lower", floor=1e-4)
    folder = tmp_path / A
    build(folder)
    reseal(folder, parity=(low,), degraded=True)
    said: list[str] = []
    device = FakeDevice(figures=(low,))
    [made] = collect(plan(store, folder), [device], said.append).profiles
    assert made.bundle.degraded
    assert "degraded: its masks are under their floors" in summarise(made).marks
    assert any(line.endswith("psnr_db 31 dB is under the floor 100 dB of fp32") for line in said)
    worse = FakeDevice(figures=(low, other))
    [(_, error)] = collect(plan(store, folder), [worse], silent).failures
    assert "worst_error" in str(error)


def test_without_the_check_the_profile_says_so(store, tiny_folder) -> None:
    device = FakeDevice()
    [made] = collect(plan(store, tiny_folder, check=False), [device], silent).profiles
    assert made.parity == ()
    assert f"check {A}" not in device.log
    assert "parity was not checked" in summarise(made).marks


def test_a_hot_device_is_marked(store, tiny_folder) -> None:
    device = FakeDevice(conditions=[COOL, COOL, HOT, COOL, COOL])
    [made] = collect(plan(store, tiny_folder, repeats=2), [device], silent).profiles
    assert [bool(r.throttled) for r in made.repeats] == [True, False]
    assert "thermal status moderate after the repeat" in summarise(made).marks


def test_a_core_held_to_a_lower_clock_is_marked_once(store, tiny_folder) -> None:
    device = FakeDevice(notes=("throttled: core 7 held to 1747000 kHz",))
    [made] = collect(plan(store, tiny_folder, repeats=1), [device], silent).profiles
    assert [r.throttled for r in made.repeats] == ["core 7 held to 1747000 kHz"]
    marks = [mark for mark in summarise(made).marks if "core 7" in mark]
    assert marks == ["core 7 held to 1747000 kHz"]


def test_an_interpreter_is_run_once_and_has_no_times(store, tiny_folder) -> None:
    device = FakeDevice(timed=False)
    [made] = collect(plan(store, tiny_folder, repeats=3), [device], silent).profiles
    assert len(made.repeats) == 1
    found = summarise(made)
    assert found.click_ms is None
    assert found.first_mask_ms is None
    assert [graph.ms for graph in found.graphs] == [None, None]


def test_a_way_without_sessions_still_times_graphs(store, tiny_folder) -> None:
    said: list[str] = []
    device = FakeDevice(sessions=False)
    [made] = collect(plan(store, tiny_folder), [device], said.append).profiles
    assert {repeat.session for repeat in made.repeats} == {None}
    assert any("no session" in line for line in said)
    assert any("no session" in mark for mark in summarise(made).marks)


def test_one_device_that_fails_costs_the_others_nothing(store, tiny_folder) -> None:
    lost = FakeDevice(dataclasses.replace(PHONE, device="android:B2"))
    lost.fail = {f"{A} mask_decoder": RunnerError("it died")}
    good = FakeDevice()
    outcome = collect(plan(store, tiny_folder), [lost, good], silent)
    assert [p.device.device for p in Store(store).read()] == ["android:A1"]
    assert [name for name, _ in outcome.failures] == ["android:B2"]
    assert lost.undone


def test_phones_run_side_by_side_and_the_host_alone(store, tiny_folder) -> None:
    meet = threading.Barrier(2, timeout=60)
    running: list[str] = []

    def device(facts):
        made = FakeDevice(facts)
        real = made.prepare

        def prepare(bundle):
            running.append(facts.device)
            if facts.device_class == "phone":
                meet.wait()  # passes only if both phones are here at the same time
            real(bundle)

        made.prepare = prepare
        return made

    phones = [device(dataclasses.replace(PHONE, device=f"android:{i}")) for i in "12"]
    outcome = collect(plan(store, tiny_folder), [*phones, device(HOST)], silent)
    assert outcome.failures == []
    assert running[0] == "host"
    assert len(Store(store).read()) == 3


def test_ctrl_c_ends_every_phone_after_its_step(store, tiny_folder) -> None:
    made = plan(store, tiny_folder, repeats=50)
    there = threading.Event()
    stopped = FakeDevice()
    other = FakeDevice(dataclasses.replace(PHONE, device="android:B2"))
    real = other.run_session

    def interrupted(bundle):
        assert there.wait(60)
        raise KeyboardInterrupt

    def run_session(bundle):
        there.set()
        assert made.stop.wait(60)
        return real(bundle)

    stopped.run_session, other.run_session = interrupted, run_session
    with pytest.raises(KeyboardInterrupt):
        collect(made, [stopped, other], silent)
    assert stopped.undone
    assert other.undone
    assert other.log.count(f"{A} session") == 1
    assert not store.exists()


@pytest.mark.parametrize("twice", ["bundle", "device"])
def test_the_same_thing_twice_is_refused(store, tiny_folder, twice) -> None:
    folders = [tiny_folder] * (2 if twice == "bundle" else 1)
    devices = [FakeDevice()] * (2 if twice == "device" else 1)
    with pytest.raises(RequestError, match=f"the same {twice}"):
        collect(plan(store, *folders), devices, silent)


def test_an_interrupted_run_goes_on(store, tiny_folder) -> None:
    first = FakeDevice()
    count = []
    real = first.run_session

    def run_session(bundle):
        count.append(1)
        if len(count) == 3:
            raise KeyboardInterrupt
        return real(bundle)

    first.run_session = run_session
    with pytest.raises(KeyboardInterrupt):
        collect(plan(store, tiny_folder), [_as_host(first)], silent)
    assert first.undone
    assert not store.exists()
    said: list[str] = []
    second = _as_host(FakeDevice())
    [made] = collect(plan(store, tiny_folder), [second], said.append).profiles
    assert len(made.repeats) == 3
    assert second.log.count(f"{A} session") == 1
    assert f"check {A}" not in second.log
    assert sum("was done before" in line for line in said) == 2


def _as_host(device):
    device.known = HOST
    return device


def test_a_killed_process_loses_only_its_repeat(store, tiny_folder) -> None:
    command = [sys.executable, "-m", "tests.unit.profile_making", str(store), str(tiny_folder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    running = subprocess.Popen(command, cwd=ROOT, env=environment)
    try:
        _wait_for(lambda: any('{"repeat"' in p.read_text() for p in _journals(store)))
    finally:
        running.send_signal(signal.SIGKILL)
        running.wait(60)
    assert not store.exists()
    [journal] = _journals(store)
    begun = json.loads(journal.read_text().splitlines()[0])["begin"]["id"]
    device = FakeDevice()
    [made] = collect(plan(store, tiny_folder), [device], silent).profiles
    assert made.id == begun
    assert len(made.repeats) == 3
    assert device.log.count(f"{A} session") == 2


def _journals(store):
    return list(folder_of(store).glob("*.jsonl"))


def _wait_for(condition) -> None:
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.05)
    pytest.fail("the other process did not get there in a minute")


def _half_done(store, folder, **method):
    """A journal with one repeat."""
    device = FakeDevice()
    device.fail = {}
    real, count = device.cool, []

    def cool(start):
        count.append(1)
        if len(count) == 2:
            raise RunnerError("gone")
        return real(start)

    device.cool = cool
    assert collect(plan(store, folder, **method), [device], silent).failures
    [journal] = _journals(store)
    return journal


def test_another_method_or_label_does_not_take_over(store, tiny_folder) -> None:
    _half_done(store, tiny_folder)
    device = FakeDevice()
    collect(plan(store, tiny_folder, threads=4), [device], silent)
    assert device.log.count(f"{A} session") == 3
    device = FakeDevice()
    collect(plan(store, tiny_folder, label="new"), [device], silent)
    assert device.log.count(f"{A} session") == 3


def test_an_old_journal_is_dropped(store, tiny_folder) -> None:
    journal = _half_done(store, tiny_folder)
    lines = journal.read_text().splitlines(keepends=True)
    long_ago = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=EXPIRY_HOURS + 1)
    head = json.loads(lines[0])
    head["begin"]["created"] = long_ago.isoformat()
    journal.write_text(json.dumps(head) + "\n" + "".join(lines[1:]))
    device, said = FakeDevice(), []
    collect(plan(store, tiny_folder), [device], said.append)
    assert device.log.count(f"{A} session") == 3
    assert any("too old" in line for line in said)


def test_a_torn_journal_keeps_its_whole_lines(store, tiny_folder) -> None:
    journal = _half_done(store, tiny_folder)
    with journal.open("ab") as stream:
        stream.write(b'{"repeat": {"bef')
    device = FakeDevice()
    [made] = collect(plan(store, tiny_folder), [device], silent).profiles
    assert len(made.repeats) == 3
    assert device.log.count(f"{A} session") == 2


def test_a_journal_of_another_release_is_told_of_and_dropped(store, tiny_folder) -> None:
    journal = _half_done(store, tiny_folder)
    journal.write_text(journal.read_text().replace('"runs"', '"calls"'))
    device, said = FakeDevice(), []
    collect(plan(store, tiny_folder), [device], said.append)
    assert device.log.count(f"{A} session") == 3
    assert any("cannot be gone on with" in line for line in said)


def test_a_journal_whose_profile_is_stored_is_not_used_again(store, tiny_folder) -> None:
    journal = _half_done(store, tiny_folder)
    half = journal.read_bytes()
    [first] = collect(plan(store, tiny_folder), [FakeDevice()], silent).profiles
    journal.parent.mkdir(exist_ok=True)
    journal.write_bytes(half)  # as if the process had been killed before it deleted the file
    [second] = collect(plan(store, tiny_folder), [FakeDevice()], silent).profiles
    assert first.id != second.id


def test_measuring_reads_no_more_of_a_store_than_ids(store, tiny_folder, monkeypatch) -> None:
    collect(plan(store, tiny_folder, repeats=1), [FakeDevice()], silent)
    monkeypatch.setattr("profiles.store.parse_profile", None)
    outcome = collect(plan(store, tiny_folder, repeats=1), [FakeDevice()], silent)
    assert outcome.failures == []
    monkeypatch.undo()
    assert len(Store(store).read()) == 2


def test_a_file_that_is_no_store_is_left_alone(store, tiny_folder) -> None:
    store.write_text("# Notes\n")
    device = FakeDevice()
    [(_, error)] = collect(plan(store, tiny_folder), [device], silent).failures
    assert isinstance(error, RequestError)
    assert store.read_text() == "# Notes\n"
    assert device.log == []


def test_two_processes_do_not_measure_the_same(store, tiny_folder) -> None:
    device = FakeDevice()
    inner: list[object] = []

    def prepare(bundle):
        inner.extend(collect(plan(store, tiny_folder), [FakeDevice()], silent).failures)

    device.prepare = prepare
    collect(plan(store, tiny_folder), [device], silent)
    [(_, error)] = inner
    assert isinstance(error, RequestError)
    assert "another sam-bench" in str(error)


def test_the_key_is_of_what_makes_the_work_the_same(tiny_folder) -> None:
    facts = bundle_facts(open_bundle(tiny_folder))
    work = Work(facts, PHONE, Method(), "")
    moved = dataclasses.replace(facts, name="elsewhere")
    assert Work(moved, PHONE, Method(), "").key() == work.key()
    updated = dataclasses.replace(PHONE, build="maker/phone:15/C1")
    for other in (
        Work(dataclasses.replace(facts, sha256="0" * 64), PHONE, Method(), ""),
        Work(facts, updated, Method(), ""),
        Work(facts, PHONE, Method(runs=51), ""),
        Work(facts, PHONE, Method(), "x"),
    ):
        assert other.key() != work.key()


def test_a_run_that_never_began_leaves_nothing(store, tiny_folder) -> None:
    device = FakeDevice(fail={f"prepare {A}": RunnerError("full")})
    assert collect(plan(store, tiny_folder), [device], silent).failures
    assert not folder_of(store).exists()


def test_a_store_that_cannot_be_written_is_one_line(tmp_path, tiny_folder) -> None:
    (tmp_path / "file").write_text("")
    outcome = collect(plan(tmp_path / "file" / "p.jsonl", tiny_folder), [FakeDevice()], silent)
    [(_, error)] = outcome.failures
    assert isinstance(error, RequestError | ExportError)
    assert "cannot write" in str(error)
