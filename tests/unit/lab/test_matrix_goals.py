"""What the matrix says of an export: goals met and missed, the page, facts of the files."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from exporter.variants import load_variant, variants
from profiles.lab.matrix import facts, goals, jobs, table
from profiles.lab.matrix.conditioning import conditioning
from profiles.lab.matrix.goals import Why
from tests.unit.lab.matrix_rows import graph, row

# ------------------------------------------------------------------------------------------- goals


def missed(made, why=()):
    return [(miss.goal, miss.what, miss.why) for miss in goals.misses(made, why)]


@pytest.mark.parametrize(
    ("changes", "goal", "what"),
    [
        ({"max_rank": 5}, "rank", "rank 5"),
        ({"operations": {"GATHER_ND": 2, "BROADCAST_TO": 1}}, "operations", "GATHER_ND 2, BROAD"),
        ({"custom": ["odml.erf"]}, "operations", "odml.erf"),
        ({"partitions": 3, "outside": {"SIN": 1}}, "partition", "3 partitions; outside: SIN 1"),
        ({"outside": {"CAST": 2}}, "partition", "outside: CAST 2"),
        ({"dynamic": 2}, "static", "2 dynamic tensors"),
    ],
)
def test_every_goal_is_missed_by_what_breaks_it(changes, goal, what):
    assert missed(row()) == []
    ((found, text, why),) = missed(row(graphs=[graph(**changes)]))
    assert found == goal
    assert text.startswith(what)
    assert why == ""


def test_goals_are_each_targets_own():
    coreml = {
        "partitions": None,
        "outside": None,
        "fp32_constants": {"coordinates": 2, "others": 0},
    }
    made = row("mobile_sam-coreml-fp16", graphs=[graph(**coreml, max_rank=5)])
    assert missed(made) == []
    coreml["fp32_constants"] = {"coordinates": 2, "others": 7}
    made = row("mobile_sam-coreml-fp16", graphs=[graph(**coreml, max_rank=6)])
    assert [goal for goal, _, _ in missed(made)] == ["rank", "constants"]
    made = row("mobile_sam-coreml-fp32", graphs=[graph(**coreml)])
    assert missed(made) == []
    loose = {"partitions": None, "outside": None, "max_rank": 6, "operations": {"GATHER_ND": 1}}
    assert missed(row("mobile_sam-onnx-fp16", graphs=[graph(**loose)])) == []


def test_a_missed_floor_is_a_missed_goal():
    made = row(missed=["mobile_sam-tflite-fp16: mask_decoder low_res_masks psnr_db 12 dB"])
    assert missed(made) == [("parity", "mask_decoder low_res_masks psnr_db 12 dB", "")]


def test_the_reason_is_that_of_the_variant_target_and_goal():
    made = row(graphs=[graph(max_rank=5)])
    assert missed(made, (Why("mobile_*", "tflite", "rank", "windows"),))[0][2] == "windows"
    for other in (
        Why("sam_*", "tflite", "rank", "x"),
        Why("mobile_*", "coreml", "rank", "x"),
        Why("mobile_*", "tflite", "static", "x"),
    ):
        assert missed(made, (other,))[0][2] == ""


def test_every_reason_is_of_a_variant_and_a_goal_that_exist():
    known = {goal.name for goal in goals.GOALS} | {goals.PARITY}
    for why in goals.WHY:
        assert why.goal in known
        assert why.reason
        assert any(goals.fnmatch(name, why.variant) for name in variants()), why.variant


# ---------------------------------------------------------------------------------------- the page


def results(*rows):
    machine = {"cpu": "a cpu", "cores": 2, "system": "an os", "load_average": [0.0]}
    return {"command": "c", "date": "d", "machine": machine, "versions": {"torch": "2"}} | {
        "limit_gb": 18.0,
        "planned": 216,
        "rows": list(rows),
    }


def figure(measure, value):
    return {"graph": "image_encoder", "output": "low_res_masks", "measure": measure, "value": value}


def test_the_page_says_what_it_is_of_and_shows_every_row():
    parity = [figure("psnr_db", 81.96), figure("worst_error", 5.2e-4), figure("mask_iou", 0.998)]
    page = table.render(
        results(
            row(parity=parity),
            row("sam_vit_h-tflite-fp32", graphs=[graph(max_rank=6)], stale=True),
            row("demo-onnx-fp32", weights=jobs.EMBEDDED),
            {**row("sam_vit_l-tflite-fp32"), "graphs": [], "skipped": "needed more than 18 GB"},
            {**row("edgetam-onnx-fp16"), "graphs": [], "error": "no operation | for wobble"},
        )
    )
    assert "**Weights are filled, not trained**" in page
    assert "fp16 figures say nothing of trained weights" in page
    assert "Host timings, not phone timings" in page
    assert "5 of 216 exports are measured; 1 of them are stale" in page
    (good,) = [line for line in page.splitlines() if line.startswith("| mobile_sam | tflite")]
    assert [c.strip() for c in good.split("|")[1:-1]] == [
        *("mobile_sam", "tflite", "fp16", "61", "80", "1.1", "20", "4", "4", ""),
        *("82.0", "5.2e-04", "0.9980", "", "met"),
    ]
    assert "| sam_vit_h (stale) |" in page
    assert "| sam_vit_h-tflite-fp32 | rank | image_encoder | rank 6 | not explained |" in page
    assert "| sam_vit_l-tflite-fp32 | skipped |  | needed more than 18 GB |" in page
    assert r"| edgetam-onnx-fp16 | error |  | no operation \| for wobble |" in page
    assert "Other weights: demo: embedded, trained." in page


def test_exports_with_the_same_operations_share_a_line():
    page = table.render(
        results(row(), row("tinysam-tflite-fp16"), row("demo-tflite-fp16", graphs=[]))
    )
    assert (
        "| mobile_sam-tflite-fp16, tinysam-tflite-fp16 | image_encoder | CONV_2D 3, ADD 1 |" in page
    )


# ------------------------------------------------------------------- facts of Core ML and of torch


def step(operation, output, **arguments):
    kind = SimpleNamespace(name=output)
    given = {name: tuple(group) for name, group in arguments.items()}
    reads = [s for group in given.values() for s in group if isinstance(s, str)]
    return SimpleNamespace(
        operation=operation, arguments=given, outputs=(kind,), reads=lambda: reads
    )


def test_float32_constants_before_a_sine_are_meant_and_others_are_not():
    single, half = np.zeros(4, np.float32), np.zeros(4, np.float16)
    constants = {"gauss": single, "weight": half, "left": single, "both": single}
    steps = [
        step("matmul", "a", x=["coords"], y=["gauss"]),
        step("mul", "b", x=["a"], y=["both"]),
        step("sin", "c", x=["b"]),
        step("linear", "d", x=["c"], weight=["weight"], bias=[single]),
        step("add", "e", x=["d"], y=["left"]),
        step("mul", "f", x=["e"], y=["both"]),
        step("upsample_bilinear", "g", x=["f"], scale_factor_height=[single]),
    ]
    assert facts.float32_constants(steps, constants) == {"coordinates": 1, "others": 3}
    assert facts.float32_constants(steps[:1], constants) == {"coordinates": 0, "others": 1}


def test_conditioning_tells_what_torch_itself_loses():
    found = conditioning(load_variant("demo"))
    assert 100 < found.float64_db < 160  # one rounding of float32 is 2**-24: 144 dB
    assert 40 < found.half_weights_db < 80  # and one of float16 2**-11: 66 dB
