from __future__ import annotations

import dataclasses
import json

import pytest

from exporter.errors import RequestError
from profiles.numbers import budget
from profiles.numbers.compare import BETTER, NOISE, SAME, WORSE, compare
from profiles.numbers.summary import quantities, summarise
from profiles.selection import Filters, latest, pairs, select
from profiles.store import Store
from runtimes.device import Method
from tests.unit.profile_making import HOST, HOT, PHONE, profile


def _verdicts(comparison):
    return {change.what: change.verdict for change in comparison.changes}


def test_a_regression_is_seen_and_judged() -> None:
    found = compare(profile(seed=1), profile(click=5.0, seed=50), judging=True)
    verdicts = _verdicts(found)
    assert verdicts["mask_decoder"] == verdicts["click"] == WORSE
    assert verdicts["image_encoder"] == verdicts["peak memory"] == NOISE
    assert verdicts["bundle size"] == SAME
    assert {c.what for c in found.regressions(0.05)} == {"mask_decoder", "click"}
    assert found.regressions(0.5) == []
    [click] = [c for c in found.changes if c.what == "click"]
    assert click.ratio == pytest.approx(1.25, rel=0.05)
    assert 1 < click.low < click.ratio < click.high
    assert click.after == pytest.approx(click.before * click.ratio)


def test_the_other_way_round_it_is_better() -> None:
    found = compare(profile(click=5.0, seed=50), profile(seed=1))
    assert _verdicts(found)["click"] == BETTER
    assert found.regressions(0.0) == []


def test_a_difference_within_noise_is_no_regression() -> None:
    a, b = profile(between=0.15, seed=3), profile(ms=10.6, click=4.24, between=0.15, seed=60)
    found = compare(a, b, judging=True)
    assert set(_verdicts(found).values()) <= {NOISE, SAME}
    assert found.regressions(0.0) == []


def test_a_larger_file_is_worse_without_any_noise() -> None:
    b = profile(seed=2)
    graphs = tuple(dataclasses.replace(g, bytes=g.bytes * 2) for g in b.bundle.graphs)
    b = dataclasses.replace(b, bundle=dataclasses.replace(b.bundle, graphs=graphs))
    [change] = [c for c in compare(profile(seed=1), b).changes if c.what == "bundle size"]
    assert (change.before, change.after, change.ratio) == (40.0, 80.0, 2.0)
    assert (change.verdict, change.delta) == (WORSE, None)


def test_classes_are_never_compared() -> None:
    for device_class in ("host", "emulator", "simulated"):
        other = profile(device=dataclasses.replace(PHONE, device_class=device_class))
        with pytest.raises(RequestError, match="different classes are never compared"):
            compare(profile(), other)


def test_different_devices_are_refused_with_the_reason() -> None:
    other = profile(device=dataclasses.replace(PHONE, model="Phone 2"))
    with pytest.raises(RequestError, match=r"model Phone 1 and Phone 2"):
        compare(profile(), other)


def test_another_method_is_flagged_and_not_judged() -> None:
    a, b = profile(), profile(seed=1, method=Method(threads=4, runs=99))
    assert compare(a, b).flags[0] == "threads 2 -> 4"
    assert not any("runs" in flag for flag in compare(a, b).flags)
    with pytest.raises(RequestError, match="not measured the same way"):
        compare(a, b, judging=True)


def test_what_casts_doubt_is_flagged() -> None:
    b = profile(seed=1, device=dataclasses.replace(PHONE, build="B2", device="android:A2"))
    repeat = dataclasses.replace(b.repeats[0], after=HOT, throttled="thermal status moderate")
    run = dataclasses.replace(repeat.runs[0], runtime="ort 9")
    repeat = dataclasses.replace(repeat, runs=(run, repeat.runs[1]))
    flags = compare(profile(), dataclasses.replace(b, repeats=(repeat, *b.repeats[1:]))).flags
    for words in ("two devices of one model", "the system changed", "the runtime changed"):
        assert any(words in flag for flag in flags)
    assert "B: thermal status moderate" in flags


