"""The runner built with this host's compiler, on real runtimes: what it computes and times."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from android_harness.process import read_runner
from android_harness.runner.compilers import find_compiler
from android_harness.runtimes import needed_runtime
from android_harness.ways.capsule import wheels
from exporter.bundle.folder import open_bundle
from exporter.bundle.prompts import Prompts
from exporter.errors import RunnerError
from runtimes.engines import load_graph, run_canonical
from runtimes.remote.everything import everything_plan
from runtimes.remote.job import Link, RunnerCase
from runtimes.remote.plans import check_plan, graph_plan, replay, session_plan
from runtimes.segmenters import open_segmenter
from tests.conformance import fill
from tests.device.runner_kit import ABI, QUICK, Folder, library, shell, tiny_onnx, tiny_tflite
from tests.unit import tiny_bundle
from tests.unit.tiny_tflite import write_adder

BUNDLES = {"onnx": tiny_onnx, "tflite": tiny_tflite}
SAME = 1e-6
"""The same library with the same kernels: only the order of threads could differ."""


@pytest.fixture(scope="session")
def runner(tmp_path_factory):
    compiler = find_compiler(ABI) if ABI else None
    if compiler is None:
        pytest.skip("no C compiler for this host")
    path = tmp_path_factory.mktemp("runner") / "runner"
    compiler.build(path)
    return path


@pytest.fixture
def folder(runner, tmp_path):
    (tmp_path / "work").mkdir()
    return Folder(runner, tmp_path / "work")


@pytest.fixture(params=sorted(BUNDLES))
def bundle(request, tmp_path):
    wheel = needed_runtime(request.param).wheel
    if wheels.installed(wheel, ABI) is None:
        pytest.skip(f"{wheel.project} {wheel.version} is not installed")
    return BUNDLES[request.param](tmp_path / "bundle")


def test_it_proves_that_it_starts(runner):
    answer = shell(f"{runner} --version")
    assert (answer.status, answer.stderr) == (0, "")
    assert '"runner": 3, "bits": 64' in answer.stdout


def test_every_output_is_what_the_engine_here_gives(bundle, folder):
    plan = check_plan(bundle, library(bundle), QUICK)
    folder.run(plan)
    load = replay(plan, folder.pull(plan))
    goldens, compared = bundle.goldens(), 0
    for graph in bundle.manifest.graphs:
        engine = load_graph(bundle, graph.spec.name, threads=1)
        for case in goldens.cases(graph.spec.name):
            inputs = goldens.inputs(graph.spec, case)
            expected = run_canonical(engine, graph.spec, inputs)
            got = run_canonical(load(graph.spec.name), graph.spec, inputs)
            for name, array in expected.items():
                assert np.abs(array - got[name]).max() <= SAME
                assert np.abs(array).max() > 0.1
                compared += 1
    assert compared >= 2


def test_the_check_runs_the_decoder_on_the_encoding_of_the_device(bundle, folder):
    plan = check_plan(bundle, library(bundle), QUICK)
    decoder = next(g for g in plan.job.graphs if g.spec.name == "mask_decoder")
    own = [case for case in decoder.cases if case.name.endswith("+encoded")]
    assert own
    encoder_outputs = plan.job.graphs[0].cases[0].outputs
    assert own[0].inputs["image_embeddings"] == encoder_outputs["image_embeddings"]
    assert folder.run(plan).mode == "check"


def test_inputs_that_the_device_was_not_asked_for_have_no_answer(bundle, folder):
    plan = check_plan(bundle, library(bundle), QUICK)
    folder.run(plan)
    session = replay(plan, folder.pull(plan))("image_encoder")
    spec = plan.job.graphs[0].spec
    zeros = {t.name: np.zeros(t.shape, t.dtype) for t in spec.inputs}
    with pytest.raises(RunnerError, match="was not asked for these inputs of image_encoder"):
        session.run(zeros)


def test_an_output_that_did_not_come_back_is_named(bundle, folder):
    plan = check_plan(bundle, library(bundle), QUICK)
    folder.run(plan)
    pulled = folder.pull(plan)
    first = plan.outputs[0]
    with pytest.raises(RunnerError, match="one of"):
        replay(plan, {n: c for n, c in pulled.items() if n != first})
    with pytest.raises(RunnerError, match="bytes of image_embeddings"):
        replay(plan, {**pulled, first: pulled[first][:-4]})


def test_a_graph_is_timed_call_by_call(bundle, folder):
    plan = graph_plan(bundle, "mask_decoder", library(bundle), replace(QUICK, runs=40))
    run = folder.run(plan).graph_run("mask_decoder")
    assert len(run.samples_ns) == 40
    assert run.first_ns == run.warmup_ns[0] > 0
    assert min(run.samples_ns) > 0
    assert run.load_ns > max(run.samples_ns)
    assert run.cpu_ns > 0
    assert 2**20 < run.peak_bytes < 2**30
    assert run.runtime.split()[1] == plan.job.version
    assert "not stable" in run.notes[0]  # no time was given to the warm-up


def test_it_goes_on_until_it_has_both_runs_and_seconds(bundle, folder):
    setting = replace(QUICK, runs=1, seconds=0.2)
    run = folder.run(graph_plan(bundle, "image_encoder", library(bundle), setting))
    assert len(run.samples_ns) > 1
    # The rest is the loop itself and what the machine did in between.
    assert sum(run.samples_ns) > 0.02e9


def test_it_keeps_to_the_cores_it_is_given(bundle, folder):
    free = folder.run(graph_plan(bundle, "image_encoder", library(bundle), QUICK)).affinity
    held = replace(QUICK, cores=free[-1:])
    assert (
        folder.run(graph_plan(bundle, "image_encoder", library(bundle), held)).affinity == free[-1:]
    )


def test_a_session_loads_everything_and_hands_the_encoding_on(bundle, folder):
    plan = session_plan(bundle, library(bundle), replace(QUICK, runs=7))
    decoder = plan.job.graphs[-1]
    case = replace(decoder.cases[0], outputs={"low_res_masks": "masks.bin"})
    assert case.inputs["image_embeddings"] == Link("image_encoder", "image_embeddings")
    graphs = (*plan.job.graphs[:-1], replace(decoder, cases=(case,)))
    report = folder.run(replace(plan, job=replace(plan.job, graphs=graphs)))
    run = report.session_run()
    assert len(run.click_ns) == 7
    assert set(report.load_ns) == {"image_encoder", "mask_decoder"}
    assert run.first_mask_ns > run.load_ns + sum(report.first_ns.values())
    got = np.fromfile(folder.path / "masks.bin", "<f4")
    goldens = bundle.goldens()
    assert (
        np.abs(got - goldens.expected(decoder.spec, case.name, "low_res_masks").ravel()).max()
        < 1e-4
    )


def test_a_session_reads_no_file_for_what_it_links(bundle, folder):
    plan = session_plan(bundle, library(bundle), QUICK)
    read = {g for job in plan.job.graphs for g in job.cases[0].inputs.values()}
    assert {n for n in plan.files if n.startswith("in-")} == {g for g in read if isinstance(g, str)}


def edited(plan, **changes):
    return replace(plan.job, **changes).text()


def first_graph(plan, **changes):
    graph = replace(plan.job.graphs[0], **changes)
    return replace(plan.job, graphs=(graph, *plan.job.graphs[1:])).text()


def reshaped(plan, **changes):
    spec = plan.job.graphs[0].spec
    inputs = (replace(spec.inputs[0], **changes), *spec.inputs[1:])
    return first_graph(plan, spec=replace(spec, inputs=inputs))


BAD = {
    "no model": (lambda p: first_graph(p, model="gone.bin"), "gone.bin"),
    "no model at all": (lambda p: first_graph(p, model="garbage.bin"), "garbage.bin"),
    "no input file": (
        lambda p: first_graph(p, cases=(RunnerCase("x", dict.fromkeys(p.names, "gone.bin")),)),
        "cannot open gone.bin: No such file",
    ),
    "short input": (
        lambda p: first_graph(p, cases=(RunnerCase("x", dict.fromkeys(p.names, "short.bin")),)),
        r"short.bin holds 3 bytes where input \w+ takes \d+",
    ),
    "long input": (
        lambda p: first_graph(p, cases=(RunnerCase("x", dict.fromkeys(p.names, "long.bin")),)),
        "long.bin holds at least",
    ),
    "input not given": (lambda p: first_graph(p, cases=(RunnerCase("x", {}),)), "0 times"),
    "unknown tensor": (
        lambda p: p.job.text().replace("read ", "read other "),
        r"no tensor|0 times|holds",
    ),
    "other shape": (lambda p: reshaped(p, shape=(1, 3, 5)), "not float32 of the job's shape|holds"),
    "forward link": (
        lambda p: first_graph(
            p, cases=(RunnerCase("x", dict.fromkeys(p.names, Link("later", "y"))),)
        ),
        "links to later, which is not earlier",
    ),
    "no folder for outputs": (
        lambda p: first_graph(
            p, cases=(replace(p.case, outputs={p.outputs[0]: "no/such/folder.bin"}),)
        ),
        "cannot write no/such/folder.bin",
    ),
    "full disk": (
        lambda p: first_graph(p, cases=(replace(p.case, outputs={p.outputs[0]: "/dev/full"}),)),
        "cannot write /dev/full: is the disk full",
    ),
    "unknown output": (
        lambda p: first_graph(p, cases=(replace(p.case, outputs={"other": "x.bin"}),)),
        "no tensor other",
    ),
    "no library": (lambda p: edited(p, library="./gone.so"), "cannot open ./gone.so"),
    "not a runtime": (lambda p: edited(p, library="libc.so.6"), "it has no (OrtGetApiBase|LiteRt)"),
    "core that is not there": (lambda p: edited(p, cores=(1000,)), "cores of the job"),
    "delegate": (lambda p: edited(p, delegate="qnn"), "no delegate qnn"),
    "cut short": (lambda p: p.job.text()[:-5], "cut short: it has no end"),
    "no job": (lambda p: "hello\n", "is not a job"),
    "other version": (lambda p: p.job.text().replace("runner 3", "runner 2"), "not of version 3"),
    "unknown word": (lambda p: p.job.text().replace("mode", "mood"), "no word mood"),
    "unknown mode": (lambda p: p.job.text().replace("mode graph", "mode x"), "no mode x"),
    "unknown dtype": (lambda p: p.job.text().replace("float32", "float33"), "no dtype float33"),
    "no graph to repeat": (
        lambda p: p.job.text().replace("end\n", "repeat other\nend\n"),
        "job: no graph other",
    ),
    "no runtime of that name": (lambda p: edited(p, runtime="toy"), "job: no runtime toy"),
    "too wide a window": (
        lambda p: p.job.text().replace("stable_calls 5", "stable_calls 65"),
        "stable_calls is 65, not a number from 1 to 64",
    ),
    "no threads": (lambda p: p.job.text().replace("threads 1", "threads 0"), "threads is 0"),
    "huge shape": (
        lambda p: p.job.text().replace("float32 1,", "float32 4000000000,4000000000,", 1),
        "impossible shape",
    ),
    "shape beyond any memory": (
        lambda p: p.job.text().replace("float32 1,", "float32 1,200000000,", 1),
        "impossible shape",
    ),
    "negative shape": (
        lambda p: p.job.text().replace("float32 1,", "float32 -1,", 1),
        "impossible shape",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_job_gets_one_clear_line(bundle, folder, kind):
    change, said = BAD[kind]
    plan = graph_plan(bundle, "image_encoder", library(bundle), QUICK)
    folder.put(
        {**plan.files, "short.bin": b"abc", "long.bin": bytes(10**6), "garbage.bin": b"no model"}
    )
    answer = folder.start(change(_Handy(plan)))
    assert answer.status == 1
    ours = [line for line in answer.stderr.splitlines() if line.startswith("runner: error: ")]
    assert len(ours) == 1
    with pytest.raises(RunnerError, match=said) as caught:
        read_runner(answer)
    assert str(caught.value) == ours[0].replace("runner: error:", "the runner failed:")


class _Handy:
    """A plan, and what the table above wants of its first graph."""

    def __init__(self, plan):
        self.job = plan.job
        self.names = [t.name for t in plan.job.graphs[0].spec.inputs]
        self.outputs = [t.name for t in plan.job.graphs[0].spec.outputs]
        self.case = plan.job.graphs[0].cases[0]


def test_a_model_that_is_not_what_the_job_says_is_refused(bundle, folder):
    plan = graph_plan(bundle, "image_encoder", library(bundle), QUICK)
    graph = plan.job.graphs[0]
    tensor = graph.spec.inputs[0]
    for changed, size in (
        (replace(tensor, shape=(1, *tensor.shape)), 4),
        (replace(tensor, dtype="uint8"), 1),
    ):
        spec = replace(graph.spec, inputs=(changed, *graph.spec.inputs[1:]))
        content = bytes(int(np.prod(tensor.shape)) * size)
        folder.put({**plan.files, graph.cases[0].inputs[tensor.name]: content})
        answer = folder.start(replace(plan.job, graphs=(replace(graph, spec=spec),)).text())
        assert f"tensor {tensor.name} is not {changed.dtype} of the job's shape" in answer.stdout
        assert answer.status == 1


def test_a_missing_output_is_not_made_up(bundle, folder):
    plan = graph_plan(bundle, "image_encoder", library(bundle), QUICK)
    graph = plan.job.graphs[0]
    two = (*graph.spec.outputs, replace(graph.spec.outputs[0], name="other"))
    job = replace(plan.job, graphs=(replace(graph, spec=replace(graph.spec, outputs=two)),))
    folder.put(plan.files)
    assert "has 1 outputs, the job 2" in folder.start(job.text()).stdout


def test_another_version_of_onnxruntime_is_refused(folder, tmp_path):
    if wheels.installed(needed_runtime("onnx").wheel, ABI) is None:
        pytest.skip("onnxruntime is not installed")
    bundle = tiny_onnx(tmp_path / "b")
    plan = graph_plan(bundle, "image_encoder", library(bundle), QUICK)
    with pytest.raises(RunnerError, match=r"is onnxruntime 1\.\d+\.\d+, not 1\.0\.0"):
        folder.run(replace(plan, job=replace(plan.job, version="1.0.0")))


def test_a_signature_that_is_not_there_is_named(folder, tmp_path):
    if wheels.installed(needed_runtime("tflite").wheel, ABI) is None:
        pytest.skip("LiteRT is not installed")
    bundle = tiny_tflite(tmp_path / "b")
    plan = graph_plan(bundle, "image_encoder", library(bundle), QUICK)
    folder.put(plan.files)
    answer = folder.start(first_graph(plan, signature="other"))
    assert "has no signature other" in answer.stdout


def test_a_file_without_signatures_is_called_by_place(folder, tmp_path):
    if wheels.installed(needed_runtime("tflite").wheel, ABI) is None:
        pytest.skip("LiteRT is not installed")
    bundle = tiny_tflite(tmp_path / "b")
    plan = check_plan(bundle, library(bundle), QUICK)
    graph = replace(plan.job.graphs[0], signature="")
    plan = replace(plan, job=replace(plan.job, graphs=(graph,)))
    folder.put(plan.files)
    write_adder(folder.path / graph.model, "", ("", "", ""))
    folder.start(plan.job.text())
    got = np.fromfile(folder.path / graph.cases[0].outputs["image_embeddings"], "<f4")
    inputs = [np.fromfile(folder.path / file, "<f4") for file in graph.cases[0].inputs.values()]
    assert np.array_equal(got, inputs[0] + inputs[1])


def test_the_tiny_bundle_is_what_its_twin_says(folder, tmp_path):
    """Against numbers that no runtime made."""
    if wheels.installed(needed_runtime("onnx").wheel, ABI) is None:
        pytest.skip("onnxruntime is not installed")
    bundle = tiny_onnx(tmp_path / "b")
    plan = check_plan(bundle, library(bundle), QUICK)
    folder.run(plan)
    stored = tiny_bundle.goldens(1)
    name = next(n for n in plan.outputs if "click_left-low_res" in n)
    got = np.frombuffer(folder.pull(plan)[name], "<f4")
    assert np.abs(got - stored["mask_decoder/click_left/low_res_masks"].ravel()).max() < 1e-4


def test_everything_is_asked_row_by_row(folder, tmp_path):
    """The last prompt's outputs are the engine's here, in a batch of three."""
    if wheels.installed(needed_runtime("onnx").wheel, ABI) is None:
        pytest.skip("onnxruntime is not installed")
    tiny_bundle.build(tmp_path / "bundle", tiny_bundle.Recipe(batch=3))
    bundle = open_bundle(tmp_path / "bundle")
    rgb = fill.picture(3, 61, 97)
    plan = everything_plan(bundle, library(bundle), replace(QUICK, runs=2), rgb, 4)
    encoder, decoder = plan.job.graphs
    writing = replace(decoder.cases[0], outputs={"low_res_masks": "masks.bin"})
    job = replace(plan.job, graphs=(encoder, replace(decoder, cases=(writing,))))
    run = folder.run(replace(plan, job=job)).everything_run()
    assert run.prompts == 6  # of 16, the last two rows once more
    assert run.calls == {"image_encoder": 1, "mask_decoder": 6}
    assert len(run.total_ns) == 2
    segmenter = open_segmenter(bundle)
    segmenter.set_image(rgb)
    corner = Prompts(((97 * 7 / 8, 61 * 7 / 8),), (1,))
    expected, _ = segmenter.decode([corner])
    spec = next(t for t in decoder.spec.outputs if t.name == "low_res_masks")
    found = np.fromfile(folder.path / "masks.bin", np.float32).reshape(spec.shape)
    np.testing.assert_allclose(found, expected, atol=SAME)
    assert np.ptp(found) > 0.1


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("gate mask_decoder image_encoder image_embeddings 0.5 999999", "no place 999999"),
        ("gate mask_decoder image_encoder masks 0.5 1", "has no tensor masks"),
        ("sweep mask_decoder point_coords job.txt", "does not hold 6 rows of point_coords"),
        ("prompts 0", "prompts is 0"),
    ],
)
def test_a_wrong_job_of_everything_is_refused(folder, tmp_path, line, says):
    if wheels.installed(needed_runtime("onnx").wheel, ABI) is None:
        pytest.skip("onnxruntime is not installed")
    tiny_bundle.build(tmp_path / "bundle", tiny_bundle.Recipe(batch=3))
    bundle = open_bundle(tmp_path / "bundle")
    plan = everything_plan(bundle, library(bundle), QUICK, fill.picture(3, 61, 97), 4)
    folder.put(plan.files)
    answer = folder.start(plan.job.text().replace("end\n", f"{line}\nend\n"))
    assert answer.status == 1
    assert says in answer.stdout
