from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from exporter.bundle.folder import open_bundle, read_manifest
from exporter.bundle.manifest import GraphFile
from exporter.bundle.rules import MaskRule
from exporter.bundle.tensors import GraphSpec, TensorSpec
from exporter.errors import BundleError, ParityError, RequestError, RunnerError, TooHotError
from exporter.progress import silent
from profiles import kinds
from profiles.collect import collect
from profiles.numbers.summary import summarise
from runtimes import host_run
from runtimes.device import Condition, Method, Temperature
from runtimes.devices import host
from runtimes.devices.host import KIND, chosen_cores
from runtimes.host_facts import clusters, host_condition, host_facts
from runtimes.host_run import HostJob, golden_inputs, stable, time_calls
from runtimes.measures import find_misses
from runtimes.process import clock_ns, hold_to, peak_bytes
from tests.unit.profile_making import PHONE, plan
from tests.unit.tiny_bundle import Recipe, build, goldens, reseal

SHORT = Method(runs=5, seconds=0.0, warmup_seconds=0.2, repeats=2, cool_seconds=1.0)


class FakeClock:
    """Each look takes the next step; calls add what they take."""

    def __init__(self, costs) -> None:
        self.now = 0
        self.costs = iter(costs)

    def __call__(self):
        return self.now

    def call(self):
        self.now += next(self.costs)


def _method(**changes) -> Method:
    base = Method(runs=4, seconds=0.0, warmup_seconds=1.0, warmup_least_seconds=0.0, threads=1)
    return dataclasses.replace(base, **changes)


def test_warm_up_ends_when_times_are_stable() -> None:
    costs = [500, 300, 200, 150, 120, *[100] * 20]
    clock = FakeClock(costs)
    found = time_calls(clock.call, _method(), clock)
    assert found.stable
    # Five at about 100 after five at about 100: the first window that agrees.
    assert found.warmup == tuple(costs[: len(found.warmup)])
    assert stable(found.warmup, _method())
    assert not stable(found.warmup[:-1], _method())
    assert found.counted == (100,) * 4


def test_the_method_says_what_stable_means() -> None:
    times = (100, 100, 103, 103)
    assert stable(times, _method(stable_calls=2, stable_within=0.03))
    assert not stable(times, _method(stable_calls=2, stable_within=0.02))
    assert not stable(times, _method(stable_calls=3, stable_within=0.03))


def test_stable_times_do_not_end_a_warm_up_before_its_least() -> None:
    """A governor needs some tenths of a second to raise a clock."""
    clock = FakeClock([100] * 1000)
    found = time_calls(clock.call, _method(warmup_least_seconds=5e-6), clock)
    assert found.stable
    assert sum(found.warmup) == 5000
    clock = FakeClock([100] * 1000)
    most = time_calls(clock.call, _method(warmup_least_seconds=1.0, warmup_seconds=2e-6), clock)
    assert sum(most.warmup) == 2000


def test_warm_up_ends_at_its_limit_and_says_so() -> None:
    clock = FakeClock(100 * 2**i for i in range(60))
    found = time_calls(clock.call, _method(warmup_seconds=1e-5), clock)
    assert not found.stable
    assert sum(found.warmup[:-1]) < 10_000 <= sum(found.warmup)


def test_a_repeat_has_both_its_calls_and_its_time() -> None:
    clock = FakeClock([100] * 1000)
    assert len(time_calls(clock.call, _method(runs=7), clock).counted) == 7
    clock = FakeClock([100] * 1000)
    assert len(time_calls(clock.call, _method(seconds=5e-6), clock).counted) == 50


def test_inputs_are_those_of_the_first_case(tiny) -> None:
    decoder = tiny.manifest.graph("mask_decoder")
    inputs = golden_inputs(tiny, decoder)
    stored = goldens(1)
    assert list(inputs) == [t.name for t in decoder.spec.inputs]
    np.testing.assert_array_equal(inputs["point_coords"], stored["mask_decoder/box/point_coords"])
    np.testing.assert_array_equal(inputs["mask_input"], stored["mask_decoder/*/mask_input"])


