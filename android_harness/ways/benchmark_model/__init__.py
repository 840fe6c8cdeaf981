"""The way with TFLite's own `benchmark_model`, a binary that the user brings.

It has the GPU and what else its build holds, and what everyone compares with. It gives statistics,
not every call, feeds random input, and can write no outputs: so no parity on the device, and the
report's one sample is its median (or its mean, if the tool tells no median), with a note.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from pathlib import Path

from android_harness.process import Answer, describe_ending, start_command
from android_harness.ways import BENCHMARK_MODEL, DeviceFile, Wanted, WayKind
from android_harness.ways.benchmark_model.output import (
    Result,
    names_delegate,
    parse_proto,
    parse_text,
    refuse_fallback,
)
from exporter.bundle.folder import hash_file
from exporter.errors import RequestError, RunnerError
from runtimes.remote.job import GRAPH, PROTOCOL, Library, RunnerJob
from runtimes.remote.report import RunnerReport

_NONE = f"no benchmark_model: download it and set {BENCHMARK_MODEL} to it"
_PROGRAM = "benchmark_model/benchmark_model"
_RESULT = "benchmark-result.pb"
_MACHINES = {"arm64-v8a": 183, "x86_64": 62}
"""ELF's numbers."""
_CLASSIC = {
    "cpu": (),
    "xnnpack": ("--use_xnnpack=true",),
    "gpu": ("--use_gpu=true",),
    "nnapi": ("--use_nnapi=true",),
}
_LITERT = {
    "cpu": ("--use_cpu=true",),
    "xnnpack": ("--use_cpu=true",),
    "gpu": ("--use_gpu=true", "--use_cpu=false", "--require_full_delegation=true"),
}
_LITERT_MARK = b"compiler_plugin_library_path"
"""A flag that LiteRT's tool has and the classic one has not."""


@dataclass(frozen=True)
class BenchmarkModel:
    """The way `benchmark_model`."""

    binary: Path | None
    name: str = "benchmark_model"

    def missing(self, wanted: Wanted) -> str | None:
        """See `Way`."""
        if wanted.target != "tflite":
            return f"benchmark_model runs tflite bundles, not {wanted.target}"
        if self.binary is None:
            return _NONE
        if not self.binary.is_file():
            return f"{self.binary}, which {BENCHMARK_MODEL} names, is not a file"
        if _machine(self.binary) != _MACHINES.get(wanted.abi):
            return f"{self.binary} is not built for {wanted.abi}"
        offers = _flags(self.binary)
        if wanted.delegate not in offers:
            return f"{self.binary.name} offers {', '.join(offers)}, not {wanted.delegate}"
        return None

    def modes(self) -> tuple[str, ...]:
        """See `Way`."""
        return (GRAPH,)

    def library(self, wanted: Wanted) -> Library:
        """See `Way`: it has its runtime inside."""
        del wanted
        return Library("litert", "-", "-")

    def files(self, wanted: Wanted) -> tuple[DeviceFile, ...]:
        """See `Way`."""
        del wanted
        binary = self._binary()
        return (DeviceFile(binary, _PROGRAM, hash_file(binary), executable=True),)

    def self_test(self, folder: str, wanted: Wanted) -> str | None:
        """See `Way`. Its help ends with an error code; 126 and more mean that it did not start."""
        del wanted
        return f"({start_command(folder, f'{_PROGRAM} --help')}); [ $? -lt 126 ]"

    def command(self, folder: str, job: RunnerJob, job_file: str, *, prefix: str = "") -> str:
        """See `Way`. The cores are held by `taskset`, since the tool cannot."""
        del job_file
        if job.mode != GRAPH:
            raise RequestError(f"benchmark_model cannot do a {job.mode}; use --way capsule")
        graph = job.graphs[0]
        words = [
            f"--graph={graph.model}",
            f"--num_threads={job.threads}",
            f"--num_runs={job.runs}",
            f"--min_secs={job.seconds:g}",
            f"--max_secs={max(150.0, 3 * job.seconds):g}",
            "--warmup_runs=1",
            f"--warmup_min_secs={job.warmup_seconds:g}",
            "--report_peak_memory_footprint=true",
            f"--result_file_path={_RESULT}",
            *([f"--signature_to_run_for={graph.signature}"] if graph.signature else ()),
            *_flags(self._binary())[job.delegate],
        ]
        mask = f"taskset {sum(1 << core for core in set(job.cores)):x} " if job.cores else ""
        program = f"{mask}{_PROGRAM} {' '.join(words)}"
        return start_command(folder, program, prefix=prefix, stale=_RESULT)

    def pulls(self, job: RunnerJob) -> tuple[str, ...]:
        """See `Way`."""
        del job
        return (_RESULT,)

    def read(self, job: RunnerJob, answer: Answer) -> RunnerReport:
        """See `Way`. A run that fell back to the CPU is an error, never a time."""
        text = f"{answer.stdout}\n{answer.stderr}"
        notes = refuse_fallback(text)
        if answer.status != 0:
            raise RunnerError(describe_ending(answer))
        classic = not _is_litert(self._binary())
        if classic and job.delegate in ("gpu", "nnapi") and not names_delegate(text):
            raise RunnerError(f"benchmark_model does not say that {job.delegate} took the graph")
        content = answer.files.get(_RESULT)
        result = parse_proto(content) if content else parse_text(text)
        kind = "classic" if classic else "LiteRT"
        return _report(job, result, f"benchmark_model ({kind})", notes)

    def _binary(self) -> Path:
        if self.binary is None:
            raise RequestError(_NONE)
        return self.binary


def _report(job: RunnerJob, result: Result, runtime: str, notes: tuple[str, ...]) -> RunnerReport:
    graph = job.graphs[0].spec.name
    value, what = (result.average, "mean") if result.median is None else (result.median, "median")
    known = {"min": result.least, "max": result.most, "std": result.deviation}
    rest = ", ".join(f"{k} {v / 1e6:.4g} ms" for k, v in known.items() if v is not None)
    runs = "an unknown number of" if result.runs is None else str(result.runs)
    told = (
        f"benchmark_model gives no sample of each call: the one sample is the {what} of {runs} "
        f"calls{f' ({rest})' if rest else ''}",
        "random input; no parity on the device",
    )
    return RunnerReport(
        runner=PROTOCOL,
        mode=job.mode,
        runtime=runtime,
        load_ns={graph: result.init},
        first_ns={graph: result.first},
        warmup_ns=(result.first,),
        stable=True,
        samples_ns=(value,),
        cpu_ns=None,
        first_mask_ns=None,
        peak_bytes=result.peak_bytes,
        threads=job.threads,
        affinity=job.cores,
        khz_before={},
        khz_after={},
        notes=(*told, *notes),
    )


def _flags(binary: Path) -> dict[str, tuple[str, ...]]:
    return _LITERT if _is_litert(binary) else _CLASSIC


def _is_litert(binary: Path) -> bool:
    with (
        binary.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        return content.find(_LITERT_MARK) >= 0


def _machine(binary: Path) -> int | None:
    """Name the processor that an ELF file is for; None for another kind of file."""
    with binary.open("rb") as file:
        head = file.read(20)
    return int.from_bytes(head[18:20], "little") if head[:4] == b"\x7fELF" else None


WAY = WayKind(
    make=lambda supplies: BenchmarkModel(supplies.benchmark_model),
    delegates=(*_CLASSIC, *_LITERT),
    rank=None,
)
