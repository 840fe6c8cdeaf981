"""The precisions' table: goals, what a row measures, the page and its drawings."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from exporter.bundle.folder import open_bundle
from exporter.precision import precisions
from exporter.progress import silent
from profiles.accuracy.answers import answer
from profiles.accuracy.cases import KINDS, scene_shots
from profiles.lab.precision import goals, measure, table
from profiles.lab.precision.__main__ import main
from tests.unit import tiny_bundle
from tests.unit.lab.precision_rows import page, results, row
from tests.unit.tiny_bundle import Recipe

# ------------------------------------------------------------------------------------------- goals


def test_every_precision_of_few_bits_has_goals():
    assert set(goals.GOALS) == {each.name for each in precisions() if each.judged}
    names = {column.name for column in goals.COLUMNS}
    for each in goals.GOALS.values():
        assert set(each) <= names


@pytest.mark.parametrize(
    ("changes", "missed"),
    [
        ({}, set()),
        ({"agreement": row()["agreement"] | {"mean_iou": 0.99199}}, {"mean"}),
        ({"agreement": row()["agreement"] | {"p1_iou": float("nan")}}, {"p1"}),
        ({"agreement": row()["agreement"] | {"other_mask_share": 0.0201}}, {"other"}),
        ({"truth_loss": 0.1001}, {"lost"}),
        ({"bytes": {"image_encoder": 600_001, "mask_decoder": 1}}, {"size"}),
        ({"ratios": {"1": {"image_encoder": 1.05}, "2": {"image_encoder": 1.01}}}, {"one"}),
    ],
)
def test_a_goal_is_missed_by_the_smallest_step(changes, missed):
    found = goals.verdicts(row(**changes))
    assert {name for name, met in found.items() if not met} == missed


def test_what_was_not_measured_is_not_judged():
    assert not {"one", "two"} & goals.verdicts(row("demo-coreml-int8")).keys()
    assert goals.verdicts(row("demo-onnx-fp16")) == {}


def test_a_variant_whose_weights_are_not_here_is_refused(capfd, tmp_path):
    assert main(["--only", "mobile_sam", "--folder", str(tmp_path)]) == 2
    assert "mobile_sam has no trained weights here" in capfd.readouterr().err


# -------------------------------------------------------------------------------------------- page


def test_the_page_says_which_goals_are_met():
    bad = row("demo-tflite-int8", truth_loss=0.5)
    text = page(row(), bad, row("demo-coreml-int4-weights"), row("demo-onnx-fp32"))
    assert "| onnx | int8 | 0.58 + 0.5 | 0.9930 met |" in text
    assert "+0.500 MISSED" in text
    assert "- demo-tflite-int8: points of mIoU lost" in text
    assert "demo-coreml-int4-weights:" not in text
    assert "| int8 | at least 0.9920 | at least 0.950 | at most +0.100 |" in text
    assert "200 scenes" in text
    assert "4600 masks" in text


def test_all_goals_met_is_said_and_what_failed_is_listed():
    broken = {"name": "demo-onnx-int8", "error": "it broke", "stale": False}
    assert "Every goal is met." in page(row())
    text = page(row("demo-onnx-fp32", stale=True), broken)
    assert "| demo-onnx-int8 | it broke |" in text
    assert "1 of them are stale" in text
    assert "| onnx (stale) | fp32 |" in text


def test_drawings_stand_alone():
    rows = [row(f"demo-{t}-{p}") for t in ("onnx", "coreml") for p in ("fp32", "int8")]
    drawn = table.drawings(results(*rows))
    assert set(drawn) == set(table.DRAWINGS.values())
    dots = {}
    for name, svg in drawn.items():
        root = ElementTree.fromstring(svg)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        dots[name] = len(root.findall(".//{*}circle"))
    assert dots == {"precision-size.svg": 4, "precision-time.svg": 2}


# ------------------------------------------------------------------------------------------- a row


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles")
    tiny_bundle.build(folder / "plain")
    tiny_bundle.build(folder / "scaled", Recipe(precision="int8", flaw="scaled"))
    return folder


@pytest.fixture(scope="module")
def expected(bundles):
    answers = answer(open_bundle(bundles / "plain"), scene_shots(2), KINDS, 1, silent)
    measure.save(bundles / "answers.npz", answers)
    return answers


def test_answers_come_back_from_disk(bundles, expected):
    loaded = measure.load(bundles / "answers.npz")
    assert len(loaded) == len(expected) == 2
    for one, other in zip(loaded, expected, strict=True):
        assert one.keys() == other.keys()
        for place, found in one.items():
            assert (found.mask == other[place].mask).all()
            assert found.best == other[place].best
            assert found.truth_iou == other[place].truth_iou


def test_a_row_compares_masks_sizes_and_times(bundles, expected):
    given = (bundles / "plain", bundles / "answers.npz", scene_shots(2), 0.005, silent)
    same = measure.measure(bundles / "plain", *given)
    assert same["agreement"]["mean_iou"] == 1
    assert same["truth_loss"] == 0
    assert same["bytes"] == same["float_bytes"]
    assert same["masks"] == sum(map(len, expected))
    other = measure.measure(bundles / "scaled", *given)
    assert other["agreement"]["mean_iou"] < 0.99
    assert other["truth_loss"] != 0
    assert set(other["ratios"]) == set(measure.THREADS)
    for ratios in other["ratios"].values():
        assert set(ratios) == {"image_encoder", "mask_decoder"}
        assert all(0.05 < ratio < 20 for ratio in ratios.values())


def test_the_ratio_is_the_median_of_the_rounds():
    times = {"float": [10.0, 20.0, 40.0], "own": [9.0, 22.0, 36.0]}
    assert measure._ratio(times) == 0.9