def _chained(folder: Path, last: str) -> None:
    """The tiny bundle with another graph set: `last` takes what the encoder gives, nothing else."""
    build(folder)
    out = TensorSpec("low_res_masks", (1, 3, 8, 8), "float32", "NCHW")
    ious = TensorSpec("iou_predictions", (1, 3), "float32", "BM")
    taken = TensorSpec("image_embeddings", (1, 3, 8, 8), "float32", "NCHW")
    spec = GraphSpec(last, (taken,), (out, ious), "prompt")
    graph = helper.make_graph(
        [
            helper.make_node("Neg", ["image_embeddings"], ["low_res_masks"]),
            helper.make_node(
                "ReduceMean", ["image_embeddings"], ["iou_predictions"], axes=[2, 3], keepdims=0
            ),
        ],
        last,
        [helper.make_tensor_value_info("image_embeddings", TensorProto.FLOAT, (1, 3, 8, 8))],
        [
            helper.make_tensor_value_info("low_res_masks", TensorProto.FLOAT, (1, 3, 8, 8)),
            helper.make_tensor_value_info("iou_predictions", TensorProto.FLOAT, (1, 3)),
        ],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), folder / "last.onnx")
    (folder / "mask_decoder.onnx").unlink()
    with np.load(folder / "goldens.npz") as stored:
        kept = {k: stored[k] for k in stored.files if k.startswith("image_encoder")}
    embeddings = kept["image_encoder/scene/image_embeddings"]
    kept |= {f"{last}/*/image_embeddings": embeddings, f"{last}/click/low_res_masks": -embeddings}
    np.savez(folder / "goldens.npz", **kept)
    bytes_ = (folder / "last.onnx").stat().st_size
    encoder = read_manifest(folder).graph("image_encoder")
    mask = MaskRule(0.0, 0, (1, 2), "bilinear", 8)
    reseal(folder, graphs=(encoder, GraphFile(spec, "last.onnx", bytes_)), mask=mask)


def test_another_graph_set_is_fed_by_name(tmp_path) -> None:
    folder = tmp_path / "chained"
    _chained(folder, "segmenter")
    bundle = open_bundle(folder)
    inputs = golden_inputs(bundle, bundle.manifest.graphs[1])
    expected = bundle.goldens().array("image_encoder", "scene", "image_embeddings")
    np.testing.assert_array_equal(inputs["image_embeddings"], expected)
    method = dataclasses.replace(SHORT, check=False, repeats=1)
    with KIND.find("").open(method) as bench:
        assert len(bench.run_graph(bundle, "segmenter").samples_ns) >= 5
        session = bench.run_session(bundle)
    assert len(session.click_ns) >= 5
    assert session.first_mask_ns > session.load_ns > 0


class Adder:
    """A graph that adds one to its input and tells that it ran."""

    def __init__(self, spec, ran):
        self.spec, self.ran = spec, ran

    def run(self, inputs):
        (given,) = inputs.values()
        self.ran.append((self.spec.name, float(given[0])))
        return {self.spec.outputs[0].name: given + 1}