def test_one_repeat_is_not_judged() -> None:
    with pytest.raises(RequestError, match="--repeats 2"):
        compare(profile(), profile(repeats=1, seed=1), judging=True)
    assert compare(profile(), profile(repeats=1, seed=1)).changes


def test_a_comparison_as_data_is_json() -> None:
    data = json.loads(json.dumps(compare(profile(), profile(seed=1)).data()))
    assert data["a"]["device_class"] == "phone"
    assert {"what", "low", "high", "verdict"} <= set(data["changes"][0])


def test_the_numbers_of_a_profile() -> None:
    found = summarise(profile(between=0.0))
    assert found.click_ms is not None
    assert found.click_ms.p50 == pytest.approx(4.0, rel=0.02)
    assert found.first_mask_ms is not None
    assert found.first_mask_ms.p50 == pytest.approx(74.0)
    assert found.peak_mb == pytest.approx(200.0)
    assert found.bundle_mb == 40.0
    encoder, decoder = found.graphs
    assert encoder.ms is not None
    # 5e9 multiply-accumulates in 10 ms are 500 thousand millions a second.
    assert encoder.gmacs_per_s == pytest.approx(500, rel=0.02)
    assert decoder.gmacs_per_s is None
    assert encoder.cores_used == pytest.approx(1.8, rel=0.01)
    assert encoder.first_ms == pytest.approx(20.0)
    assert found.marks == ()
    assert quantities(profile())["peak memory"][0][0] == pytest.approx(200, rel=0.05)


