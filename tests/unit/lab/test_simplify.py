"""onnxsim beside the exporter: what is measured of a graph, resumed runs, and the page."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from exporter.bundle.tensors import TensorSpec
from exporter.errors import BundleError
from exporter.variants import variants
from profiles.lab import resumable, steps
from profiles.lab.bench.cost import Usage
from profiles.lab.matrix import sources
from profiles.lab.matrix.processes import ProcessEnd
from profiles.lab.simplify import __main__ as command
from profiles.lab.simplify import measure
from profiles.lab.simplify.measure import CONTROL, RAW, SIMPLIFIED
from tests.unit import tiny_bundle
from tests.unit.lab.simplify_rows import row
from tests.unit.tiny_bundle import Recipe

ROOT = Path(__file__).parents[3]


def silent(line):
    del line


# ------------------------------------------------------------------------------------------ a graph


@pytest.fixture
def bundle(tmp_path):
    """A tiny bundle that may be changed."""
    tiny_bundle.build(tmp_path / "tiny")
    return tmp_path / "tiny"


def test_equal_files_do_not_differ_and_are_timed_with_a_control(bundle, monkeypatch):
    monkeypatch.setattr(measure, "HEAVY", 10**15)  # what else this process has held does not count
    files = measure.files_of(bundle, "mask_decoder")
    shutil.copyfile(files.raw, files.simplified)
    found = measure.compare(files, 1e-9, silent)
    assert set(found["parity"]) == {"low_res_masks", "iou_predictions"}
    for figures in found["parity"].values():
        assert figures["difference"] == 0
        assert figures["psnr_db"][RAW] == figures["psnr_db"][SIMPLIFIED] > 100
    assert set(found["samples_ms"]) == {RAW, SIMPLIFIED, CONTROL}
    assert {len(ms) for ms in found["samples_ms"].values()} == {measure.LEAST}


def test_a_heavy_graph_has_no_control_and_an_untimed_one_no_samples(bundle, monkeypatch):
    files = measure.files_of(bundle, "image_encoder")
    shutil.copyfile(files.raw, files.simplified)
    assert "samples_ms" not in measure.compare(files, 0, silent)
    monkeypatch.setattr(measure, "HEAVY", 0)
    samples = measure.compare(files, 1e-9, silent)["samples_ms"]
    assert {name: len(ms) for name, ms in samples.items()} == {RAW: 2, SIMPLIFIED: 2}


def test_a_simplified_graph_that_computes_something_else_shows(bundle, tmp_path):
    files = measure.files_of(bundle, "mask_decoder")
    tiny_bundle.build(tmp_path / "other", Recipe(flaw="scaled"))  # logits are 0.9 of what they were
    shutil.copyfile(tmp_path / "other" / "mask_decoder.onnx", files.simplified)
    parity = measure.compare(files, 0, silent)["parity"]
    masks = parity["low_res_masks"]
    assert 0.05 < masks["difference"] < 0.15
    assert masks["psnr_db"][SIMPLIFIED] < 40 < 100 < masks["psnr_db"][RAW]
    assert parity["iou_predictions"]["difference"] == 0


def test_a_simplified_graph_with_other_names_is_no_graph_of_the_bundle(bundle):
    files = measure.files_of(bundle, "image_encoder")
    model = onnx.load(files.raw)
    model.graph.input[0].name = model.graph.node[0].input[0] = "picture"
    onnx.save(model, files.simplified)
    with pytest.raises(Exception, match=r"image|picture"):
        measure.compare(files, 0, silent)
    shape = TensorSpec("image_embeddings", (1, 3, 4, 4), "float32", "NCHW")
    (entry, *others) = files.bundle.manifest.graphs
    wrong = replace(entry, spec=replace(entry.spec, outputs=(shape,)))
    manifest = replace(files.bundle.manifest, graphs=(wrong, *others))
    shutil.copyfile(files.raw, files.simplified)
    changed = replace(files, bundle=replace(files.bundle, manifest=manifest))
    with pytest.raises(BundleError, match="its file gave image_embeddings"):
        measure.compare(changed, 0, silent)


def test_rounds_fit_the_time_within_their_limits():
    assert measure.rounds_within(12, 0.5, contenders=2, least=4) == 12
    assert measure.rounds_within(12, 100, contenders=2, least=4) == 4
    assert measure.rounds_within(12, 0.001, contenders=2, least=4) == measure.MOST
    # A multiple of the contenders: the first of a round is not always the same.
    assert measure.rounds_within(12, 0.5, contenders=3, least=2) == 9
    assert measure.rounds_within(12, 100, contenders=3, least=2) == 3


def test_a_loaded_graph_gives_its_memory_back_only_if_frugal(bundle):
    given = []

    class Session:
        def run(self, names, inputs, options):
            given.append(options.get_run_config_entry("memory.enable_memory_arena_shrinkage"))
            return [inputs["x"] for _ in names]

    graph = measure.Loaded(Session(), ("y", "z"))
    assert graph.run({"x": 1}) == {"y": 1, "z": 1}
    assert given == ["cpu:0"]
    with pytest.raises(RuntimeError):  # no such entry
        replace(graph, frugal=False).run({"x": 1})


def test_an_operation_that_is_not_standard_is_named_with_its_domain(tmp_path):
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 4]) for n in "xy"]
    nodes = [
        helper.make_node("Constant", [], ["one"], value_float=1.0),
        helper.make_node("Add", ["x", "one"], ["sum"]),
        helper.make_node("QuickGelu", ["sum"], ["y"], domain="com.microsoft"),
    ]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:])
    onnx.save(helper.make_model(graph), tmp_path / "a.onnx")
    counts = measure._operations(tmp_path / "a.onnx")
    assert counts == {"Add": 1, "com.microsoft.QuickGelu": 1}


def redundant(path):
    """`y = (x + (1 + 1)) * 1`, where the sum of constants and the product are to no purpose."""
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 4]) for n in "xy"]
    one = numpy_helper.from_array(np.ones((1, 4), np.float32), "one")
    nodes = [
        helper.make_node("Add", ["one", "one"], ["two"]),
        helper.make_node("Add", ["x", "two"], ["sum"]),
        helper.make_node("Identity", ["sum"], ["same"]),
        helper.make_node("Identity", ["same"], ["y"]),
    ]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], [one])
    opsets = [helper.make_opsetid("", 20)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)


@pytest.mark.skipif(
    importlib.util.find_spec("onnxsim") is None, reason="calls onnxsim, which is not installed"
)
def test_onnxsim_writes_a_smaller_graph_beside_the_raw_one(bundle):
    files = measure.files_of(bundle, "image_encoder")
    redundant(files.raw)
    before = files.raw.read_bytes()
    found = measure.simplify(files)
    assert files.raw.read_bytes() == before
    assert found["operations"][RAW] == {"Add": 2, "Identity": 2}
    assert found["operations"][SIMPLIFIED] == {"Add": 1}
    assert found["loaded"] == {RAW: {"Add": 1}, SIMPLIFIED: {"Add": 1}}
    assert found["bytes"] == {RAW: len(before), SIMPLIFIED: files.simplified.stat().st_size}
    assert sorted(p.name for p in bundle.glob("image_encoder*")) == [
        "image_encoder.onnx",
        "image_encoder.simplified.onnx",
    ]


# ------------------------------------------------------------------------------------------- a run


@pytest.fixture
def work(tmp_path, monkeypatch):
    """argv -> the work of a run whose keys are "now" and whose rows are measured at once."""
    monkeypatch.setattr(sources, "key", lambda job, weights: f"now {weights}")
    monkeypatch.setattr(command, "version", lambda: "9")
    monkeypatch.setattr(steps, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(
        command.SimplifyRun, "measure", lambda self, job: row(job.variant, job.precision)
    )

    def build(*argv):
        arguments = command._parser().parse_args([*argv, "--folder", str(tmp_path / "work")])
        return command.SimplifyRun(arguments, silent)

    return build


def test_every_variant_is_planned_and_float16_of_each_family(work):
    wanted = work().wanted
    assert sorted(j.variant for j in wanted if j.precision == "fp32") == sorted(variants())
    halves = [variants()[job.variant].family for job in wanted if job.precision == "fp16"]
    assert sorted(halves) == sorted({v.family for v in variants().values()})
    assert {job.target for job in wanted} == {"onnx"}
    assert [job.precision for job in wanted] == sorted((j.precision for j in wanted), reverse=True)


def test_another_onnxsim_makes_the_rows_stale(work, monkeypatch):
    work("--only", "demo").run(lambda: 0.0)
    monkeypatch.setattr(command, "version", lambda: "10")
    later = work("--only", "demo")
    assert later.pending() == later.wanted
    assert [row["stale"] for row in later.results("x")["rows"]] == [True, True]


def test_without_onnxsim_the_command_says_what_to_install(monkeypatch, capfd):
    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(command.importlib.metadata, "version", absent)
    assert command.main(["--only", "demo"]) == 2
    assert capfd.readouterr().err == (
        "simplify: error: onnxsim is not installed: pip install 'sam-export[lab]'\n"
    )


EXPORTED = {"weights": "filled", "graphs": ["image_encoder", "mask_decoder"]}
GOOD = ProcessEnd(Usage(2.0, 3.0, 0.5), "")
BROKEN = ProcessEnd(Usage(2.0, 3.0, 0.5), "killed by signal 11")
GREEDY = ProcessEnd(Usage(2.0, 3.0, 0.5), "needed more than 8.0 GB", 8.3)
STOPPED = "needed more than 8.0 GB: 8.3 GB were held when it was stopped"


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ({}, {"weights": "filled", "graphs": [{}, {}]}),
        ({("export", ""): BROKEN}, {"error": "export: killed by signal 11"}),
        ({("export", ""): GREEDY}, {"skipped": f"export: {STOPPED}"}),
        (
            {("simplify", "image_encoder"): BROKEN},
            {"graphs": [{"error": "simplify: killed by signal 11"}, {}]},
        ),
        (
            {("compare", "mask_decoder"): GREEDY},
            {"graphs": [{}, {"skipped": f"compare: {STOPPED}"}]},
        ),
    ],
)
def test_a_step_that_fails_costs_its_own_graph_alone(monkeypatch, tmp_path, ends, expected):
    ran = []

    def run(argv, log, limit_gb):
        step, graph = (argv[argv.index(option) + 1] for option in ("--step", "--graph"))
        ran.append((step, graph))
        end = ends.get((step, graph), GOOD)
        if not end.reason:
            answer = EXPORTED if step == "export" else {step: f"{graph} is done"}
            log.with_name(f"{step}.json").write_text(json.dumps(answer))
        return end

    monkeypatch.setattr(sources, "key", lambda job, weights: "now")
    monkeypatch.setattr(command, "version", lambda: "9")
    monkeypatch.setattr(resumable, "run_within", run)
    arguments = command._parser().parse_args(["--only", "demo", "--folder", str(tmp_path)])
    work = command.SimplifyRun(arguments, silent)
    found = work.measure(work.wanted[0])
    assert found["name"] == "demo-onnx-fp32"
    for key, value in expected.items():
        if key != "graphs":
            assert found[key] == value
            continue
        for graph, name, own in zip(found[key], EXPORTED["graphs"], value, strict=True):
            steps = {s: f"{name} is done" for s in ("simplify", "compare") if (s, name) not in ends}
            if "simplify" not in steps:  # nothing to compare
                del steps["compare"]
                assert ("compare", name) not in ran
            assert graph == {"name": name, **steps, **own}
    assert list((tmp_path / "bundles").iterdir()) == []
