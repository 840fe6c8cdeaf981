from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os

import pytest

from exporter.errors import ExportError, RequestError
from profiles import schema
from profiles import store as stores
from profiles.schema import parse_profile
from profiles.store import Store
from tests.unit.profile_making import COOL, HOT, graph_run, profile


def _append_many(path, first):
    for number in range(first, first + 15):
        Store(path).append(profile(repeats=1, seed=number))


def test_a_profile_survives_its_line() -> None:
    made = profile()
    line = made.to_line()
    assert line.endswith("\n")
    assert line.count("\n") == 1
    read = parse_profile(line, "here")
    assert read == made
    assert read.device.evidence == made.device.evidence != {}


def test_what_is_appended_is_read_in_order(tmp_path) -> None:
    store = Store(tmp_path / "sub" / "p.jsonl")
    for seed in (1, 2):
        store.append(profile(seed=seed))
    assert [p.id for p in store.read()] == ["0000000001", "0000000002"]


def test_processes_that_append_at_once_lose_nothing(tmp_path) -> None:
    path = tmp_path / "p.jsonl"
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=_append_many, args=(path, 100 * i)) for i in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    ids = {p.id for p in Store(path).read()}
    assert ids == {f"{100 * i + n:010x}" for i in range(3) for n in range(15)}


def test_a_torn_last_line_is_told_of_and_loses_nothing_else(tmp_path) -> None:
    store = Store(tmp_path / "p.jsonl")
    store.append(profile(seed=1))
    whole = store.path.read_bytes()
    torn = profile(seed=2).to_line().encode()[:300]
    store.path.write_bytes(whole + torn)
    said: list[str] = []
    assert [p.id for p in store.read(said.append)] == ["0000000001"]
    assert "torn" in said[0]
    assert store.path.read_bytes() == whole + torn  # reading changes nothing
    store.append(profile(seed=3), said.append)
    assert [p.id for p in store.read()] == ["0000000001", "0000000003"]
    assert (tmp_path / "p.jsonl.torn").read_bytes() == torn + b"\n"


def test_a_last_line_without_its_newline_is_kept(tmp_path) -> None:
    store = Store(tmp_path / "p.jsonl")
    store.path.write_text(profile(seed=1).to_line().rstrip("\n"))
    assert len(store.read()) == 1
    store.append(profile(seed=2))
    assert [p.id for p in store.read()] == ["0000000001", "0000000002"]


def test_a_full_disk_leaves_the_store_as_it_was(tmp_path, monkeypatch) -> None:
    store = Store(tmp_path / "p.jsonl")
    store.append(profile(seed=1))
    before = store.path.read_bytes()
    real, calls = os.write, []

    def write(descriptor, data):
        calls.append(1)
        if len(calls) > 1:
            raise OSError(28, "No space left on device")
        return real(descriptor, bytes(data)[:100])

    monkeypatch.setattr(stores.os, "write", write)
    with pytest.raises(ExportError, match="No space left"):
        store.append(profile(seed=2))
    assert store.path.read_bytes() == before


def test_ids_are_told_without_reading_the_rest(tmp_path) -> None:
    store = Store(tmp_path / "p.jsonl")
    assert store.ids() == frozenset()
    store.append(profile(seed=1))
    store.append(profile(seed=2))
    data = json.loads(profile(seed=3).to_line())
    data["repeats"] = "not looked at"
    with store.path.open("a") as stream:
        stream.write(json.dumps(data) + "\n" + profile(seed=4).to_line()[:300])
    assert store.ids() == {"0000000001", "0000000002", "0000000003"}
    said: list[str] = []
    assert len(store.read(said.append)) == 2
    assert "line 3.repeats should be" in said[0]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("# Notes\n", "line 1 is not JSON"),
        ('{"id": "1"}\n', "schema version None"),
        ("[1]\n", "schema version None"),
        ('{"schema_version": 2, "id": 5}\n', "line 1 is missing the field 'id'"),
    ],
)
def test_ids_are_only_those_of_a_store(tmp_path, line, message) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(line)
    with pytest.raises(RequestError, match=message):
        Store(path).ids()


