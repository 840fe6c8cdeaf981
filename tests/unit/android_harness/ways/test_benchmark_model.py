"""benchmark_model: what it is asked, and what its answers say."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from android_harness.process import Answer
from android_harness.ways import Supplies, Wanted, find_way
from android_harness.ways.benchmark_model import BenchmarkModel
from android_harness.ways.benchmark_model.output import parse_proto, parse_text, refuse_fallback
from exporter.bundle.tensors import GraphSpec, TensorSpec
from exporter.errors import RequestError, RunnerError
from runtimes.remote.job import GraphJob, RunnerCase, RunnerJob

SAMPLES = Path(__file__).parent / "samples"
ELF = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x03\x00"
ARM64, X86_64 = b"\xb7\x00", b"\x3e\x00"
APPLIED = "Explicitly applied GPU delegate, and the model graph will be"
GPU_ALL = f"INFO: {APPLIED} completely executed by the delegate."
GPU_PART = f"{APPLIED} partially executed by the delegate w/ 3 delegate kernels."
GPU_NONE = (
    "INFO: Though GPU delegate is explicitly applied, the model graph will not be executed by the "
    "delegate."
)
SPEC = GraphSpec(
    "image_encoder",
    (TensorSpec("image", (1, 4), "float32", "BN"),),
    (TensorSpec("image_embeddings", (1, 4), "float32", "BN"),),
    "image",
)
JOB = RunnerJob(
    "graph",
    "litert",
    "-",
    "-",
    (GraphJob(SPEC, "bundle-1/e.tflite", (RunnerCase("c", {"image": "i"}),), signature="encode"),),
    threads=4,
    cores=(4, 5, 6, 7),
    runs=20,
    seconds=3.0,
    warmup_seconds=2.0,
)


@pytest.fixture(params=["classic", "litert"])
def dialect(request):
    return request.param


@pytest.fixture
def binary(dialect, tmp_path):
    path = tmp_path / "benchmark_model"
    marks = {"classic": b"use_nnapi", "litert": b"--compiler_plugin_library_path"}
    path.write_bytes(ELF + ARM64 + bytes(64) + marks[dialect] + bytes(64))
    return path


def sample(name):
    return (SAMPLES / name).read_text()


def test_it_is_found_where_the_user_says(binary):
    way = find_way(
        "benchmark_model", Wanted("arm64-v8a", "tflite", "gpu"), Supplies(benchmark_model=binary)
    )
    (file,) = way.files(Wanted("arm64-v8a", "tflite"))
    assert (file.local, file.executable) == (binary, True)
    assert way.modes() == ("graph",)


def test_it_is_never_taken_unasked(binary):
    with pytest.raises(RequestError, match="--way benchmark_model could"):
        find_way("auto", Wanted("arm64-v8a", "tflite", "gpu"), Supplies(benchmark_model=binary))


def test_what_it_cannot_do_is_refused_by_name(binary, dialect):
    way = BenchmarkModel(binary)
    assert "runs tflite bundles, not onnx" in way.missing(Wanted("arm64-v8a", "onnx", "cpu"))
    assert "is not built for x86_64" in way.missing(Wanted("x86_64", "tflite", "cpu"))
    assert "not qnn" in way.missing(Wanted("arm64-v8a", "tflite", "qnn"))
    assert (way.missing(Wanted("arm64-v8a", "tflite", "nnapi")) is None) == (dialect == "classic")
    none = BenchmarkModel(None).missing(Wanted("x86_64", "tflite", "cpu"))
    assert none == "no benchmark_model: download it and set SAM_EXPORT_BENCHMARK_MODEL to it"
    gone = BenchmarkModel(binary.parent / "gone").missing(Wanted("x86_64", "tflite", "cpu"))
    assert gone.endswith("gone, which SAM_EXPORT_BENCHMARK_MODEL names, is not a file")
    with pytest.raises(RequestError, match="cannot do a session"):
        way.command("/d", replace(JOB, mode="session"), "job.txt")


def test_it_is_asked_for_what_the_job_says(binary, dialect):
    line = BenchmarkModel(binary).command(
        "/d", replace(JOB, delegate="gpu"), "job.txt", prefix="timeout 60"
    )
    start, _, command = line.partition("exec ")
    assert "rm -f benchmark-result.pb" in start
    assert command.startswith("timeout 60 taskset f0 benchmark_model/benchmark_model ")
    words = set(command.split())
    assert {
        "--graph=bundle-1/e.tflite",
        "--num_threads=4",
        "--num_runs=20",
        "--min_secs=3",
        "--warmup_min_secs=2",
        "--signature_to_run_for=encode",
        "--result_file_path=benchmark-result.pb",
        "--use_gpu=true",
    } <= words
    assert ("--require_full_delegation=true" in words) == (dialect == "litert")


def test_the_classic_text():
    result = parse_text(sample("benchmark_model-cpu-tf2.4-yolov5s.txt"))
    assert (result.init, result.first, result.average) == (16_242_000, 360_262_000, 249_684_000)
    assert (result.runs, result.median) == (50, None)
    assert (result.least, result.most, result.deviation) == (247_067_000, 254_474_000, 1_442_000)


def test_numbers_with_an_exponent_and_a_warm_up_of_one():
    result = parse_text(sample("benchmark_model-op-profiling.txt"))
    assert (result.average, result.runs) == (2_950_340_000, 50)


def test_recent_text_has_a_median_and_a_peak():
    result = parse_text(sample("benchmark_model-recent-stdout.txt"))
    lines = sample("benchmark_model-recent-stdout.txt")
    assert f"median={result.median // 1000} " in lines
    assert result.runs == 131
    assert result.peak_bytes == round(23.75 * 2**20)


def test_text_out_of_the_log_of_a_device():
    result = parse_text(sample("benchmark_model-recent-percentiles-logcat-prefix.txt"))
    assert (result.average, result.median, result.runs) == (145_528_000, 141_253_000, 25)


def test_the_text_of_litert():
    result = parse_text(sample("benchmark_litert_model-stderr.txt"))
    assert (result.init, result.first, result.average) == (41_120_000, 9_880_000, 7_650_000)
    assert (result.runs, result.least, result.most) == (131, 7_590_000, 8_120_000)
    assert result.peak_bytes == round(23.75 * 2**20)


@pytest.mark.parametrize("text", ["", "STARTING!\nERROR: Failed to load model", "count=1 curr=3"])
def test_text_without_times(text):
    with pytest.raises(RunnerError, match="printed no times"):
        parse_text(text)


@pytest.fixture(scope="module")
def result_message():
    """The tool's message, made by protobuf itself from the schema's field numbers."""
    file = descriptor_pb2.FileDescriptorProto(name="r.proto", package="r", syntax="proto2")
    kinds = descriptor_pb2.FieldDescriptorProto
    schema = {
        "Latency": [
            (n, kinds.TYPE_FLOAT, None)
            for n in ["avg", "min", "max", "std", "med", "p5", "p95", "init", "first", "warm"]
        ],
        "Memory": [
            ("init", kinds.TYPE_INT64, None),
            ("all", kinds.TYPE_INT64, None),
            ("peak", kinds.TYPE_FLOAT, None),
        ],
        "Misc": [
            ("size", kinds.TYPE_FLOAT, None),
            ("runs", kinds.TYPE_INT32, None),
            ("warm", kinds.TYPE_INT32, None),
        ],
        "Result": [
            ("name", kinds.TYPE_STRING, None),
            ("latency", kinds.TYPE_MESSAGE, ".r.Latency"),
            ("memory", kinds.TYPE_MESSAGE, ".r.Memory"),
            ("misc", kinds.TYPE_MESSAGE, ".r.Misc"),
        ],
    }
    for name, fields in schema.items():
        message = file.message_type.add(name=name)
        for number, (field, kind, type_name) in enumerate(fields, 1):
            message.field.add(
                name=field,
                number=number,
                type=kind,
                type_name=type_name,
                label=kinds.LABEL_OPTIONAL,
            )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("r.Result"))


@pytest.fixture
def content(result_message):
    result = result_message(name="x" * 300)  # a length of two bytes
    for name, value in {"avg": 7.5, "min": 7.0, "max": 9.25, "std": 0.5, "med": 7.25}.items():
        setattr(result.latency, name, value)
    result.latency.init, result.latency.first = 41.5, 9.875
    result.memory.init, result.memory.peak = -12, 23.75  # an int64 below zero has ten bytes
    result.misc.runs, result.misc.warm = 131, 63
    return result.SerializeToString()


def test_the_result_file(content):
    result = parse_proto(content)
    assert (result.init, result.first, result.average) == (41_500_000, 9_875_000, 7_500_000)
    assert (result.median, result.least, result.most) == (7_250_000, 7_000_000, 9_250_000)
    assert (result.deviation, result.runs) == (500_000, 131)
    assert result.peak_bytes == round(23.75 * 2**20)


def test_a_result_file_cut_anywhere_is_an_error(content):
    for end in range(len(content)):
        try:
            parse_proto(content[:end])
        except RunnerError:
            continue
        # What is left ends with a whole field and has the times: only later fields are missing.
        assert end > content.index(b"x" * 300) + 300


def test_a_report_says_what_it_is_not(binary, content):
    way = BenchmarkModel(binary)
    answer = Answer(0, "", "", {"benchmark-result.pb": content})
    run = way.read(JOB, answer).graph_run("image_encoder")
    assert run.samples_ns == (7_250_000,)
    assert (run.load_ns, run.first_ns, run.affinity) == (41_500_000, 9_875_000, (4, 5, 6, 7))
    assert "no sample of each call: the one sample is the median of 131 calls" in run.notes[0]
    assert "no parity" in run.notes[1]
    assert way.pulls(JOB) == ("benchmark-result.pb",)


def test_without_a_result_file_the_text_is_read(binary):
    answer = Answer(0, "", sample("benchmark_litert_model-stderr.txt"))
    run = BenchmarkModel(binary).read(JOB, answer).graph_run("image_encoder")
    assert run.samples_ns == (7_650_000,)
    assert "is the mean of 131 calls (min 7.59 ms, max 8.12 ms" in run.notes[0]


@pytest.mark.parametrize("text", [GPU_NONE, "ERROR: Disallowed CPU fallback detected."])
def test_a_silent_run_on_the_cpu_is_never_a_time(binary, content, text):
    said = f"STARTING!\n{text}\n{sample('benchmark_model-recent-stdout.txt')}"
    answer = Answer(0, said, "", {"benchmark-result.pb": content})
    with pytest.raises(RunnerError, match=r"the delegate was not used: (Though GPU|Disallowed)"):
        BenchmarkModel(binary).read(replace(JOB, delegate="gpu"), answer)


def test_a_delegate_that_says_nothing_is_not_believed(binary, dialect, content):
    way, job = BenchmarkModel(binary), replace(JOB, delegate="gpu")
    quiet = Answer(0, "", "", {"benchmark-result.pb": content})
    if dialect == "classic":  # LiteRT's tool is told to fail instead
        with pytest.raises(RunnerError, match="does not say that gpu took the graph"):
            way.read(job, quiet)
    assert way.read(job, replace(quiet, stdout=GPU_ALL)).samples_ns == (7_250_000,)


def test_a_delegate_that_took_a_part_is_noted():
    assert refuse_fallback(GPU_PART) == (
        "the delegate ran part of the graph (3 kernels), the CPU the rest",
    )
    assert refuse_fallback(GPU_ALL) == ()


def test_a_tool_that_failed_says_how(binary):
    answer = Answer(1, "STARTING!", "ERROR: Could not open 'x.tflite'.")
    with pytest.raises(RunnerError, match=r"exit code 1.*Could not open 'x\.tflite'"):
        BenchmarkModel(binary).read(JOB, answer)
    with pytest.raises(RunnerError, match="did not end in time"):
        BenchmarkModel(binary).read(JOB, Answer(124, "", ""))


def test_its_self_test_is_that_it_starts(binary, tmp_path):
    line = BenchmarkModel(binary).self_test(str(tmp_path), Wanted("arm64-v8a", "tflite"))
    assert subprocess.run(["sh", "-c", line], capture_output=True, check=False).returncode != 0
    binary.unlink()
    (tmp_path / "benchmark_model").mkdir()
    program = tmp_path / "benchmark_model/benchmark_model"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    assert subprocess.run(["sh", "-c", line], capture_output=True, check=False).returncode == 0
