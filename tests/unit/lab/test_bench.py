from __future__ import annotations

import itertools
import json
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from exporter.errors import ExportError, ParityError, RequestError
from profiles.lab import steps
from profiles.lab.bench import __main__ as bench
from profiles.lab.bench import breakdown, cost, machine, operations, peak, rows, speed, table
from tests.unit.lab.bench_rows import COUNT, PARTS, SPEED
from tests.unit.tiny_tflite import write_adder

ROOT = Path(__file__).parents[3]


class FakeClock:
    """Nanoseconds; every contender moves it by its own time."""

    def __init__(self):
        self.now = 0
        self.slept = []

    def __call__(self):
        return self.now

    def takes(self, *milliseconds):
        times = itertools.cycle(milliseconds)

        def call():
            self.now += int(next(times) * 1e6)

        return call

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += int(seconds * 1e9)


def test_every_contender_has_its_turns_and_the_pause_is_not_timed():
    clock = FakeClock()
    contenders = {"torch_published": clock.takes(30, 24), "onnx": clock.takes(8)}
    plan = speed.TurnPlan(rounds=2, calls=2, pause_s=0.5)
    samples = speed.interleave(contenders, plan, clock, clock.sleep)
    assert samples == {"torch_published": [30, 24, 30, 24], "onnx": [8, 8, 8, 8]}
    assert clock.slept == [0.5] * 4


def test_each_round_begins_with_the_next_contender():
    order = []
    contenders = {name: (lambda name=name: order.append(name)) for name in "abc"}
    speed.interleave(contenders, speed.TurnPlan(3), lambda: 0, lambda _: None)
    assert "".join(order) == "abcbcacab"


def test_ratios_divide_minimum_by_minimum():
    samples = {"torch_published": [30.0, 24.0], "onnx": [12.0, 8.0], "plain_onnx": [16.0, 20.0]}
    assert speed.ratios(samples) == {"torch_published": 1.0, "onnx": 3.0, "plain_onnx": 1.5}
    assert speed.ratios(samples, against="plain_onnx")["onnx"] == 2.0


def test_other_numbers_are_not_timed():
    expected = (np.array([1.0, -2.0]),)
    worst = speed.check("r", expected, (np.array([1.0, -2.0001]),), 1e-4)
    assert worst == pytest.approx(5e-5)
    with pytest.raises(ParityError, match=r"r differs .* by 5\.0e-04 .* at most 1e-04"):
        speed.check("r", expected, (np.array([1.0, -2.001]),), 1e-4)
    with pytest.raises(ParityError, match="inf"):
        speed.check("r", expected, (np.array([1.0, np.nan]),), 1e-4)
    with pytest.raises(ParityError, match=r"gives \(1,\)"):
        speed.check("r", expected, (np.array([1.0]),), 1e-4)
    assert speed._tolerance("torch_ours") < speed._tolerance("onnx")


def test_rows_are_found_by_name():
    assert [rows.parse_row(row.name) for row in rows.ROWS] == list(rows.ROWS)
    assert rows.parse_row("sam_vit_b:image_encoder").goals == {"onnx": 2.2, "tflite": 3.3}
    with pytest.raises(RequestError, match=r"'vit:x'; choose from mobile_sam:image_encoder, "):
        rows.parse_row("vit:x")


def test_the_command_line_refuses_by_name(capfd):
    assert bench.main(["--row", "vit:x"]) == 2
    assert "bench: error: unknown row 'vit:x'" in capfd.readouterr().err
    for wrong in (["--rounds", "0"], ["--calls", "0"], ["--pause", "-1"], ["--pause", "inf"]):
        with pytest.raises(SystemExit, match="2"):
            bench.main(wrong)
    with pytest.raises(SystemExit, match="0"):
        bench.main(["--help"])
    assert "Host timings, not phone timings" in capfd.readouterr().out


def test_only_what_a_section_needs_is_lowered():
    following, plain = ["next_onnx", "next_tflite"], ["plain_onnx", "plain_tflite"]
    assert bench._keys(["speed"]) == ["onnx", "tflite", *following, *plain]
    assert bench._keys(["speed"], plain=False) == ["onnx", "tflite", *following]
    assert bench._keys(["speed", "operations"]) == [*rows.COUNTED, *following, *plain]
    assert bench._keys(["breakdown"]) == ["tflite"]
    assert bench._keys(["memory"]) == ["onnx", "tflite"]