def test_a_click_runs_every_graph_that_answers_prompts_in_order(monkeypatch, tmp_path) -> None:
    names = ("image", "embeddings", "prompts", "masks")
    tensors = [TensorSpec(name, (1,), "float32", "N") for name in names]
    chain = (("image_encoder", "image"), ("prompt_encoder", "prompt"), ("mask_decoder", "prompt"))
    graphs = [
        GraphFile(GraphSpec(name, (tensors[i],), (tensors[i + 1],), runs), name, 1)
        for i, (name, runs) in enumerate(chain)
    ]
    ran: list[tuple[str, float]] = []
    bundle = SimpleNamespace(manifest=SimpleNamespace(graphs=graphs), file=Path)
    kind = SimpleNamespace(open=lambda path, graph, threads: Adder(graph.spec, ran))
    monkeypatch.setattr(host_run, "open_here", lambda folder: (bundle, kind, "toy 1"))
    zeros = np.zeros(1, np.float32)
    golden = {graph.spec.name: {graph.spec.inputs[0].name: zeros} for graph in graphs}
    monkeypatch.setattr(host_run, "golden_inputs", lambda bundle, graph: golden[graph.spec.name])
    method = dataclasses.replace(SHORT, runs=3, seconds=0.0, warmup_seconds=0.0)
    session = host_run.run_session(HostJob(str(tmp_path), "", method))
    assert len(session.click_ns) == 3
    first, clicks = ran[:3], ran[3:]
    assert first == [("image_encoder", 0.0), ("prompt_encoder", 1.0), ("mask_decoder", 2.0)]
    assert clicks == [("prompt_encoder", 1.0), ("mask_decoder", 2.0)] * (len(clicks) // 2)
    assert len(clicks) >= 2 * 3


def test_goldens_without_a_tensor_are_one_line(tmp_path) -> None:
    folder = tmp_path / "poor"
    build(folder)
    with np.load(folder / "goldens.npz") as stored:
        kept = {k: stored[k] for k in stored.files if "point_coords" not in k}
    np.savez(folder / "goldens.npz", **kept)
    reseal(folder)
    bundle = open_bundle(folder)
    with KIND.find("").open(SHORT) as bench, pytest.raises(BundleError, match="point_coords"):
        bench.run_graph(bundle, "mask_decoder")


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_a_bundle_is_measured_end_to_end(tmp_path, layout) -> None:
    folder = tmp_path / "tiny-onnx-fp32"
    build(folder, Recipe(layout=layout))
    made = plan(tmp_path / "p.jsonl", folder, **_fields(SHORT))
    outcome = collect(made, [KIND.find("")], silent)
    assert outcome.failures == []
    [profile] = outcome.profiles
    assert profile.device.device_class == "host"
    assert profile.parity
    assert find_misses(profile.parity) == []
    assert len(profile.repeats) == 2
    for repeat in profile.repeats:
        assert [run.graph for run in repeat.runs] == ["image_encoder", "mask_decoder"]
        for run in repeat.runs:
            assert len(run.samples_ns) >= 5
            assert run.runtime.startswith("ort ")
            assert run.first_ns == run.warmup_ns[0]
            assert run.peak_bytes is not None
            assert run.cpu_ns is not None
        assert repeat.session is not None
        assert repeat.session.first_mask_ns > repeat.session.load_ns
    found = summarise(profile)
    assert found.click_ms is not None
    assert found.peak_mb is not None


def _fields(method: Method):
    return {f.name: getattr(method, f.name) for f in dataclasses.fields(method)}


def test_a_bundle_that_lost_its_numbers_is_not_timed(tmp_path) -> None:
    folder = tmp_path / "scaled"
    build(folder, Recipe(flaw="scaled"))
    made = plan(tmp_path / "p.jsonl", folder, **_fields(SHORT))
    [(_, error)] = collect(made, [KIND.find("")], silent).failures
    assert isinstance(error, ParityError)
    assert "low_res_masks" in str(error)


def test_outputs_that_are_not_finite_are_a_parity_error(tmp_path) -> None:
    folder = tmp_path / "nan"
    build(folder, Recipe(flaw="nan"))
    with KIND.find("").open(SHORT) as bench, pytest.raises(ParityError, match="not finite"):
        bench.check(open_bundle(folder))


def test_an_interpreter_is_not_timed(tiny, monkeypatch) -> None:
    kind = dataclasses.replace(host.choose_engine("onnx"), name="slow", interprets=True)
    monkeypatch.setattr(host, "choose_engine", lambda *_: kind)
    with KIND.find("").open(SHORT) as bench:
        run, session = bench.run_graph(tiny, "image_encoder"), bench.run_session(tiny)
        (frame,) = bench.run_frame(tiny, 1)
    assert [run.timed, frame.timed] == [False, False]
    assert run.samples_ns == ()
    assert "interpreter" in run.notes[0]
    assert not session.timed


def test_a_makers_reference_is_refused(tiny, monkeypatch) -> None:
    kind = dataclasses.replace(host.choose_engine("onnx"), name="slow", reference=True)
    monkeypatch.setattr(host, "choose_engine", lambda *_: kind)
    with KIND.find("").open(SHORT) as bench, pytest.raises(RequestError) as error:
        bench.prepare(tiny)
    assert str(error.value).endswith("reference runtime; its times say nothing of a phone")


def test_what_a_host_cannot_do_is_refused_by_name() -> None:
    for method, word in (
        (Method(way="capsule"), "capsule"),
        (Method(delegate="gpu"), "gpu"),
        (Method(modes=("fixed-performance",)), "no mode --fixed-performance"),
        (Method(cores="0,4000"), "4000"),
    ):
        with pytest.raises(RequestError, match=word), KIND.find("").open(method):
            pytest.fail("it was opened")
    with pytest.raises(RequestError, match="host:x"):
        KIND.find("x")


def test_a_process_that_is_not_done_in_time_says_what_to_do(tiny) -> None:
    bench = host.HostBench(dataclasses.replace(SHORT, deadline_seconds=0.05), ())
    with pytest.raises(RunnerError, match=r"image_encoder was not done after 0.05 s: .*--deadline"):
        bench.run_graph(tiny, "image_encoder")


def _sysfs(root: Path) -> Path:
    def write(name: str, text: str) -> None:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")

    for core, khz in enumerate((1800000, 1800000, 2400000, 2400000, 3000000)):
        write(f"devices/system/cpu/cpu{core}/cpufreq/cpuinfo_max_freq", str(khz))
        write(f"devices/system/cpu/cpu{core}/cpufreq/scaling_cur_freq", str(khz // 2))
    write("class/thermal/thermal_zone0/type", "x86_pkg_temp")
    write("class/thermal/thermal_zone0/temp", "47500")
    write("class/thermal/thermal_zone1/type", "broken")
    write("class/thermal/thermal_zone1/temp", "N/A")
    write("class/dmi/id/product_name", "Laptop 3")
    write("class/dmi/id/sys_vendor", "Maker")
    write("class/power_supply/BAT0/capacity", "77")
    write("class/power_supply/BAT0/status", "Discharging")
    return root


def test_clusters_are_read_from_cpufreq(tmp_path) -> None:
    found = clusters(_sysfs(tmp_path), (0, 1, 2, 3, 4, 5))
    assert [(c.cores, c.max_khz) for c in found] == [
        ((5,), None),
        ((0, 1), 1800000),
        ((2, 3), 2400000),
        ((4,), 3000000),
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="reads sysfs")
def test_facts_and_condition_are_read_from_sysfs(tmp_path) -> None:
    root = _sysfs(tmp_path)
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nmodel name\t: Fast CPU\n")
    facts = host_facts(root, cpuinfo)
    assert (facts.manufacturer, facts.model, facts.soc) == ("Maker", "Laptop 3", "Fast CPU")
    assert facts.device_class == "host"
    assert facts.memory_mb > 100
    now = host_condition(root)
    assert now.temperatures == (Temperature("thermal_zone0", "x86_pkg_temp", 47.5),)
    assert (now.battery_percent, now.charging) == (77, False)
    assert now.load is not None
    empty = host_condition(tmp_path / "nothing")
    assert (empty.temperatures, empty.battery_percent, empty.frequencies_khz) == ((), None, {})


def test_cores_are_chosen(monkeypatch) -> None:
    monkeypatch.setattr(host, "allowed_cores", lambda: tuple(range(8)))
    assert chosen_cores("fast", PHONE) == (4, 5, 6, 7)
    assert chosen_cores("all", PHONE) == ()
    assert chosen_cores("6,1,1", PHONE) == (1, 6)
    one = dataclasses.replace(PHONE, clusters=PHONE.clusters[:1])
    monkeypatch.setattr(host, "allowed_cores", lambda: (0, 1, 2, 3))
    assert chosen_cores("fast", one) == ()


def test_cooling_waits_and_gives_up(monkeypatch) -> None:
    def at(celsius):
        return Condition("now", temperatures=(Temperature("zone", "cpu", celsius),))

    coming = [at(60.0), at(57.0), at(44.0)]
    monkeypatch.setattr(host, "host_condition", lambda: coming.pop(0))
    monkeypatch.setattr(host.time, "sleep", lambda _: None)
    bench = host.HostBench(dataclasses.replace(SHORT, cool_seconds=60.0), ())
    assert bench.cool(at(40.0)) == at(44.0)
    assert coming == []
    monkeypatch.setattr(host, "host_condition", lambda: at(60.0))
    bench = host.HostBench(dataclasses.replace(SHORT, cool_seconds=0.0), ())
    with pytest.raises(TooHotError, match="60 C at cpu, 40 at first"):
        bench.cool(at(40.0))


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot hold cores")
def test_a_process_is_held_to_its_cores(tiny) -> None:
    core = min(os.sched_getaffinity(0))
    method = _method(warmup_seconds=0.1)
    job = dataclasses.asdict(HostJob(str(tiny.path), "mask_decoder", method, cores=(core,)))
    ran = subprocess.run(
        [sys.executable, "-m", "runtimes.host_run"],
        input=json.dumps(job),
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(host_run.__file__).parents[1],
    )
    assert json.loads(ran.stdout)["affinity"] == [core]
    assert hold_to(()) == ()


def test_the_clock_goes_forward_and_the_peak_does_not_shrink() -> None:
    start = clock_ns()
    time.sleep(0.01)
    assert clock_ns() - start >= 9_000_000
    before = peak_bytes()
    filled = np.ones(200 * 2**20, np.uint8)
    assert peak_bytes() >= before + 150 * 2**20 or before > filled.nbytes


def test_the_host_is_in_its_catalogue() -> None:
    assert KIND in kinds.kinds()
    [row] = KIND.listed()
    assert row.device == "host"
    assert row.problem == ""
    assert row.facts is not None
