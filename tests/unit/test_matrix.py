from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from exporter.errors import RequestError
from exporter.matrix import __main__ as matrix
from exporter.matrix import facts, goals, jobs, measure, processes, sources, table
from exporter.matrix.conditioning import conditioning
from exporter.matrix.goals import Why
from exporter.matrix.jobs import MatrixJob
from exporter.matrix.state import State
from exporter.variants import load_variant, variants

# -------------------------------------------------------------------------------------- planning


def test_the_first_of_each_family_comes_first_and_the_large_ones_last():
    names = [variant.name for variant in jobs.ordered(variants().values())]
    assert sorted(names) == sorted(variants())
    sizes = [load_variant(name).parameters for name in names]
    large = [size >= jobs.LARGE for size in sizes]
    assert large == sorted(large)
    assert sizes[large.index(True) :] == sorted(sizes[large.index(True) :])
    assert names.index("edge_sam") < names.index("tinysam") < names.index("edge_sam_3x")
    assert names.index("edge_sam_3x") < names.index("sam_vit_l") < names.index("sam_vit_h")


def test_a_variants_exports_follow_one_another():
    planned = jobs.plan(["tinysam", "demo"])
    assert len(planned) == 2 * 3 * 2
    assert [job.variant for job in planned] == ["tinysam"] * 6 + ["demo"] * 6
    assert len({job.name for job in planned}) == len(planned)


def test_a_part_of_the_matrix():
    assert jobs.plan(["demo"], ["onnx"], ["fp16"]) == [MatrixJob("demo", "onnx", "fp16")]
    with pytest.raises(RequestError, match="no variant is called 'nosam'"):
        jobs.plan(["nosam"])
    with pytest.raises(RequestError, match="no target is called 'tensorrt'; there are: coreml"):
        jobs.plan([], ["tensorrt"])


# --------------------------------------------------------------------------------- what is stale

