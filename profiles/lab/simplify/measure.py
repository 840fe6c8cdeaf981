"""A child process's work: simplify a graph with onnxsim, then compare both files."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from exporter.bundle.folder import Bundle, read_manifest
from exporter.bundle.layouts import Array, to_layout
from exporter.bundle.tensors import GraphSpec
from exporter.progress import Progress
from profiles.lab.bench.speed import THREADS, TurnPlan, interleave
from runtimes.engines import CheckedGraph, run_canonical
from runtimes.measures import psnr_db, worst_error
from runtimes.process import peak_bytes

RAW, SIMPLIFIED = "raw", "simplified"
CONTROL = "control"
"""The raw file loaded a second time: its ratio is the difference that noise alone makes."""
HEAVY = 2 * 10**9
"""Bytes. A graph above this has no control, and gives its memory back after every call."""
LEAST, MOST = 3, 60
"""Rounds of a graph."""
FEWEST = 2
"""Least rounds of a heavy graph."""
_ERRORS_ONLY = 3
PROTOBUF_LIMIT = 2_000_000_000
"""Bytes; above it a model keeps its weights in a file beside it."""


@dataclass(frozen=True)
class Files:
    """A graph of an exported bundle, and beside it the same graph simplified."""

    bundle: Bundle
    graph: str

    @property
    def raw(self) -> Path:
        """The exporter's file."""
        return self.bundle.file(self.graph)

    @property
    def simplified(self) -> Path:
        """onnxsim's file."""
        return self.raw.with_name(f"{self.graph}.simplified.onnx")


def files_of(folder: Path, graph: str) -> Files:
    """Find a graph's files in an exported bundle; no hash is checked."""
    return Files(Bundle(folder, read_manifest(folder)), graph)


def simplify(files: Files) -> dict[str, Any]:
    """Write the simplified graph, with onnxsim's defaults.

    Returns:
        `simplify_s`, and for both files `bytes` with external data, `operations` by type, and the
        same `loaded`: after ONNX Runtime's own optimisation, None above the protobuf limit.
    """
    import onnxsim

    start = time.perf_counter()
    onnxsim.simplify(
        str(files.raw),
        output_path=str(files.simplified),
        external_data_threshold=f"{PROTOBUF_LIMIT}B",
    )
    seconds = time.perf_counter() - start
    both = {RAW: files.raw, SIMPLIFIED: files.simplified}
    return {
        "simplify_s": round(seconds, 2),
        "operations": {name: _operations(path) for name, path in both.items()},
        "bytes": {name: _size(path) for name, path in both.items()},
        "loaded": {name: _loaded(path) for name, path in both.items()},
    }


def _operations(path: Path) -> dict[str, int]:
    """Count nodes by type, without constants; `DOMAIN.TYPE` if the operation is not standard."""
    import onnx

    nodes = onnx.load(str(path), load_external_data=False).graph.node
    names = (f"{n.domain}.{n.op_type}".lstrip(".") for n in nodes if n.op_type != "Constant")
    return dict(sorted(Counter(names).items()))


def _loaded(path: Path) -> dict[str, int] | None:
    """Count the operations that are left when ONNX Runtime has loaded and optimised a file."""
    import onnxruntime

    if _size(path) > PROTOBUF_LIMIT:  # cannot be saved in one file, so not as easily looked at
        return None
    written = path.with_suffix(".loaded")
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(written)
    options.log_severity_level = _ERRORS_ONLY
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    try:
        return _operations(written)
    finally:
        written.unlink()


def _size(path: Path) -> int:
    """Bytes of the file and its external data."""
    return sum(part.stat().st_size for part in path.parent.glob(f"{path.name}*"))


def compare(files: Files, seconds: float, report: Progress) -> dict[str, Any]:
    """Run every golden case through both files, then time both in turns.

    Args:
        files: both must exist.
        seconds: spent on the timing, within the limits of rounds; 0 to skip it.
        report: called at every stage.

    Returns:
        `parity`: output -> `difference` (largest |simplified - raw| over the largest |raw|, the
        worst case) and `psnr_db` of both files against torch, the worst case; `samples_ms` by
        contender if it was timed.
    """
    spec, goldens = files.bundle.manifest.graph(files.graph).spec, files.bundle.goldens()
    cases = goldens.cases(files.graph)
    inputs = {case: goldens.inputs(spec, case) for case in cases}
    loaded, outputs, call_s = {}, {}, 0.0
    for name, path in ((RAW, files.raw), (SIMPLIFIED, files.simplified)):
        report(f"{files.graph}: {name}")
        loaded[name] = load(path, spec)
        graph = CheckedGraph(spec, loaded[name])
        start = time.perf_counter()
        outputs[name] = {case: run_canonical(graph, spec, inputs[case]) for case in cases}
        call_s = (time.perf_counter() - start) / len(cases)
    expected = {
        case: {t.name: goldens.expected(spec, case, t.name) for t in spec.outputs} for case in cases
    }
    answer: dict[str, Any] = {"parity": _parity(expected, outputs)}
    if seconds:
        first = {t.name: to_layout(inputs[cases[0]][t.name], t) for t in spec.inputs}
        heavy = peak_bytes() > HEAVY
        if not heavy:
            loaded[CONTROL] = load(files.raw, spec)
            loaded = {name: replace(graph, frugal=False) for name, graph in loaded.items()}
        plan = TurnPlan(
            rounds_within(seconds, call_s, len(loaded), least=FEWEST if heavy else LEAST)
        )
        report(f"{files.graph}: {plan.rounds} rounds")
        calls = {name: partial(graph.run, first) for name, graph in loaded.items()}
        samples = interleave(calls, plan)
        answer["samples_ms"] = {name: [round(v, 3) for v in ms] for name, ms in samples.items()}
    return answer


def rounds_within(seconds: float, call_s: float, contenders: int, least: int) -> int:
    """Count the rounds that fit, `least` to `MOST`; each contender is first equally often."""
    fitting = max(least, min(MOST, int(seconds / (call_s * contenders))))
    return -(-fitting // contenders) * contenders


@dataclass(frozen=True)
class Loaded:
    """A file loaded by ONNX Runtime; a `LoadedGraph`.

    Attributes:
        session: its InferenceSession.
        outputs: names.
        frugal: give a call's memory back after it instead of keeping it for the next call.
    """

    session: Any
    outputs: tuple[str, ...]
    frugal: bool = True

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """See `LoadedGraph`."""
        import onnxruntime

        options = onnxruntime.RunOptions()
        if self.frugal:
            options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        values = self.session.run(list(self.outputs), dict(inputs), options)
        return dict(zip(self.outputs, values, strict=True))


def load(path: Path, spec: GraphSpec) -> Loaded:
    """Load a file with `THREADS` threads, frugal."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.log_severity_level = _ERRORS_ONLY
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return Loaded(session, tuple(tensor.name for tensor in spec.outputs))


Outputs = Mapping[str, Mapping[str, Array]]


def _parity(expected: Outputs, outputs: Mapping[str, Outputs]) -> dict[str, Any]:
    """Compare by output name; every mapping is by case first."""
    names = next(iter(expected.values()))
    raw, simplified = outputs[RAW], outputs[SIMPLIFIED]
    return {
        name: {
            "difference": max(worst_error(raw[c][name], simplified[c][name]) for c in expected),
            "psnr_db": {
                file: min(psnr_db(expected[c][name], arrays[c][name]) for c in expected)
                for file, arrays in outputs.items()
            },
        }
        for name in names
    }
