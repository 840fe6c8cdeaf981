"""Measure the runner's overhead: its median against a bare C loop's over the same runtime.

    python -m profiles.lab.bench.runner BUNDLE... --write FILE

Both are built with the same compiler, load the same library and model, and get the same inputs.
They take turns, many times over, because other work on the machine comes and goes; each keeps the
least of its medians. The bare loop runs twice a round: the distance of its two results is this
machine's noise. Times of this host; they say nothing of a phone.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from android_harness.runner.compilers import Compiler, find_compiler
from android_harness.runtimes import needed_runtime
from android_harness.ways.capsule import wheels
from exporter.bundle.folder import Bundle, open_bundle
from exporter.errors import RequestError, RunnerError, SamExportError
from runtimes.device import Method
from runtimes.remote.job import Library, RunnerJob
from runtimes.remote.plans import DevicePlan, Setting, graph_plan
from runtimes.remote.report import parse_report

BARE = Path(__file__).with_name("bare.c")
LIMIT = 0.02
"""The share by which the runner's median may be above the bare loop's."""
_ABIS = {"x86_64": "x86_64", "aarch64": "arm64-v8a"}
_WARMUP_S = 0.3
"""Warm-up of either: the runner's minimum, and here also its maximum."""
_TIMEOUT_S = 600


@dataclass(frozen=True)
class Overhead:
    """One graph: the least median of the runner, of the bare loop, and of the bare loop again."""

    subject: str
    runtime: str
    runner_ns: int
    bare_ns: int
    again_ns: int

    @property
    def overhead(self) -> float:
        """The runner's median over the bare loop's, less one; the better of the two loops."""
        return self.runner_ns / min(self.bare_ns, self.again_ns) - 1

    @property
    def noise(self) -> float:
        """Difference of the same program from itself."""
        return abs(self.bare_ns / self.again_ns - 1)

    @property
    def verdict(self) -> str:
        """Whether the runner keeps within LIMIT, if this machine can tell."""
        if self.noise > LIMIT:
            return "too noisy to tell"
        return "kept" if self.overhead <= LIMIT else "missed"


def measure(bundle: Bundle, graph: str, rounds: int, runs: int, threads: int = 1) -> Overhead:
    """Let the runner and the bare loop take turns on a graph.

    Args:
        bundle: for onnx or tflite, with float32 inputs.
        graph: its name.
        rounds: turns of each.
        runs: timed calls in a turn.
        threads: of the runtime.

    Raises:
        RequestError: this host has no compiler or not the pinned runtime.
        RunnerError: one of them failed.
    """
    abi = _ABIS.get(platform.machine(), "")
    compiler = find_compiler(abi) if abi else None
    if compiler is None:
        raise RequestError("this needs a C compiler for an x86_64 or arm64 host")
    method = Method(threads=threads, runs=runs, seconds=0.0, warmup_seconds=_WARMUP_S)
    setting = Setting.of(method, ())
    plan = graph_plan(bundle, graph, _library(abi, bundle.manifest.target), setting)
    medians: dict[str, list[float]] = {"runner": [], "bare": [], "again": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _prepare(folder, plan, compiler)
        for turn in range(rounds):
            # The first one finds the machine as the last one left it, so they swap places.
            for who in sorted(medians, reverse=turn % 2 == 1):
                medians[who].append(statistics.median(_times(who, plan.job, folder)))
    least = {who: round(min(values)) for who, values in medians.items()}
    version = f"{plan.job.runtime} {plan.job.version}"
    subject = f"{bundle.path.name} {graph}"
    return Overhead(subject, version, least["runner"], least["bare"], least["again"])


def _library(abi: str, target: str) -> Library:
    """Find the installed package's library. RequestError if it is not the pinned version."""
    runtime = needed_runtime(target)
    wheel = runtime.wheel
    path = wheels.installed(wheel, abi)
    if path is None:
        raise RequestError(f"pip install {wheel.project}=={wheel.version}")
    return Library(runtime.name, str(path), wheel.version)


def _prepare(folder: Path, plan: DevicePlan, compiler: Compiler) -> None:
    compiler.build(folder / "runner")
    compiler.build(folder / "bare", [BARE])
    for name, content in {**plan.files, "job.txt": plan.job.text().encode()}.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.read_bytes())


def _times(who: str, job: RunnerJob, folder: Path) -> Sequence[int]:
    """Time the calls of one process, in nanoseconds."""
    if who == "runner":
        return parse_report(_run(["./runner", "job.txt"], folder)).samples_ns
    graph = job.graphs[0]
    inputs = [f"{name}={file}" for name, file in graph.cases[0].inputs.items()]
    numbers = [str(job.threads), str(_WARMUP_S), str(job.runs)]
    words = ["./bare", job.runtime, job.library, graph.model, *numbers, *inputs]
    return [int(line) for line in _run(words, folder).split()]


def _run(words: list[str], folder: Path) -> str:
    given = {**os.environ, "ORT_DISABLE_TELEMETRY": "1"}
    done = subprocess.run(
        words,
        cwd=folder,
        env=given,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        raise RunnerError(f"{words[0]} failed: {(done.stderr.strip() or 'no reason given')[-200:]}")
    return done.stdout


def table(rows: Sequence[Overhead], rounds: int, runs: int) -> str:
    """Format the results as Markdown."""
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    lines = [
        "# What the runner costs",
        "",
        f"`make bench-runner`: the least of {rounds} medians of {runs} calls each, one thread, the "
        "runner and a bare C loop taking turns. Times of a host: they say nothing of a phone.",
        "",
        f"{platform.machine()}, {os.cpu_count()} cores, load {load} (1, 5, 15 minutes). `noise` is "
        "the bare loop against itself.",
        "",
        f"| graph | runtime | bare loop, ms | runner, ms | overhead | noise | {LIMIT:.0%} is |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        bare = min(row.bare_ns, row.again_ns)
        lines.append(
            f"| {row.subject} | {row.runtime} | {bare / 1e6:.4f} | {row.runner_ns / 1e6:.4f} "
            f"| {row.overhead:+.2%} | {row.noise:.2%} | {row.verdict} |"
        )
    return "\n".join([*lines, ""])


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; exit status 1 if the runner costs more than LIMIT, or noise hides it."""
    parser = argparse.ArgumentParser("python -m profiles.lab.bench.runner")
    parser.add_argument("bundles", type=Path, nargs="+", help="for onnx or tflite")
    parser.add_argument("--rounds", type=int, default=40, help="turns of each program")
    parser.add_argument("--runs", type=int, default=15, help="calls in a turn")
    parser.add_argument("--write", type=Path, help="a Markdown file")
    arguments = parser.parse_args(argv)
    try:
        rows = [
            measure(bundle, graph.spec.name, arguments.rounds, arguments.runs)
            for bundle in map(open_bundle, arguments.bundles)
            for graph in bundle.manifest.graphs
        ]
    except SamExportError as error:
        sys.stderr.write(f"bench: error: {error}\n")
        return error.exit_status
    text = table(rows, arguments.rounds, arguments.runs)
    sys.stdout.write(text)
    if arguments.write:
        arguments.write.write_text(text, encoding="utf-8")
    return 1 if any(row.verdict != "kept" for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