def test_a_run_joins_the_answers_of_its_children(monkeypatch, capfd, tmp_path):
    ran = []

    def child(step, row, folder, extra):
        ran.append((step, row.name, *extra))
        return {"time": SPEED, "count": [COUNT], "breakdown": PARTS, "lower": None}[step]

    monkeypatch.setattr(bench, "_child", child)
    monkeypatch.setattr(steps, "RESULTS", tmp_path / "results")
    name = "mobile_sam:image_encoder"
    only = ["speed", "operations", "breakdown"]
    turns = ["--rounds", "3", "--calls", "1", "--pause", "0.0", "--busy"]
    asked = ["--only", *only, "--row", name, *turns]
    assert bench.main([*asked, "--json", "--write"]) == 0
    assert ran == [
        ("lower", name, "--only", *only),
        ("count", name),
        ("time", name, *turns),
        ("breakdown", name),
    ]
    results = json.loads(capfd.readouterr().out)
    assert results["speed"] == [SPEED]
    assert results["operations"] == [COUNT]
    assert results["breakdown"] == [PARTS]
    assert results["command"] == " ".join(
        ["python -m profiles.lab.bench", *asked, "--json --write"]
    )
    assert json.loads((tmp_path / "results" / "bench.json").read_text()) == results
    assert (tmp_path / "results" / "bench.md").read_text() == table.render(results)


def test_a_row_that_fails_does_not_cost_the_others_their_figures(monkeypatch, capfd):
    def child(step, row, folder, extra):
        if row.variant == "sam_vit_b":
            raise ExportError("killed")
        return {"time": SPEED, "lower": None}[step]

    monkeypatch.setattr(bench, "_child", child)
    assert bench.main(["--only", "speed"]) == 1
    text = capfd.readouterr().out
    assert "**Failed**: sam_vit_b:image_encoder: killed" in text
    assert "## Speed" in text


def node(name, inputs, outputs):
    return {"op_name": name, "inputs": np.array(inputs), "outputs": np.array(outputs)}


def test_nodes_outside_the_partitions_are_found():
    # 0 -ADD-> 1 -SIN-> 2 -MUL-> 3 -SUB-> 4, where XNNPACK takes ADD, MUL and SUB; -1 is no input.
    own = [
        node("ADD", [0, 10], [1]),
        node("SIN", [1, -1], [2]),
        node("MUL", [2, 10], [3]),
        node("SUB", [3, 1], [4]),
    ]
    first, second = node("DELEGATE", [0, 10], [1]), node("DELEGATE", [2, 1, 10], [4])
    left = operations.outside_delegates([*own, first, second])
    assert [n["op_name"] for n in left] == ["SIN"]
    assert operations.outside_delegates(own) == own
    whole = node("DELEGATE", [0, 10], [4])
    assert operations.outside_delegates([*own, whole]) == []


def test_a_tflite_file_is_counted(tmp_path):
    write_adder(tmp_path / "a.tflite", "main", ("image", "bias", "total"))
    counted = operations.count(tmp_path / "a.tflite")
    assert counted == operations.Count({"ADD": 1}, 4, partitions=1, outside={})


def test_a_tflite_file_is_broken_down_to_operations_that_run_alone(tmp_path):
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_litert.tools import flatbuffer_utils

    path = tmp_path / "adder.tflite"
    write_adder(path, "", ("a", "b", "sum"))
    (found,) = breakdown.break_down(path)
    assert (found.kind, found.count, found.gflop) == ("ADD", 1, 0.0)
    assert found.shapes == "1x2x2x3 1x2x2x3 1x2x2x3"
    assert found.ms > 0

    model = flatbuffer_utils.read_model(str(path))
    (graph,) = model.subgraphs
    # The second input becomes a constant, and an operation reads the first's result.
    model.buffers.append(type(model.buffers[0])())
    model.buffers[1].data = np.full(12, 0.5, np.float32).tobytes()
    graph.tensors[1].buffer, graph.inputs = 1, [0]
    alone = breakdown.alone(model, graph.operators[0])
    interpreter = Interpreter(model_content=alone)
    interpreter.allocate_tensors()
    (given,), (got,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.set_tensor(given["index"], np.ones((1, 2, 2, 3), np.float32))
    interpreter.invoke()
    assert (interpreter.get_tensor(got["index"]) == 1.5).all()


def test_a_product_has_two_operations_for_each_of_its_terms():
    shapes = ((1, 40, 8), (16, 8), (16,), (1, 40, 16))
    assert breakdown._gflop("FULLY_CONNECTED", shapes) == 2e-9 * 40 * 16 * 8
    assert breakdown._gflop("SOFTMAX", shapes) == 0


def test_an_onnx_file_is_counted(tmp_path):
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 2, 3]) for n in "xy"]
    nodes = [
        helper.make_node("Constant", [], ["c"], value_float=1.0),
        helper.make_node("Add", ["x", "c"], ["a"]),
        helper.make_node("Add", ["a", "c"], ["y"]),
    ]
    weight = helper.make_tensor("w", TensorProto.FLOAT, [1, 1, 1, 1], [0.0])
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], [weight])
    onnx.save(helper.make_model(graph), str(tmp_path / "a.onnx"))
    assert operations.count(tmp_path / "a.onnx") == operations.Count({"Add": 2}, 4)