def test_a_shared_core_and_a_slow_end_are_marked() -> None:
    made = profile(repeats=2)
    run = made.repeats[0].runs[0]
    slow = dataclasses.replace(run, samples_ns=tuple(range(10**6, 10**6 + 40 * 10**5, 10**5)))
    slow = dataclasses.replace(slow, cpu_ns=sum(slow.samples_ns) // 4)
    runs = (slow, made.repeats[0].runs[1])
    repeats = tuple(dataclasses.replace(r, runs=runs) for r in made.repeats)
    marks = summarise(dataclasses.replace(made, repeats=repeats)).marks
    assert any("image_encoder slowed down" in mark for mark in marks)
    assert any("0.2 cores" in mark for mark in marks)


@pytest.fixture
def store(tmp_path):
    made = Store(tmp_path / "p.jsonl")
    onnx = profile().bundle
    tflite = dataclasses.replace(onnx, name="tiny-tflite-fp16", target="tflite", precision="fp16")
    day = "2026-11-{}T00:00:00+00:00"
    for p in (
        profile(seed=0xAAAA1, created=day.format(20), label="before"),
        profile(seed=0xAAAA2, created=day.format(21), label="after"),
        profile(seed=0xBBBB1, created=day.format(22), bundle=tflite),
        profile(seed=0xCCCC1, created=day.format(23), device=HOST),
        profile(seed=0xCCCC2, created=day.format(24), device=HOST, bundle=tflite),
    ):
        made.append(p)
    return made


def _ids(profiles):
    return [p.id.lstrip("0") for p in profiles]


def test_names_of_profiles(store, tmp_path) -> None:
    assert _ids(select("00000aaaa1", store)) == ["aaaa1"]
    assert _ids(select("00000bbbb", store)) == ["bbbb1"]
    assert _ids(select("after", store)) == ["aaaa2"]
    assert _ids(select("tiny-onnx-fp32", store)) == ["aaaa2", "cccc1"]
    assert _ids(select("some/folder/tiny-tflite-fp16", store)) == ["bbbb1", "cccc2"]
    assert len(select(str(store.path), Store(tmp_path / "none.jsonl"))) == 4
    with pytest.raises(RequestError, match="begins the ids"):
        select("00000aaaa", store)
    with pytest.raises(RequestError, match="no store file, and no id"):
        select("nothing", store)
    with pytest.raises(RequestError, match="no store file, and no id"):
        select("000", store)


def test_pairs(store) -> None:
    read = store.read()
    onnx, tflite = select("tiny-onnx-fp32", store), select("tiny-tflite-fp16", store)
    assert [tuple(_ids(pair)) for pair in pairs(onnx, tflite)] == [
        ("aaaa2", "bbbb1"),
        ("cccc1", "cccc2"),
    ]
    everything = latest(read)
    assert all(a is b for a, b in pairs(everything, everything))
    assert pairs([read[0]], [read[3]]) == [(read[0], read[3])]  # compare() refuses their classes
    with pytest.raises(RequestError, match="give the ids"):
        pairs([read[0], read[2]], [read[3]])


def test_filters(store) -> None:
    read = store.read()
    assert _ids(Filters(device_class="host").apply(read)) == ["cccc1", "cccc2"]
    assert _ids(Filters(target="tflite", device="host").apply(read)) == ["cccc2"]
    assert _ids(Filters(precision="fp16").apply(read)) == ["bbbb1", "cccc2"]
    assert _ids(Filters(variant="sam").apply(read)) == []
    assert _ids(Filters(since="2026-11-23").apply(read)) == ["cccc1", "cccc2"]
    with pytest.raises(RequestError, match="--since takes a day"):
        Filters(since="yesterday").apply(read)


def _budget(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return str(path)


def test_a_budget_is_kept_or_not(tmp_path) -> None:
    held_to = budget.read_budget(
        _budget(
            tmp_path,
            'device_class = "phone"\n[limits]\nclick_p50_ms = 5\nbundle_mb = 39.9\n'
            "[limits.image_encoder]\np50_ms = 9\n[limits.segmenter]\np50_ms = 9\n",
        )
    )
    rows = budget.check(held_to, [summarise(profile(between=0.0))])
    assert [(row.measure, row.verdict) for row in rows] == [
        ("click_p50_ms", "kept"),
        ("bundle_mb", "OVER"),
        ("image_encoder p50_ms", "OVER"),
        ("segmenter p50_ms", "NOT MEASURED"),
    ]
    assert [row.kept for row in rows] == [True, False, False, False]


def test_no_profile_of_the_class_is_an_error() -> None:
    held_to = budget.read_budget("phone")
    with pytest.raises(RequestError, match="no profile of class phone"):
        budget.check(held_to, [])
    with pytest.raises(RequestError, match="was measured on class host"):
        budget.check(held_to, [summarise(profile(device=HOST))])


@pytest.mark.parametrize("path", sorted(budget.OURS.glob("*.toml")), ids=lambda p: p.stem)
def test_our_budgets_explain_every_number(path) -> None:
    held_to = budget.read_budget(path.stem)
    # A budget is named as its class; one for some systems of it alone, otherwise.
    assert (held_to.device_class == path.stem) == (not held_to.systems)
    before = ""
    for line in path.read_text().splitlines():
        if "=" in line and not line.startswith(("#", "device_class", "systems")):
            assert before.startswith("#"), f"{line} has no reason"
        before = line


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("device_class = ", "is no budget"),
        ('device_class = "tablet"', "unknown device_class 'tablet'"),
        ('device_class = "phone"', r"needs a table \[limits\]"),
        ('device_class = "phone"\n[limits]\nspeed = 3', "unknown limit 'speed'"),
        ('device_class = "phone"\n[limits]\nload_ms = "3"', "should be a number above 0"),
        ('device_class = "phone"\n[limits]\nload_ms = nan', "should be a number above 0"),
        ('device_class = "phone"\n[limits.g]\nbundle_mb = 3', "unknown limit 'bundle_mb'"),
        ('device_class = "phone"\ncolour = 1\n[limits]\nload_ms = 3', "unknown key 'colour'"),
    ],
)
def test_a_wrong_budget_is_one_line(tmp_path, text, message) -> None:
    with pytest.raises(RequestError, match=message):
        budget.read_budget(_budget(tmp_path, text))
