"""The runner on a runtime whose times are known: what it waits for, and how it ends."""

from __future__ import annotations

import shutil
import statistics
import subprocess
from pathlib import Path

import pytest

from android_harness.process import read_runner
from android_harness.runner.compilers import find_compiler
from exporter.bundle.tensors import GraphSpec, TensorSpec
from exporter.errors import RunnerError
from runtimes.remote.job import GraphJob, RunnerCase, RunnerJob
from tests.device.runner_kit import ABI, Folder

SOURCE = Path(__file__).with_name("fake_ort.c")
ONE = (1,)
SPEC = GraphSpec(
    "g", (TensorSpec("x", ONE, "float32", "N"),), (TensorSpec("y", ONE, "float32", "N"),), "image"
)


@pytest.fixture(scope="module")
def runner(tmp_path_factory):
    compiler = find_compiler(ABI) if ABI else None
    if compiler is None or shutil.which("cc") is None:
        pytest.skip("no C compiler for this host")
    path = tmp_path_factory.mktemp("runner") / "runner"
    compiler.build(path)
    return path


@pytest.fixture
def start(runner, tmp_path):
    folder = Folder(runner, tmp_path)

    def run(*defines, mode="graph", graphs=1, **changes):
        words = ["cc", "-shared", "-fPIC", "-w", *(f"-D{d}" for d in defines)]
        subprocess.run([*words, "-o", tmp_path / "libfake.so", SOURCE], check=True)
        (tmp_path / "x.bin").write_bytes(bytes(4))
        jobs = tuple(
            GraphJob(
                GraphSpec(f"g{i}", SPEC.inputs, SPEC.outputs, "image"),
                f"m{i}",
                (RunnerCase("c", {"x": "x.bin"}),),
            )
            for i in range(graphs)
        )
        settings = {"runs": 5, "seconds": 0.0, "warmup_seconds": 0.0, "threads": 1, **changes}
        job = RunnerJob(mode, "ort", "./libfake.so", "9.9.9", jobs, **settings)
        return folder.start(job.text())

    return run


def test_it_waits_until_times_are_stable(start):
    report = read_runner(start("SLOW=6", "SLOW_MS=60", "FAST_MS=5", warmup_seconds=20))
    assert report.stable
    assert report.first_ns["g0"] == report.warmup_ns[0] >= 60e6
    # Six slow calls, and as many fast ones as it takes until two medians of five agree.
    assert len(report.warmup_ns) >= 13
    assert all(time >= 60e6 for time in report.warmup_ns[:6])
    assert 5e6 <= statistics.median(report.samples_ns) < 30e6
    assert report.graph_run("g0").notes == ()


def test_a_quick_graph_is_warmed_up_for_some_tenths_of_a_second(start):
    report = read_runner(start("FAST_MS=2", warmup_seconds=20))
    assert report.stable
    assert sum(report.warmup_ns) >= 0.25e9


def test_times_that_never_settle_are_noted(start):
    report = read_runner(start("GROWTH_MS=6", warmup_seconds=0.5))
    assert not report.stable
    assert sum(report.warmup_ns) >= 0.4e9
    assert report.graph_run("g0").notes == ("times were not stable when the warm-up ended",)


def test_times_are_those_of_the_calls(start):
    report = read_runner(start("FAST_MS=8", runs=12))
    assert len(report.samples_ns) == 12
    assert min(report.samples_ns) >= 8e6
    # The runtime sleeps: almost none of that time is the processor's.
    assert 0 <= report.cpu_ns < 0.5 * sum(report.samples_ns)


def test_the_stopwatch_itself_takes_next_to_nothing(start):
    report = read_runner(start("INSTANT", runs=20000))
    # 20 to 100 ns: two readings of a clock. A graph of ours takes a thousand times that limit.
    assert statistics.median(report.samples_ns) < 1000


def test_seconds_are_kept_when_runs_are_few(start):
    report = read_runner(start("FAST_MS=10", runs=1, seconds=0.3))
    assert sum(report.samples_ns) >= 0.25e9
    assert 5 <= len(report.samples_ns) <= 31


def test_a_session_is_every_load_and_a_call_of_each_graph(start):
    report = read_runner(
        start("SLOW=3", "SLOW_MS=40", "FAST_MS=4", mode="session", graphs=3, runs=6, repeat=("g2",))
    )
    run = report.session_run()
    assert list(report.first_ns) == ["g0", "g1", "g2"]
    assert all(time >= 40e6 for time in report.first_ns.values())
    assert run.first_mask_ns >= 120e6
    assert len(run.click_ns) == 6
    assert min(run.click_ns) >= 4e6


def test_a_session_repeats_the_graph_that_answers_prompts_and_not_the_last(start):
    """A memory encoder comes behind the decoder, and is no click."""
    slow = ("SLOW_MS=30", "FAST_MS=2", 'SLOW_MODEL="m1"')
    clicks = {
        name: read_runner(start(*slow, mode="session", graphs=3, runs=4, repeat=(name,))).samples_ns
        for name in ("g1", "g2")
    }
    assert [len(times) for times in clicks.values()] == [4, 4]
    assert min(clicks["g1"]) >= 30e6
    assert max(clicks["g2"]) < 30e6


def test_a_click_takes_all_the_graphs_that_answer_prompts(start):
    """A prompt encoder comes before the decoder; each is 6 ms here."""
    report = read_runner(start("FAST_MS=6", mode="session", graphs=4, runs=5, repeat=("g1", "g2")))
    assert len(report.samples_ns) == 5
    assert min(report.samples_ns) >= 12e6


def test_graphs_are_repeated_in_their_order(start):
    answer = start("FAST_MS=1", mode="session", graphs=3, runs=2, repeat=("g2", "g1"))
    with pytest.raises(RunnerError, match="g2 is repeated before g1, but comes after it"):
        read_runner(answer)


def test_a_session_that_repeats_nothing_has_a_first_mask_and_no_click(start):
    run = read_runner(start("FAST_MS=3", mode="session", graphs=1)).session_run()
    assert run.first_mask_ns >= 3e6
    assert run.click_ns == ()


def test_the_job_says_what_stable_means(start):
    """Calls that grow and grow: never within 2 % of those before, at once within 100 %."""
    growing = ("FAST_MS=20", "GROWTH_MS=5")
    how = {"warmup_seconds": 0.4, "warmup_least_seconds": 0.0}
    strict = read_runner(start(*growing, **how))
    loose = read_runner(start(*growing, **how, stable_within=1.0, stable_calls=2))
    assert not strict.stable
    assert loose.stable
    assert 4 <= len(loose.warmup_ns) < 10  # two windows of two, not of five


def test_a_runtime_that_prints_on_stdout_spoils_nothing(start):
    answer = start()
    assert answer.stdout.startswith('{"runner": 3')
    assert "a library that prints" in answer.stderr


@pytest.mark.parametrize(
    ("define", "status", "said"),
    [("CRASH", 139, "crashed"), ("KILLED", 137, "the system killed the runner")],
)
def test_a_runtime_that_dies_is_an_error_that_says_how(start, define, status, said):
    answer = start(define)
    assert answer.status == status
    with pytest.raises(RunnerError, match=said):
        read_runner(answer)
