from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from profiles.numbers.summary import summarise
from profiles.pages.html import render
from profiles.pages.html.charts import Scale
from profiles.pages.html.markup import COLOURS, STYLE
from profiles.schema import GraphFacts
from profiles.tables import number, with_interval
from tests.unit.profile_making import HOST, HOT, PHONE, graph_run, profile

VOID = {"meta"}
EVIL = '<script>alert("x")</script>&amp;'


class _Checker(HTMLParser):
    """Every element is closed in order; what a browser would load is collected."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.seen: list[str] = []
        self.references: list[str] = []
        self.text = ""

    def handle_starttag(self, tag, attrs) -> None:
        self.seen.append(tag)
        self.references += [f"{n}={v}" for n, v in attrs if n in ("src", "href", "xlink:href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data) -> None:
        self.text += data


def _checked(html):
    found = _Checker()
    found.feed(html)
    found.close()
    assert found.open == []
    return found


def _several():
    tflite = dataclasses.replace(profile().bundle, name="tiny-tflite-fp16", target="tflite")
    hot = profile(seed=5)
    repeat = dataclasses.replace(
        hot.repeats[0], after=HOT, throttled="thermal status moderate after the repeat"
    )
    return [
        profile(seed=1),
        profile(seed=2, ms=200.0, bundle=tflite),
        dataclasses.replace(hot, device=HOST, repeats=(repeat, *hot.repeats[1:])),
    ]


def test_the_page_is_whole_and_needs_nothing() -> None:
    html = render(_several(), "today")
    found = _checked(html)
    assert found.references == []
    assert "http" not in html
    assert "url(" not in html
    assert "@import" not in html
    assert not {"script", "link", "iframe", "img"} & set(found.seen)
    assert html.startswith("<!DOCTYPE html>")


def test_every_drawing_is_well_formed_and_inside_its_box() -> None:
    drawings = re.findall(r"<svg.*?</svg>", render(_several(), "today"), re.DOTALL)
    assert len(drawings) == 8  # two graphs, size, memory; for each of two devices
    for drawing in drawings:
        root = ElementTree.fromstring(drawing)
        _, _, width, height = map(float, root.attrib["viewBox"].split())
        for element in root.iter():
            for name, most in (("x", width), ("cx", width), ("y", height), ("cy", height)):
                if name in element.attrib:
                    assert -1 <= float(element.attrib[name]) <= most
        assert "nan" not in drawing


def test_every_number_stands_beside_its_class() -> None:
    html = render(_several(), "today")
    body = html[html.index("<body>") :]
    for span in re.findall(r'<span class="n">(.*?)</span></span>', body):
        assert re.search(r'<span class="badge (phone|host)">', span)
    for drawing in re.findall(r"<svg.*?</svg>", body, re.DOTALL):
        values = re.findall(r">([\d.]+ (?:ms|MB)|[\d.]+ MB, [\d.]+ ms)<", drawing)
        badges = re.findall(r">(phone|host)</text>", drawing)
        assert values
        assert len(values) == len(badges)
        assert len(set(badges)) == 1  # one class in one drawing


def test_the_numbers_are_those_of_the_summary() -> None:
    made = profile(seed=1)
    found = _checked(render([made], "today"))
    numbers = summarise(made)
    assert with_interval(numbers.click_ms) in found.text
    assert with_interval(numbers.first_mask_ms) in found.text
    assert number(numbers.peak_mb) in found.text


def test_heat_is_shown() -> None:
    html = render(_several(), "today")
    assert html.count("thermal status moderate after the repeat") == 2  # the notes and its repeat
    assert "none → moderate" in html
    assert "30.0 → 44.0" in html


def test_a_device_that_tells_no_thermal_status_is_not_called_cool() -> None:
    made = profile(repeats=1)
    silent = dataclasses.replace(made.repeats[0].before, thermal_status=None)
    repeat = dataclasses.replace(made.repeats[0], before=silent, after=silent)
    assert "<td>no</td>" in render([made], "today")
    assert "<td>not told</td>" in render([dataclasses.replace(made, repeats=(repeat,))], "today")


def test_text_of_others_is_escaped() -> None:
    made = profile(
        label=EVIL,
        bundle=dataclasses.replace(profile().bundle, name=EVIL),
        device=dataclasses.replace(PHONE, model=EVIL, soc=EVIL, build=EVIL, device=EVIL),
    )
    html = render([made], EVIL)
    assert "<script" not in html
    assert 'alert("x")' not in html
    assert EVIL in _checked(html).text


def test_a_profile_without_times_still_has_its_row() -> None:
    made = profile(repeats=1)
    untimed = tuple(
        graph_run(run.graph, samples_ns=(), timed=False, cpu_ns=None, peak_bytes=None, notes=("i",))
        for run in made.repeats[0].runs
    )
    session = dataclasses.replace(made.repeats[0].session, timed=False)
    repeat = dataclasses.replace(made.repeats[0], runs=untimed, session=session)
    found = _checked(render([dataclasses.replace(made, repeats=(repeat,))], "today"))
    assert "not timed" in found.text
    assert "svg" not in found.seen


def test_a_bundle_of_one_graph_of_another_name_is_drawn() -> None:
    made = profile(repeats=2)
    facts = dataclasses.replace(made.bundle, graphs=(GraphFacts("segmenter", 10),))
    repeats = tuple(
        dataclasses.replace(
            r,
            runs=(graph_run("segmenter"),),
            session=dataclasses.replace(r.session, click_ns=()),
        )
        for r in made.repeats
    )
    found = _checked(render([dataclasses.replace(made, bundle=facts, repeats=repeats)], "today"))
    assert "segmenter: how long calls took" in found.text


def test_scales_put_round_ticks_inside() -> None:
    linear = Scale(0, 37.3, 100, 500)
    assert linear.ticks() == [0, 10, 20, 30]
    assert (linear(0), linear(37.3), linear(1e9)) == (100, 500, 500)
    log = Scale(0.8, 250, 100, 500, log=True)
    assert log.ticks() == [1, 2, 5, 10, 20, 50, 100, 200]
    assert log(0.8) == 100
    assert log(250) == 500
    assert log(0.0001) == 100


def test_one_far_slower_bundle_makes_the_axis_logarithmic() -> None:
    html = render(_several()[:2], "today")
    first = re.findall(r"<svg.*?</svg>", html, re.DOTALL)[0]
    assert {">10<", ">20<", ">50<", ">100<", ">200<"} <= set(re.findall(r">\d+<", first))


def _luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


@pytest.mark.parametrize("name", sorted(set(COLOURS) - {"paper", "line"}))
@pytest.mark.parametrize("scheme", [0, 1])
def test_text_colours_can_be_read(name, scheme) -> None:
    a, b = sorted(_luminance(COLOURS[n][scheme]) for n in (name, "paper"))
    assert (b + 0.05) / (a + 0.05) >= 4.5


def test_every_colour_of_the_style_is_defined() -> None:
    assert set(re.findall(r"var\(--(\w+)\)", STYLE)) <= set(COLOURS)
