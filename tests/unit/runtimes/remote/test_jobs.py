"""What a runner is asked and answers: jobs as text, reports as values, plans of a bundle."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest

from android_harness.process import Answer, read_runner, start_command
from exporter.bundle.folder import Bundle
from exporter.bundle.tensors import GraphSpec
from exporter.errors import BundleError, RequestError, RunnerError
from runtimes.device import Method
from runtimes.frames import frame_title, graph_in_frame, is_frame
from runtimes.remote.job import Best, Kept, Library, Link, RunnerCase
from runtimes.remote.plans import Setting, check_plan, graph_plan, session_plan
from runtimes.remote.report import parse_report
from tests.unit.runtimes.remote.small_jobs import GRAPH, JOB

TEXT = """\
sam-runner 3
mode graph
runtime litert 2.3.0
library capsule/libLiteRt.so
delegate cpu
threads 2
cores 4,5
runs 50
seconds 10.000000
warmup_seconds 5.000000
warmup_least_seconds 0.300000
stable_calls 5
stable_within 0.020000
graph image_encoder
model bundle-1/image_encoder.tflite
signature encode
input image uint8 1,4,4,3
output image_embeddings float32 1,2
case scene
read image in-1.bin
write image_embeddings out-1.bin
end
"""
REPORT = {
    "runner": 3,
    "mode": "graph",
    "runtime": "LiteRT 2.3.0",
    "load_ns": {"image_encoder": 7},
    "first_ns": {"image_encoder": 9},
    "warmup_ns": [9, 8],
    "stable": True,
    "samples_ns": [6, 7, 6],
    "cpu_ns": 12,
    "first_mask_ns": None,
    "peak_bytes": 4096,
    "threads": 2,
    "affinity": [4, 5],
    "khz_before": {"4": 2000000, "5": 2000000},
    "khz_after": {"4": 2000000, "5": 1500000},
    "notes": [],
}


# -------------------------------------------------------------------------------------------- jobs


def test_a_job_is_one_line_a_thing():
    assert JOB.text() == TEXT


def test_a_link_and_all_cores():
    case = RunnerCase("scene", {"image": Link("earlier", "out")})
    text = replace(JOB, mode="session", graphs=(replace(GRAPH, cases=(case,)),), cores=()).text()
    assert "\nlink image earlier out\n" in text
    assert "\ncores all\n" in text


def test_a_frame_of_several_objects():
    best = Best("earlier", "masks", "ratings", (1, 2))
    case = RunnerCase("frame", {"image": best})
    kept = (
        Kept("image_encoder", "image", 1, Link("earlier", "out")),
        Kept("image_encoder", "image", 0, best),
        Kept("image_encoder", "image", 2),
    )
    graph = replace(GRAPH, cases=(case,))
    frame = {"mode": "frame", "graphs": (graph,), "repeat": ("image_encoder",)}
    text = replace(JOB, **frame, objects=3, kept=kept).text()
    assert "\nbest image earlier masks ratings 1,2\n" in text
    assert text.endswith(
        "objects 3\n"
        "keep image_encoder image 1 all earlier out\n"
        "keep image_encoder image 0 best earlier masks ratings 1,2\n"
        "turn image_encoder image 2\n"
        "end\n"
    )
    for changes in ({"objects": 0, "kept": kept}, {"objects": 3, "kept": ()}):
        with pytest.raises(RequestError, match="a job of a frame, and no other, has objects"):
            replace(JOB, **frame, **changes)
    with pytest.raises(RequestError, match="a job of a frame, and no other, has objects"):
        replace(JOB, objects=1, kept=kept, repeat=("image_encoder",))


def test_only_a_check_has_more_than_one_case():
    graph = replace(GRAPH, cases=(*GRAPH.cases, replace(GRAPH.cases[0], name="other")))
    assert "case other" not in replace(JOB, graphs=(graph,)).text()
    assert "case other" in replace(JOB, mode="check", graphs=(graph,)).text()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"mode": "race"}, "unknown mode 'race'; choose from check, graph, session"),
        ({"threads": 0}, "1 or more"),
        ({"runs": 0}, "1 or more"),
        ({"seconds": -1.0}, "no time is below 0"),
        ({"stable_calls": 65}, "stable_calls is 1 to 64, not 65"),
        ({"repeat": ("other",)}, "no graph 'other' to repeat"),
        ({"graphs": ()}, "cannot have 0 graphs"),
        ({"graphs": (GRAPH, GRAPH)}, "cannot have 2 graphs"),
        ({"graphs": (replace(GRAPH, cases=()),)}, "needs a case"),
    ],
)
def test_a_job_that_no_runner_could_do(changes, said):
    with pytest.raises(RequestError, match=said):
        replace(JOB, **changes)


@pytest.mark.parametrize("name", ["my model.tflite", "", "a\nend", "mod\u00e8le"])
def test_a_name_that_would_break_the_lines(name):
    with pytest.raises(RequestError, match="no spaces, ASCII alone"):
        replace(JOB, library=name).text()


# ----------------------------------------------------------------------------------------- reports


def test_a_report_becomes_the_words_of_measuring():
    run = parse_report(json.dumps(REPORT)).graph_run("image_encoder")
    assert (run.load_ns, run.first_ns, run.samples_ns) == (7, 9, (6, 7, 6))
    assert (run.affinity, run.peak_bytes, run.cpu_ns) == ((4, 5), 4096, 12)
    assert run.notes == ("the clock fell during the run (core 5)",)


def test_a_session_report():
    session = {**REPORT, "mode": "session", "first_mask_ns": 99, "load_ns": {"a": 1, "b": 2}}
    run = parse_report(json.dumps(session)).session_run()
    assert (run.load_ns, run.first_mask_ns, run.click_ns) == (3, 99, (6, 7, 6))
    whole = parse_report(json.dumps({**session, "samples_ns": []})).session_run()
    assert (whole.first_mask_ns, whole.click_ns) == (99, ())


def test_a_report_of_a_frame_is_the_whole_and_its_parts():
    spent = {"image_encoder": [4, 5, 4], "mask_decoder": [1, 1, 1]}
    loads = {"image_encoder": 7, "mask_decoder": 2}
    stages = {"objects": 3, "loaded_bytes": 5, "calls": dict.fromkeys(spent, 1), "graph_ns": spent}
    data = {**REPORT, "mode": "frame", "frame": stages, "load_ns": loads, "first_ns": loads}
    whole, *parts = parse_report(json.dumps(data)).frame_runs(3)
    assert (whole.graph, whole.load_ns, whole.samples_ns) == (frame_title(3), 9, (6, 7, 6))
    assert whole.notes == ("the clock fell during the run (core 5)",)
    assert {part.graph: part.samples_ns for part in parts} == {
        frame_title(3, graph): tuple(times) for graph, times in spent.items()
    }
    titles = [part.graph for part in (whole, *parts)]
    assert [graph_in_frame(title) for title in titles] == ["", "image_encoder", "mask_decoder"]
    assert [is_frame(title) for title in (*titles, "mask_decoder")] == [True, True, True, False]
    assert is_frame(frame_title(1))
    assert graph_in_frame("mask_decoder") == ""
    spent["mask_decoder"] = [1, 1]
    with pytest.raises(RunnerError, match="does not time every graph in every run"):
        parse_report(json.dumps(data)).frame_runs(3)
    with pytest.raises(RunnerError, match="no times of a frame"):
        parse_report(json.dumps(REPORT)).frame_runs(3)


def test_a_report_of_another_mode_or_graph_is_no_run():
    report = parse_report(json.dumps(REPORT))
    with pytest.raises(RunnerError, match="no times of a session"):
        report.session_run()
    with pytest.raises(RunnerError, match="no times of mask_decoder"):
        report.graph_run("mask_decoder")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "gave no answer"),
        (json.dumps(REPORT)[:-40], "cut short or garbled"),
        (f"WARNING: linker\n{json.dumps(REPORT)}", "cut short or garbled"),
        ("[1, 2]", "is a list, not an object"),
        (json.dumps({**REPORT, "runner": 4}), "speaks version 4, not 3"),
        ('{"runner": 3, "error": "cannot open x: gone"}', "the runner failed: cannot open x: gone"),
        (
            json.dumps({k: v for k, v in REPORT.items() if k != "cpu_ns"}),
            "is missing the field 'cpu_ns'",
        ),
        (json.dumps({**REPORT, "samples_ns": [1, "2"]}), r"samples_ns\[1\] should be"),
        (json.dumps({**REPORT, "more": 1}), "unknown field 'more'"),
    ],
)
def test_an_answer_that_is_no_report(text, said):
    with pytest.raises(RunnerError, match=said):
        parse_report(text)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(124, "", ""), "did not end in time"),
        (Answer(124, json.dumps(REPORT), ""), "did not end in time"),
        (Answer(137, "", "x\nLow on memory\n"), "killed the runner.*'Low on memory'"),
        (Answer(139, "", ""), "crashed"),
        (Answer(126, "", "sh: runner: can't execute: Permission denied"), "Permission denied"),
        (Answer(0, "", ""), "gave no answer"),
        (Answer(1, '{"runner": 3, "error": "no memory"}', ""), "the runner failed: no memory"),
    ],
)
def test_how_a_runner_ended(answer, said):
    with pytest.raises(RunnerError, match=said):
        read_runner(answer)


def test_the_command_becomes_the_program_in_a_clean_environment(tmp_path):
    folder = tmp_path / "it's here"
    folder.mkdir()
    (folder / "old.pb").write_text("stale")
    line = start_command(
        str(folder), "env", prefix="nice -n 0", libraries=str(folder), stale="old.pb"
    )
    given = {**os.environ, "LD_PRELOAD": "", "ORT_DISABLE_TELEMETRY": "0"}
    done = subprocess.run(["sh", "-c", line], env=given, capture_output=True, text=True, check=True)
    seen = dict(row.split("=", 1) for row in done.stdout.splitlines() if "=" in row)
    assert seen["ORT_DISABLE_TELEMETRY"] == "1"
    assert seen["HOME"] == seen["TMPDIR"] == seen["LD_LIBRARY_PATH"] == str(folder)
    assert "LD_PRELOAD" not in seen
    assert not (folder / "old.pb").exists()
    assert shlex.split(line)[-4:] == ["nice", "-n", "0", "env"]


# ------------------------------------------------------------------------------------------- plans


def test_a_method_and_its_cores_are_a_setting():
    setting = Setting.of(Method(threads=3, runs=9, delegate="xnnpack"), (6, 7))
    assert setting == Setting(3, (6, 7), "xnnpack", 9, 10.0, 5.0, 0.3, 5, 0.02)


LIBRARY = Library("ort", "capsule-x86_64/libonnx.so", "1")
SETTING = Setting.of(Method(), ())


def test_a_plan_takes_along_what_it_names(tiny):
    plan = graph_plan(tiny, "image_encoder", LIBRARY, SETTING)
    model, tensor = sorted(plan.files, key=lambda name: name.startswith("in-"))
    assert plan.files[model] == tiny.file("image_encoder")
    assert plan.job.graphs[0].model == model
    content = plan.files[tensor]
    assert tensor == f"in-{hashlib.sha256(content).hexdigest()[:16]}.bin"
    assert len(content) == 3 * 64 * 64 * 4
    assert plan.job.library == "capsule-x86_64/libonnx.so"


def test_the_weights_beside_a_model_go_along(tiny):
    files = {**tiny.manifest.files, "image_encoder.onnx.data": "0", "image_encoder.txt": "0"}
    bundle = replace(tiny, manifest=replace(tiny.manifest, files=files))
    plan = graph_plan(bundle, "image_encoder", LIBRARY, SETTING)
    names = {name.rpartition("/")[2] for name in plan.files if "/" in name}
    assert names == {"image_encoder.onnx", "image_encoder.onnx.data"}


def test_a_session_encodes_before_it_decodes(tiny):
    graphs = tiny.manifest.graphs[::-1]
    bundle = replace(tiny, manifest=replace(tiny.manifest, graphs=graphs))
    jobs = session_plan(bundle, LIBRARY, SETTING).job.graphs
    assert [job.spec.name for job in jobs] == ["image_encoder", "mask_decoder"]
    link = jobs[1].cases[0].inputs["image_embeddings"]
    assert link == Link("image_encoder", "image_embeddings")


def test_a_session_repeats_the_decoder_even_if_a_graph_follows_it(tiny, tmp_path):
    masks = tiny.manifest.graph("mask_decoder").spec.outputs[0]
    memory = replace(masks, name="memory")
    spec = GraphSpec("memory_encoder", (masks,), (memory,), "frame")
    graphs = (*tiny.manifest.graphs, replace(tiny.manifest.graphs[1], spec=spec))
    with np.load(tiny.path / "goldens.npz") as stored:
        arrays = dict(stored)
    zeros = np.zeros(masks.shape, np.float32)
    arrays |= {"memory_encoder/*/low_res_masks": zeros, "memory_encoder/click/memory": zeros}
    np.savez(tmp_path / "goldens.npz", **arrays)
    bundle = Bundle(tmp_path, replace(tiny.manifest, graphs=graphs))
    job = session_plan(bundle, LIBRARY, SETTING).job
    assert [graph.spec.name for graph in job.graphs][-1] == "memory_encoder"
    assert job.repeat == ("mask_decoder",)
    assert "\nrepeat mask_decoder\nend\n" in job.text()


def test_a_session_of_one_graph_repeats_none(tiny, tmp_path):
    shutil.copytree(tiny.path, tmp_path / "alone")
    goldens = tmp_path / "alone" / "goldens.npz"
    with np.load(goldens) as arrays:
        kept = {name: arrays[name] for name in arrays if name.startswith("image_encoder/")}
    np.savez(goldens, **kept)
    manifest = replace(tiny.manifest, graphs=tiny.manifest.graphs[:1])
    bundle = replace(tiny, path=goldens.parent, manifest=manifest)
    job = session_plan(bundle, LIBRARY, SETTING).job
    assert job.repeat == ()
    assert "repeat" not in job.text()


def test_an_encoding_in_another_layout_cannot_be_handed_on(tiny):
    encoder, decoder = tiny.manifest.graphs
    spec = replace(
        decoder.spec,
        inputs=(replace(decoder.spec.inputs[0], layout="NHWC"), *decoder.spec.inputs[1:]),
    )
    graphs = (encoder, replace(decoder, spec=spec))
    bundle = replace(tiny, manifest=replace(tiny.manifest, graphs=graphs))
    with pytest.raises(BundleError, match="another shape, dtype or layout"):
        session_plan(bundle, LIBRARY, SETTING)


def test_a_check_has_every_golden_case_and_the_scene_twice(tiny):
    plan = check_plan(tiny, LIBRARY, SETTING)
    encoder, decoder = plan.job.graphs
    assert [case.name for case in encoder.cases] == ["scene"]
    names = {case.name for case in decoder.cases}
    assert {"box", "point", "mask", "click_left", "click_right"} <= names
    assert {f"{n}+encoded" for n in names if "+" not in n} == {n for n in names if "+" in n}
    assert len(set(plan.outputs)) == len(plan.outputs) == 1 + 2 * len(decoder.cases)