def test_no_store_is_one_line(tmp_path) -> None:
    with pytest.raises(RequestError, match="there is no store"):
        Store(tmp_path / "none.jsonl").read()


def _changed(change):
    data = json.loads(profile().to_line())
    change(data)
    return json.dumps(data)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(colour="red"), "unknown field 'colour'"),
        (lambda d: d.pop("label"), "is missing the field 'label'"),
        (lambda d: d.update(schema_version=9), "schema version 9; this release reads 2"),
        (
            lambda d: d["bundle"].update(size=1),
            r"profile line 4.bundle has an unknown field 'size'",
        ),
        (lambda d: d["repeats"][0]["runs"][0].update(load_ns="x"), r"runs\[0\].load_ns should be"),
        (
            lambda d: d["device"].update(device_class="tablet"),
            "unknown device.device_class 'tablet'",
        ),
    ],
)
def test_a_wrong_line_names_its_place(change, message) -> None:
    with pytest.raises(RequestError, match=message) as caught:
        parse_profile(_changed(change), "profile line 4")
    assert str(caught.value).startswith("profile line 4")


def test_no_number_is_refused() -> None:
    line = _changed(lambda d: d["parity"][0].update(value=float("nan")))
    with pytest.raises(RequestError, match="line 1 is not JSON"):
        parse_profile(line, "line 1")


def test_a_line_without_later_optional_fields_is_read() -> None:
    line = _changed(lambda d: d["repeats"][0]["runs"][0].pop("way"))
    assert parse_profile(line, "line 1").repeats[0].runs[0].way == ""


def test_throttling_is_told_by_the_status() -> None:
    assert schema.throttled(COOL, COOL) == ""
    assert schema.throttled(COOL, HOT) == "thermal status moderate after the repeat"
    assert schema.throttled(HOT, HOT) == "thermal status moderate before the repeat"
    unknown = dataclasses.replace(COOL, thermal_status=None)
    assert schema.throttled(unknown, unknown) == ""


def test_throttling_is_told_by_the_notes_of_the_runs() -> None:
    core = "throttled: core 7 held to 1747000 kHz"
    session = profile(repeats=1).repeats[0].session
    runs = (
        graph_run(notes=("of the peak, 9 MB were there before", core)),
        graph_run(notes=(core,)),
        dataclasses.replace(session, notes=("throttled: thermal status none -> light",)),
    )
    said = "core 7 held to 1747000 kHz; thermal status none -> light"
    assert schema.throttled(COOL, COOL, runs) == said
    assert schema.throttled(COOL, HOT, runs) == f"thermal status moderate after the repeat; {said}"
    many = graph_run(notes=[f"throttled: core {n} held to 1 kHz" for n in range(8)])
    assert schema.throttled(COOL, COOL, [many]).endswith("core 3 held to 1 kHz; and 4 more")
    assert schema.throttled(COOL, COOL, [graph_run(notes=("this was throttled: no",))]) == ""


def test_the_facts_of_a_bundle(tiny) -> None:
    facts = schema.bundle_facts(tiny)
    assert facts.name == "tiny-onnx-fp32"
    assert [g.name for g in facts.graphs] == ["image_encoder", "mask_decoder"]
    assert facts.bytes == sum(g.bytes for g in tiny.manifest.graphs)
    assert len(facts.sha256) == 64


def test_every_run_field_reaches_the_line() -> None:
    run = graph_run(notes=("slow",), affinity=(4, 5), way="capsule")
    made = profile(repeats=1)
    repeat = dataclasses.replace(made.repeats[0], runs=(run,), throttled="hot")
    made = dataclasses.replace(made, repeats=(repeat,))
    assert parse_profile(made.to_line(), "x").repeats == (repeat,)


def test_json_is_that_of_the_copied_data() -> None:
    made = profile()
    copied = json.dumps(dataclasses.asdict(made), sort_keys=True, separators=(",", ":"))
    assert made.to_line() == copied + "\n"
    with pytest.raises(TypeError):
        schema.to_json({"what": object()})
