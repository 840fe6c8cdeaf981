"""The page and the table: whole, safe against names, the right masks over the right pictures."""

from __future__ import annotations

import base64
import dataclasses
import io
import re

import numpy as np
import pytest
from PIL import Image

from exporter.bundle.folder import open_bundle
from exporter.progress import silent
from profiles.accuracy import overlays, page, tables
from profiles.accuracy.cases import scene_shots
from profiles.accuracy.comparing import Plan, compare_bundles
from tests.unit import tiny_bundle
from tests.unit.profiles.pages.test_html import EVIL, VOID, _checked
from tests.unit.tiny_bundle import Recipe

WORDS = page.Words("2 scenes", 1, "today")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles")
    tiny_bundle.build(folder / "right")
    tiny_bundle.build(folder / "scaled", Recipe(precision="int8", flaw="scaled"))
    given = [open_bundle(folder / name) for name in ("right", "scaled")]
    return compare_bundles(Plan(given, None, scene_shots(2), 1, 0.01), silent)


def test_the_page_is_whole_and_needs_nothing_else(found):
    VOID.add("img")
    html = page.render(found, WORDS, 4)
    seen = _checked(html)
    assert seen.seen.count("svg") == 4
    assert seen.seen.count("img") == 4 * 3
    assert all(each.startswith("src=data:image/jpeg;base64,") for each in seen.references)
    for text in ("mean IoU with the reference, against size", "against time on this computer"):
        assert text in seen.text


def test_no_overlays_and_no_times_leave_their_parts_out(found):
    rows = tuple(dataclasses.replace(row, ms={}, untimed="not asked for") for row in found.rows)
    seen = _checked(page.render(dataclasses.replace(found, rows=rows), WORDS, 0))
    assert "img" not in seen.seen
    assert seen.seen.count("svg") == 2
    assert "not timed: not asked for" in seen.text
    assert "Masks side by side" not in seen.text


def test_a_hostile_name_stays_text(found):
    rows = [dataclasses.replace(found.rows[0], bundle=EVIL), found.rows[1]]
    answers = {EVIL: found.answers["right"], "scaled": found.answers["scaled"]}
    rows[1] = dataclasses.replace(rows[1], reference=EVIL)
    other = dataclasses.replace(found, rows=tuple(rows), answers=answers, notes=(EVIL,))
    html = page.render(other, dataclasses.replace(WORDS, pictures=EVIL), 1)
    assert "script" not in _checked(html).seen
    assert "\x1b" not in tables.compared(other)


def test_the_worst_masks_are_shown_first(found):
    chosen = overlays.choose(found, 4)
    assert len({each.place for each in chosen}) == 4
    assert [("worst of scaled" in each.title) for each in chosen] == [True, True, False, False]
    ious = overlays.compare_masks(found.answers["right"], found.answers["scaled"])
    assert [ious[each.place] for each in chosen[:2]] == sorted(ious.values())[:2]
    assert len(overlays.choose(found, 10_000)) == found.masks


def test_a_panel_shows_its_bundles_mask_on_its_picture(found):
    chosen = overlays.choose(found, 1)[0]
    number, place = chosen.place
    shot = found.shots[number]()
    case, (width, height) = shot.cases[place], shot.picture.size
    empty = overlays.jpeg(shot.picture.rgb, np.zeros((height, width), bool), case.prompts)
    bare = np.asarray(Image.open(io.BytesIO(empty)), np.float32)
    object_, right, scaled = overlays.draw(found, chosen)
    assert object_.name == "prompt and object"
    assert (right.name, scaled.name) == ("right", "scaled")
    assert right.lines[0] == "the reference"
    iou = overlays.compare_masks(found.answers["right"], found.answers["scaled"])[chosen.place]
    assert scaled.lines[0] == f"IoU {iou:.3f} with the reference"
    masks = [case.truth]
    masks += [found.answers[name][number][place].mask for name in ("right", "scaled")]
    for panel, mask in zip((object_, right, scaled), masks, strict=True):
        drawn = Image.open(io.BytesIO(panel.jpeg))
        assert max(drawn.size) == overlays.SIDE
        tinted = np.abs(np.asarray(drawn, np.float32) - bare).sum(axis=2) > 20
        area = np.asarray(Image.fromarray(mask).resize(drawn.size))
        assert tinted[area].mean() > 0.8
        assert tinted[~area].mean() < 0.1


def test_pictures_of_the_page_are_the_panels(found):
    html = page.render(found, WORDS, 1)
    data = re.findall(r"base64,([^\"]+)\"", html)
    panels = list(overlays.draw(found, overlays.choose(found, 1)[0]))
    assert [base64.b64decode(each) for each in data] == [panel.jpeg for panel in panels]


def test_the_table_has_a_line_for_each_bundle(found):
    head, first, second = tables.compared(found).splitlines()
    assert head.split()[:2] == ["bundle", "MB"]
    assert first.split()[0] == "right"
    assert "reference" in first
    assert f"{found.rows[1].agreement.mean_iou:.4f}" in second
    marked = dataclasses.replace(found.rows[1], degraded=True)
    assert tables.cells(marked)[0] == "scaled (degraded)"
