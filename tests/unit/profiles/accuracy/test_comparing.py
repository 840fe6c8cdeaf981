"""Bundles beside each other: masks, references, what cannot be asked, and times in turns."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from exporter.bundle.folder import open_bundle
from exporter.errors import RequestError
from exporter.progress import silent
from profiles.accuracy import answers, comparing, latency
from profiles.accuracy.answers import Answer
from profiles.accuracy.cases import KINDS, POINTS, REFINED, photo_shots, scene_shots
from profiles.accuracy.comparing import Plan, choose_references, compare_bundles
from profiles.accuracy.rows import agree, count_not_finite, truth_iou
from tests.unit import tiny_bundle
from tests.unit.tiny_bundle import Recipe

SHOTS = scene_shots(1)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    """Name -> bundle: one that is right, the same in 16 bits, and others with something wrong."""
    recipes = {
        "right": Recipe(),
        "half": Recipe(precision="fp16"),
        "scaled": Recipe(precision="int8", flaw="scaled"),
        "nan": Recipe(precision="int8", flaw="nan"),
        "maskless": Recipe(precision="fp16", takes_mask=False),
    }
    folder = tmp_path_factory.mktemp("bundles")
    for name, recipe in recipes.items():
        tiny_bundle.build(folder / name, recipe)
    return {name: open_bundle(folder / name) for name in recipes}


def compared(bundles, *names, **changes):
    plan = Plan([bundles[name] for name in names], None, SHOTS, threads=1, seconds=0)
    found = compare_bundles(dataclasses.replace(plan, **changes), silent)
    return found, {row.bundle: row for row in found.rows}


def test_a_bundle_that_is_the_same_agrees_and_one_that_is_not_does_not(bundles):
    found, rows = compared(bundles, "half", "right", "scaled")
    assert list(rows) == ["half", "right", "scaled"]
    assert rows["right"].reference == ""
    assert rows["right"].agreement is None
    same, other = rows["half"].agreement, rows["scaled"].agreement
    assert (same.mean_iou, same.worst_iou, same.other_mask_share) == (1, 1, 0)
    assert 0.3 < other.worst_iou <= other.p1_iou <= other.mean_iou < 0.99
    assert same.masks == found.masks == sum(len(make().cases) for make in SHOTS)
    assert rows["half"].truth_loss == 0
    loss = 100 * (rows["right"].truth_iou - rows["scaled"].truth_iou)
    assert rows["scaled"].truth_loss == pytest.approx(loss)
    assert rows["half"].megabytes == pytest.approx(sum(rows["half"].graph_bytes.values()) / 1e6)
    assert found.notes == ()


def test_the_earlier_mask_is_the_bundles_own(bundles, monkeypatch):
    fed = []
    opened = answers.open_segmenter

    def watched(bundle, threads):
        segmenter = opened(bundle, threads=threads)
        inner = segmenter.predict_prompts

        def predict_prompts(prompts, mask_input=None, *, multimask=False):
            masks = inner(prompts, mask_input, multimask=multimask)
            fed.append((masks.low_res_masks[masks.best], mask_input))
            return masks

        segmenter.predict_prompts = predict_prompts
        return segmenter

    monkeypatch.setattr(answers, "open_segmenter", watched)
    answers.answer(bundles["right"], SHOTS[:1], KINDS, 1, silent)
    cases = SHOTS[0]().cases
    assert len(fed) == len(cases)
    for case, (_, earlier) in zip(cases, fed, strict=True):
        if case.refines is None:
            assert earlier is None
        else:
            np.testing.assert_array_equal(earlier, fed[case.refines][0])


def test_answers_that_are_not_finite_are_counted_and_named(bundles):
    found, rows = compared(bundles, "right", "nan")
    assert rows["nan"].not_finite == found.masks
    assert rows["nan"].truth_iou == 0
    assert rows["nan"].agreement.mean_iou < 0.2  # some masks of the reference are empty too
    assert found.notes == (f"nan gives NaN or infinite numbers in {found.masks} cases",)


def test_prompts_that_one_bundle_cannot_take_are_asked_of_none(bundles):
    found, rows = compared(bundles, "right", "maskless")
    assert REFINED not in found.kinds
    assert rows["maskless"].agreement.mean_iou == 1
    assert rows["maskless"].agreement.masks == found.masks
    assert found.notes == (
        f"prompts of the kind '{REFINED}' are left out: maskless: tiny takes no earlier mask",
    )


def test_too_few_slots_leave_prompts_out(bundles, monkeypatch):
    def refuse(manifest, request, frame):
        if len(request.sets[0].points) == 3:
            raise answers.PromptError("these prompts take 4 slots and the bundle has 3")

    monkeypatch.setattr(answers, "validate", refuse)
    kinds, notes = comparing.shared_kinds({"right": bundles["right"]}, SHOTS)
    assert kinds == tuple(kind for kind in KINDS if kind != POINTS)
    assert "three points" in notes[0]
    assert "take 4 slots" in notes[0]


def test_the_reference_is_the_one_named_or_in_fp32_or_the_first_and_then_that_is_said(bundles):
    given = {name: bundles[name] for name in ("half", "right", "scaled")}
    assert choose_references(given, None) == ({"tiny": "right"}, [])
    assert choose_references(given, bundles["scaled"]) == ({"tiny": "scaled"}, [])
    chosen, notes = choose_references({"half": given["half"], "scaled": given["scaled"]}, None)
    assert chosen == {"tiny": "half"}
    assert "no fp32 bundle of tiny: the others are compared with the first, half" in notes[0]


def test_a_reference_from_elsewhere_has_a_row(bundles):
    _, rows = compared(bundles, "scaled", reference=bundles["right"])
    assert list(rows) == ["scaled", "right"]
    assert rows["scaled"].reference == "right"


def test_each_variant_has_a_reference_of_its_own(bundles):
    other = dataclasses.replace(
        bundles["half"],
        manifest=dataclasses.replace(bundles["half"].manifest, variant="other"),
    )
    chosen, _ = choose_references({"right": bundles["right"], "half": other}, None)
    assert chosen == {"tiny": "right", "other": "half"}


def test_other_weights_are_told(bundles):
    source = dataclasses.replace(bundles["half"].manifest.source, sha256="1" * 64)
    manifest = dataclasses.replace(bundles["half"].manifest, source=source)
    other = dataclasses.replace(bundles["half"], manifest=manifest)
    _, notes = choose_references({"right": bundles["right"], "half": other}, None)
    assert notes == ["half has other weights than right: its masks may differ for that"]


def test_bundles_that_cannot_run_here_are_named_and_left_out(bundles, monkeypatch):
    choose = comparing.choose_engine

    def without(target):
        if target == "coreml":
            raise RequestError("no engine here runs coreml bundles")
        return choose(target)

    monkeypatch.setattr(comparing, "choose_engine", without)
    manifest = dataclasses.replace(bundles["half"].manifest, target="coreml")
    apple = dataclasses.replace(bundles["half"], manifest=manifest)
    found, rows = compared({**bundles, "apple": apple}, "right", "apple", "scaled")
    assert list(rows) == ["right", "scaled"]
    assert found.notes == ("half is left out: no engine here runs coreml bundles",)
    with pytest.raises(RequestError, match="no engine here"):
        compared({"apple": apple}, "apple")
    with pytest.raises(RequestError, match="no engine here"):
        compared(bundles, "right", reference=apple)


def test_bundles_of_one_name_are_told_apart_by_their_paths(bundles, tmp_path):
    tiny_bundle.build(tmp_path / "right", Recipe(precision="fp16"))
    other = open_bundle(tmp_path / "right")
    _, rows = compared({**bundles, "other": other}, "right", "other", "right")
    assert list(rows) == [str(bundles["right"].path), str(other.path)]


def test_one_bundle_on_photos_has_nothing_to_be_compared_with(bundles, here):
    shots = photo_shots(here, 0)
    with pytest.raises(RequestError, match="there is nothing to compare"):
        compared(bundles, "right", shots=shots)
    _, rows = compared(bundles, "right", "half", shots=shots)
    assert rows["half"].agreement.mean_iou == 1
    assert rows["half"].truth_iou is None
    assert rows["half"].truth_loss is None


def test_a_degraded_bundle_is_marked(bundles):
    row = dataclasses.replace(compared(bundles, "right")[1]["right"], degraded=True)
    (line,) = comparing._faults([row])
    assert line == "right is degraded: it was written though it misses its floors"


# ---------------------------------------------------------------------------------------- figures


def _answer(mask, best=0, truth=None, *, finite=True):
    mask = np.asarray(mask, bool)
    return Answer(np.packbits(mask), mask.shape, best, 0.5, truth, finite)


def test_figures_are_those_of_the_masks():
    whole, part = np.ones((3, 5)), np.ones((3, 5))
    part[0] = 0
    one = [{0: _answer(whole, truth=1.0), 1: _answer(whole)}, {0: _answer(part, best=2)}]
    two = [{0: _answer(part, truth=0.5), 1: _answer(whole, best=1)}, {0: _answer(part, best=2)}]
    found = agree(one, two, chosen=True)
    assert found.mean_iou == pytest.approx((2 / 3 + 1 + 1) / 3)
    assert found.worst_iou == pytest.approx(2 / 3)
    assert found.p1_iou == pytest.approx(2 / 3 + 0.02 / 3)
    assert found.other_mask_share == pytest.approx(1 / 3)
    assert agree(one, two, chosen=False).other_mask_share is None
    assert (truth_iou(one), truth_iou(two), truth_iou([{0: _answer(part)}])) == (1.0, 0.5, None)
    assert count_not_finite([{0: _answer(part, finite=False), 1: _answer(part)}]) == 1


def test_a_packed_mask_is_the_mask():
    mask = np.random.default_rng(0).random((7, 13)) > 0.5
    np.testing.assert_array_equal(_answer(mask).mask, mask)


# ------------------------------------------------------------------------------------------- times


def test_bundles_take_turns_and_none_is_always_first():
    order, now = [], iter(range(0, 10**9, 1_000_000))
    calls = {name: lambda name=name: order.append(name) for name in "abc"}
    times = latency.take_turns(calls, 1e-9, lambda: next(now))
    assert order[: 3 * latency.WARMUP] == ["a"] * 3 + ["b"] * 3 + ["c"] * 3
    assert order[3 * latency.WARMUP :] == [*"abc", *"bca", *"cab", *"abc", *"bca"]
    assert {name: len(each) for name, each in times.items()} == dict.fromkeys("abc", latency.LEAST)
    assert set(times["a"]) == {1.0}


def test_both_graphs_are_timed(bundles):
    _, rows = compared(bundles, "right", "half", seconds=0.01)
    for row in rows.values():
        assert set(row.ms) == {"image_encoder", "mask_decoder"}
        assert row.whole_ms == pytest.approx(sum(ms.p50 for ms in row.ms.values()))
        assert row.whole_ms > 0
    assert compared(bundles, "right")[1]["right"].untimed == "not asked for"
