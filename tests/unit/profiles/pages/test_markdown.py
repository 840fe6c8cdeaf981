from __future__ import annotations

import dataclasses
import re

from profiles.numbers.summary import summarise
from profiles.pages.markdown import render
from profiles.tables import with_interval
from runtimes.device import Method
from tests.unit.profile_making import HOST, PHONE, graph_run, profile


def _rows(text):
    return [line.strip("|").split(" | ") for line in text.splitlines() if line.startswith("|")]


def test_every_table_is_whole_and_every_number_carries_its_class():
    text = render([profile(seed=1), profile(seed=2, device=HOST)], "today")
    rows = _rows(text)
    assert len(rows) == 2 * (3 + 4)  # of each device: head, line, and one bundle; two graphs
    for head, line, *rest in (rows[:3], rows[3:7], rows[7:10], rows[10:]):
        assert {len(head)} == {len(row) for row in (line, *rest)}
    for row in [*rows[2:3], *rows[5:7]]:
        numbers = [c for c in row if re.match(r" ?\d", c) and not re.fullmatch(r" ?\d+ ?", c)]
        assert numbers
        assert all("phone" in cell for cell in numbers)
    assert all("phone" not in " ".join(row) for row in rows[7:])


def test_the_numbers_and_the_command_are_those_of_the_profile():
    made = profile(seed=1, method=Method(repeats=5, seconds=3.0))
    text = render([made], "today")
    numbers = summarise(made)
    assert f"| {with_interval(numbers.click_ms)} phone |" in text
    assert f"| {with_interval(numbers.graphs[0].ms)} phone |" in text
    assert "sam-bench tiny-onnx-fp32 --device android:A1 --seconds 3 --repeats 5\n" in text
    assert "## Maker Phone 1 (phone)" in text
    assert "sam-export 0.1.0" in text


def test_another_method_is_another_section():
    text = render([profile(seed=1), profile(seed=2, method=Method(threads=4))], "today")
    assert text.count("\n## ") == 2
    assert text.count("--threads 4") == 1


def test_what_casts_doubt_stands_below_the_table():
    made = profile(repeats=1)
    busy = dataclasses.replace(made.repeats[0].before, load=3.25)
    run = graph_run(notes=("odd",))
    repeat = dataclasses.replace(made.repeats[0], before=busy, runs=(run,))
    text = render([dataclasses.replace(made, repeats=(repeat,))], "today")
    assert "- tiny-onnx-fp32, cpu: odd" in text
    assert "Load 3.2..3.2 around the repeats." in text


def test_what_was_not_measured_is_said():
    made = profile(repeats=1)
    runs = tuple(
        graph_run(r.graph, samples_ns=(), timed=False, cpu_ns=None, peak_bytes=None)
        for r in made.repeats[0].runs
    )
    repeat = dataclasses.replace(made.repeats[0], runs=runs, session=None)
    text = render([dataclasses.replace(made, device=PHONE, repeats=(repeat,))], "today")
    assert "| not timed | - | - |" in text


def test_a_device_of_an_odd_name_stays_on_its_line_and_can_be_named_again():
    device = dataclasses.replace(PHONE, device="android:adb-X (2)._tcp", model="A\n# B\x1b[2J")
    text = render([profile(device=device)], "today")
    assert "sam-bench tiny-onnx-fp32 --device 'android:adb-X (2)._tcp'" in text
    assert r"## Maker A\n# B\x1b\[2J (phone)" in text


def test_measurements_of_one_device_stand_together_whatever_it_answered_of_itself():
    other = dataclasses.replace(PHONE, evidence={"battery": "present"}, class_reason="else")
    text = render([profile(), profile(seed=1, device=other)], "today")
    assert text.count("\n## ") == 1