def test_a_plain_export_that_failed_has_no_counts(tmp_path):
    write_adder(tmp_path / "a.tflite", "main", ("image", "bias", "total"))
    (tmp_path / "tflite-fp16").mkdir()
    (tmp_path / "a.tflite").rename(tmp_path / "tflite-fp16" / "a.tflite")
    lowered = {"tflite-fp16": {"file": {"file": "a.tflite"}}, "plain_tflite": {"error": "no"}}
    (found,) = operations.count_row(rows.ROWS[0], tmp_path, lowered)
    assert (found["file"], found["precision"]) == ("tflite-fp16", "fp16")
    assert found["row"] == "mobile_sam:image_encoder"


def test_usage_covers_what_a_process_waits_for(tmp_path):
    inner = "x = bytearray(60_000_000); sum(range(10**6))"
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}], check=True)"
    usage = cost.run([sys.executable, "-c", outer], tmp_path / "log")
    assert usage.peak_gb > 0.06
    assert usage.cpu_s > 0
    assert usage.wall_s > 0


def test_a_failed_process_is_one_line(tmp_path):
    code = "import sys; print('first'); sys.exit('no such checkpoint')"
    with pytest.raises(ExportError, match=r"exit status 1: no such checkpoint$"):
        cost.run([sys.executable, "-c", code], tmp_path / "log")


def test_the_processor_has_a_name(tmp_path):
    path = tmp_path / "cpuinfo"
    path.write_text("processor\t: 0\nmodel name\t: Imaginary 9000\n")
    assert machine.cpu_model(path) == "Imaginary 9000"
    assert machine.cpu_model(tmp_path / "none")
    facts = machine.circumstances("bench")
    assert len(facts["machine"]["load_average"]) == 3
    assert facts["versions"]["numpy"] == np.__version__
    assert facts["date"].endswith("+00:00")


def test_a_busy_machine_is_timed_by_its_processor():
    quiet, busy = speed.TurnPlan(1), speed.TurnPlan(1, busy=True)
    assert (quiet.threads, busy.threads) == (speed.THREADS, 1)
    samples = speed.interleave({"sleeper": lambda: time.sleep(0.05)}, busy)
    assert samples["sleeper"][0] < 40
    assert speed.interleave({"sleeper": lambda: time.sleep(0.05)}, quiet)["sleeper"][0] >= 50


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's /proc")
def test_a_peak_is_what_was_added_to_the_process(tmp_path):
    graph = helper.make_graph(
        [helper.make_node("Expand", ["x", "shape"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [8_000_000])],
        [helper.make_tensor("shape", TensorProto.INT64, [1], [8_000_000])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    (tmp_path / "onnx").mkdir()
    onnx.save(model, str(tmp_path / "onnx" / "g.onnx"))
    x, y = (
        {"name": n, "shape": s, "dtype": "float32", "layout": "B"}
        for n, s in (("x", [1]), ("y", [8_000_000]))
    )
    spec = {"name": "g", "inputs": [x], "outputs": [y], "runs": "frame"}
    lowered = {"onnx": {"file": {"spec": spec, "file": "g.onnx", "bytes": 1}}}
    row = rows.BenchRow("v", "g", 1, 1, {}, {"onnx": 40.0})
    # As the bench does: what this process has freed would be taken again, and not be added.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        found = pool.submit(peak.measure_peak, row, tmp_path, lowered, "onnx").result()
    assert 32 <= found["peak_mb"] < 100
    assert found["goals"] == {"onnx": 40.0}
