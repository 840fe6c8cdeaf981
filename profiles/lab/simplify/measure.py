"""Steps of a child process: simplify a graph with onnxsim, then compare both files."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exporter.bundle.folder import Bundle, read_manifest
from exporter.progress import Report
from profiles.lab.bench.speed import THREADS, Plan, interleave
from runtimes.engines import Array, CheckedSession, choose_engine, run_canonical, to_layout
from runtimes.measures import psnr_db, worst_error

RAW, SIMPLIFIED = "raw", "simplified"
CONTROL = "control"
"""A second session of the raw file: its ratio says what two equal graphs differ by here."""
SLOW_S = 3.0
"""A call above this has no control: it would take minutes, and the weights' memory once more."""
LEAST, MOST = 5, 60
"""Rounds of a graph."""
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
        """As the exporter wrote it."""
        return self.bundle.file(self.graph)

    @property
    def simplified(self) -> Path:
        """As onnxsim wrote it."""
        return self.raw.with_name(f"{self.graph}.simplified.onnx")


def files_of(folder: Path, graph: str) -> Files:
    """Of a bundle that was exported to `folder`; nothing is hashed."""
    return Files(Bundle(folder, read_manifest(folder)), graph)


def simplify(files: Files) -> dict[str, Any]:
    """Write the simplified graph with onnxsim's defaults.

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
    """Nodes by type, constants left out; `DOMAIN.TYPE` if it is no standard operation."""
    import onnx

    nodes = onnx.load(str(path), load_external_data=False).graph.node
    names = (f"{n.domain}.{n.op_type}".lstrip(".") for n in nodes if n.op_type != "Constant")
    return dict(sorted(Counter(names).items()))


def _loaded(path: Path) -> dict[str, int] | None:
    """Operations by type of the graph that ONNX Runtime makes of a file when it loads it."""
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
    """Of the file and its external data."""
    return sum(part.stat().st_size for part in path.parent.glob(f"{path.name}*"))


def compare(files: Files, seconds: float, report: Report) -> dict[str, Any]:
    """Run every golden case through both files, then time both turn by turn.

    Args:
        files: both written.
        seconds: to spend on the timing, as far as `LEAST` and `MOST` rounds allow; 0 for none.
        report: hears of every stage.

    Returns:
        `parity`: output -> `difference` (largest |simplified - raw| over the largest |raw|, the
        worst case) and `psnr_db` of both files against torch, the worst case; and if it was timed,
        `samples_ms` by contender.
    """
    entry, goldens = files.bundle.manifest.graph(files.graph), files.bundle.goldens()
    cases = goldens.cases(files.graph)
    inputs = {case: goldens.inputs(entry.spec, case) for case in cases}
    sessions, outputs = {}, {}
    start = time.perf_counter()
    for name, path in ((RAW, files.raw), (SIMPLIFIED, files.simplified)):
        report(f"{files.graph}: {name}")
        sessions[name] = CheckedSession(entry.spec, _open(path, entry))
        start = time.perf_counter()
        outputs[name] = {c: run_canonical(sessions[name], entry.spec, inputs[c]) for c in cases}
    call_s = (time.perf_counter() - start) / len(cases)
    expected = {
        c: {t.name: goldens.expected(entry.spec, c, t.name) for t in entry.spec.outputs}
        for c in cases
    }
    answer: dict[str, Any] = {"parity": _parity(expected, outputs)}
    if seconds:
        if call_s < SLOW_S:
            sessions[CONTROL] = CheckedSession(entry.spec, _open(files.raw, entry))
        first = {t.name: to_layout(inputs[cases[0]][t.name], t) for t in entry.spec.inputs}
        plan = Plan(rounds_within(seconds, call_s * len(sessions)))
        report(f"{files.graph}: {plan.rounds} rounds")
        calls = {
            name: lambda session=session: session.run(first) for name, session in sessions.items()
        }
        samples = interleave(calls, plan)
        answer["samples_ms"] = {name: [round(v, 3) for v in ms] for name, ms in samples.items()}
    return answer


def rounds_within(seconds: float, round_s: float) -> int:
    """How many rounds fit, between `LEAST` and `MOST`."""
    return max(LEAST, min(MOST, int(seconds / round_s)))


def _open(path: Path, entry: Any) -> Any:
    return choose_engine("onnx").open(path, entry, THREADS)


Outputs = Mapping[str, Mapping[str, Array]]


def _parity(expected: Outputs, outputs: Mapping[str, Outputs]) -> dict[str, Any]:
    """Output name -> its figures; all mappings go by case first."""
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