DEMO = MatrixJob("demo", "onnx", "fp16")


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A project of three modules: `exporter.graphs` imports `exporter.helper` inside a function."""
    (tmp_path / "exporter").mkdir()
    files = {
        "graphs": "def f():\n    from exporter.helper import g\n    return g()\n",
        "helper": "def g():\n    return 1\n",
        "unrelated": "x = 1\n",
    }
    for name, text in files.items():
        (tmp_path / "exporter" / f"{name}.py").write_text(text)
    monkeypatch.setattr(sources, "ROOT", tmp_path)
    _forget()
    yield tmp_path / "exporter"
    _forget()


def _forget():
    sources._imports.cache_clear()
    sources._meaning.cache_clear()


def key_after(path, text):
    path.write_text(text)
    _forget()
    return sources.key(DEMO, "")


def test_a_row_is_stale_when_what_it_depends_on_changed(tree):
    before = sources.key(DEMO, "")
    assert key_after(tree / "unrelated.py", "x = 2\n") == before
    commented = '"""What it is."""\n\n\ndef g():\n    # why\n    return (\n        1\n    )\n'
    assert key_after(tree / "helper.py", commented) == before
    assert key_after(tree / "helper.py", "def g():\n    return 2\n") != before


def test_weights_precision_and_tools_are_part_of_the_key(tree, monkeypatch):
    before = sources.key(DEMO, "")
    assert sources.key(DEMO, "mobile_sam.pt 40 1") != before
    assert sources.key(MatrixJob("demo", "onnx", "fp32"), "") != before
    monkeypatch.setattr(sources, "_version", lambda package: "99")
    assert sources.key(DEMO, "") != before


def test_the_real_closure_holds_what_decides_the_numbers_and_not_the_rest():
    roots = [*sources.EVERYWHERE, "exporter.variants.edgetam", "exporter.targets.onnx"]
    found = sources.closure([*roots, *sources.ENGINES["onnx"]])
    assert {"exporter.models.edge_tam", "exporter.variants.sam2", "exporter.models.hiera"} <= found
    assert {"exporter.targets._onnx_half", "exporter.demo.scenes", "runtimes.measures"} <= found
    assert not {"exporter.cli", "exporter.pipeline", "exporter.manifest"} & found
    assert not {"exporter.models.efficientvit", "exporter.bench.published"} & found
    mil = sources.closure(sources.ENGINES["coreml"])
    assert "runtimes.engines.mil.ops_conv" in mil


# -------------------------------------------------------------------------------- state and runs


@pytest.fixture
def work(tmp_path, monkeypatch):
    """argv -> the work of a matrix whose keys are "now" and whose exports answer at once."""
    monkeypatch.setattr(sources, "key", lambda job, weights: f"now {weights}")
    monkeypatch.setattr(matrix, "RESULTS", tmp_path / "results")
    done = []

    def measured(self, job):
        done.append(job.name)
        return {"name": job.name, "variant": job.variant, "answer": 42}

    monkeypatch.setattr(matrix.Work, "measure", measured)

    def build(*argv):
        arguments = matrix._parser().parse_args([*argv, "--folder", str(tmp_path / "work")])
        return matrix.Work(arguments, lambda line: None)

    build.done = done
    return build


def test_an_interrupted_run_goes_on_where_it_was(work, monkeypatch):
    one = work("--only", "demo")
    names = [job.name for job in one.wanted]
    measured = matrix.Work.measure

    def interrupted(self, job):
        if job.name == names[2]:
            raise KeyboardInterrupt
        return measured(self, job)

    monkeypatch.setattr(matrix.Work, "measure", interrupted)
    with pytest.raises(KeyboardInterrupt):
        one.run(lambda: 0.0)
    assert work.done == names[:2]
    monkeypatch.setattr(matrix.Work, "measure", measured)
    again = work("--only", "demo")
    again.run(lambda: 0.0)
    assert work.done == names
    assert again.pending() == []
    work("--only", "demo").run(lambda: 0.0)
    assert work.done == names


def test_minutes_end_a_run_cleanly(work):
    clock = iter([0.0, 10.0, 50.0, 61.0])
    one = work("--only", "demo", "--minutes", "1")
    one.run(lambda: next(clock))
    assert len(work.done) == 2
    assert len(one.pending()) == 4


def test_a_stale_row_is_made_again_and_shown_as_stale_until_then(work, monkeypatch):
    one = work("--only", "demo")
    one.run(lambda: 0.0)
    monkeypatch.setattr(sources, "key", lambda job, weights: "later")
    later = work("--only", "demo")
    assert later.pending() == later.wanted
    assert [row["stale"] for row in later.results("x")["rows"]] == [True] * 6
    later.run(lambda: 0.0)
    assert [row["stale"] for row in later.results("x")["rows"]] == [False] * 6


def test_failed_and_skipped_rows_are_tried_again_on_request_only(work):
    one = work("--only", "demo", "--target", "onnx")
    first, second = one.wanted
    one.state.save(first, one._keys[first], {"name": first.name, "error": "no memory"})
    one.state.save(second, one._keys[second], {"name": second.name, "skipped": "needed more"})
    assert one.pending() == []
    assert work("--only", "demo", "--target", "onnx", "--retry").pending() == [first, second]


def test_a_given_file_makes_the_filled_row_stale(work, tmp_path):
    work("--only", "mobile_sam").run(lambda: 0.0)
    (tmp_path / "weights").mkdir()
    given = ("--only", "mobile_sam", "--checkpoints", str(tmp_path / "weights"))
    assert work(*given).pending() == []
    (tmp_path / "weights" / "mobile_sam.pt").write_bytes(b"weights")
    assert len(work(*given).pending()) == 6


def test_committed_rows_count_where_the_work_folder_has_none(tmp_path):
    committed = tmp_path / "matrix.json"
    committed.write_text(json.dumps({"rows": [{"name": DEMO.name, "key": "k", "seconds": 1}]}))
    state = State(tmp_path / "rows", committed)
    assert state.is_current(DEMO, "k")
    assert not state.is_current(DEMO, "other")
    state.save(DEMO, "other", {"name": DEMO.name, "seconds": 2})
    assert state.row(DEMO)["seconds"] == 2
    assert [p.name for p in (tmp_path / "rows").iterdir()] == [f"{DEMO.name}.json"]


def test_a_damaged_row_names_its_file(tmp_path):
    (tmp_path / f"{DEMO.name}.json").write_text("{")
    with pytest.raises(RequestError, match=rf"{DEMO.name}\.json is no row .*: delete it"):
        State(tmp_path, tmp_path / "none.json").row(DEMO)


def test_two_files_are_both_needed(tmp_path):
    nanosam = load_variant("nanosam_resnet18")
    (tmp_path / nanosam.published.file).write_bytes(b"")
    assert measure.checkpoint_of(nanosam, tmp_path) == ()
    (tmp_path / nanosam.decoder.published.file).write_bytes(b"")
    assert len(measure.checkpoint_of(nanosam, tmp_path)) == 2
    assert measure.checkpoint_of(nanosam, None) == ()


# ------------------------------------------------------------------------------- child processes


def ended(code, tmp_path, limit_gb=8.0):
    return processes.run_within([sys.executable, "-c", code], tmp_path / "log", limit_gb)


def test_a_child_that_fails_leaves_its_last_words(tmp_path):
    assert ended("print('fine')", tmp_path).reason == ""
    assert ended("raise ValueError('no wobble')", tmp_path).reason == "ValueError: no wobble"
    assert "exit status 3" in ended("raise SystemExit(3)", tmp_path).reason
    assert "signal 9" in ended("import os; os.kill(os.getpid(), 9)", tmp_path).reason


@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="needs /proc")
def test_a_child_that_takes_too_much_memory_is_stopped_with_its_own_children(tmp_path):
    greedy = "import time; held = bytearray(400_000_000); time.sleep(60)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {greedy!r}])"
    stopped = ended(code, tmp_path, limit_gb=0.2)
    assert stopped.stopped_gb > 0.2
    assert "needed more than 0.2 GB" in stopped.reason
    assert stopped.usage.wall_s < 30


def fake_children(monkeypatch, **ends):
    def run(command, log, limit_gb):
        step = command[command.index("--step") + 1]
        folder = Path(command[command.index("--folder") + 1])
        end = ends[step]
        if not end.reason:
            (folder / f"{step}.json").write_text(json.dumps(ANSWERS[step]))
        return end

    monkeypatch.setattr(matrix, "run_within", run)


USAGE = processes.Usage(2.0, 3.0, 0.5)
GOOD = processes.Ended(USAGE, "")
ANSWERS = {
    "export": {"weights": "filled", "seconds": 1.5, "graphs": [{"spec": {"name": "g"}}]},
    "inspect": {"g": {"max_rank": 4}},
}


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ({"export": GOOD, "inspect": GOOD}, {"seconds": 1.5, "cpu_s": 2.0, "peak_gb": 0.5}),
        ({"export": processes.Ended(USAGE, "it broke")}, {"error": "it broke", "cpu_s": 2.0}),
        (
            {"export": processes.Ended(USAGE, "needed more than 8.0 GB", 8.3)},
            {"skipped": "needed more than 8.0 GB: 8.3 GB were held when it was stopped"},
        ),
        (
            {"export": GOOD, "inspect": processes.Ended(USAGE, "no such file")},
            {"error": "exported, but not inspected: no such file", "seconds": 1.5},
        ),
    ],
)
def test_whatever_happens_is_a_row_and_the_bundle_goes(monkeypatch, tmp_path, ends, expected):
    monkeypatch.setattr(sources, "key", lambda job, weights: "now")
    fake_children(monkeypatch, **ends)
    arguments = matrix._parser().parse_args(["--only", "demo", "--folder", str(tmp_path)])
    row = matrix.Work(arguments, lambda line: None).measure(DEMO)
    assert expected.items() <= row.items()
    assert row["name"] == DEMO.name
    assert list((tmp_path / "bundles").iterdir()) == []


# ------------------------------------------------------------------------------- goals and table


def graph(name="image_encoder", **changes):
    found = {
        "operations": {"CONV_2D": 3, "ADD": 1},
        "max_rank": 4,
        "partitions": 1,
        "outside": {},
        "custom": [],
        "dynamic": 0,
    }
    outputs = [{"name": "low_res_masks"}]
    return {
        "spec": {"name": name, "outputs": outputs},
        "bytes": 20_000_000,
        "facts": found | changes,
    }


def row(name="mobile_sam-tflite-fp16", **changes):
    variant, target, precision = name.split("-")
    made = {"name": name, "variant": variant, "family": variant, "target": target}
    made |= {"precision": precision, "weights": jobs.FILLED, "seconds": 61.0, "cpu_s": 80.0}
    made |= {"peak_gb": 1.1, "graphs": [graph()], "parity": [], "missed": [], "stale": False}
    return made | changes


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


def test_the_command_writes_the_page_and_its_data(work, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(matrix.Work, "measure", lambda self, job: row(job.name))
    argv = ["--only", "demo", "--target", "tflite", "--write", "--folder", str(tmp_path / "w")]
    assert matrix.main(argv) == 0
    data = json.loads((tmp_path / "results" / "matrix.json").read_text())
    assert [r["name"] for r in data["rows"]] == ["demo-tflite-fp32", "demo-tflite-fp16"]
    assert (tmp_path / "results" / "matrix.md").read_text() == table.render(data)
    assert "0 of 2 exports are to be made" in capfd.readouterr().err
    assert matrix.main(["--only", "nosam"]) == 2
    assert "no variant is called 'nosam'" in capfd.readouterr().err


# ----------------------------------------------------------------------------- facts of Core ML


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


def test_a_process_is_not_charged_with_what_its_parent_holds(tmp_path):
    ballast = b"\x01" * 2**30
    command = [sys.executable, "-c", "import time; time.sleep(0.7)"]
    ended = processes.run_within(command, tmp_path / "log", 10.0)
    assert len(ballast) == 2**30
    assert 0.003 < ended.usage.peak_gb < 0.3
