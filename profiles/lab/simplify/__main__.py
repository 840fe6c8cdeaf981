"""`make onnxsim`: export, simplify and compare, each in a process; this one imports no toolkit."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from exporter.errors import RequestError, SamExportError
from exporter.progress import Progress, on_stderr
from exporter.signals import describe_end, terminable
from exporter.variants import load_variant, variants
from profiles.lab.bench.machine import circumstances
from profiles.lab.matrix import jobs, sources
from profiles.lab.matrix.jobs import PRECISIONS, MatrixJob
from profiles.lab.matrix.measure import export_job
from profiles.lab.matrix.processes import memory_limit, run_within
from profiles.lab.matrix.state import State
from profiles.lab.simplify.measure import compare, files_of, simplify
from profiles.lab.simplify.table import render

ROOT = Path(__file__).resolve().parents[3]
RESULTS = ROOT / "profiles" / "results"
WORK = ROOT / "build" / "simplify"
STEPS = ("export", "simplify", "compare")
TIMED = "fp32"
"""The precision whose graphs are timed: float16 is stored, not computed, on most hosts."""
EXAMPLES = """examples:
  python -m profiles.lab.simplify --write                 everything not measured yet; hours
  python -m profiles.lab.simplify --minutes 60 --write    one hour's worth; run again to continue
  python -m profiles.lab.simplify --only mobile_sam --precision fp32

float32 of every variant; float16 of the first of each family, which is not timed.
exit status: 0 done or out of time, 2 a wrong request, 130 interrupted (Ctrl-C), 143 terminated
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the requested rows that are not measured yet."""
    given = list(sys.argv[1:] if argv is None else argv)
    arguments = _parser().parse_args(given)
    report = on_stderr()
    try:
        if arguments.step:
            _step(arguments, report)
            return 0
        work = SimplifyRun(arguments, report)
        with terminable():
            work.run(time.monotonic)
        results = work.results(" ".join(["python -m profiles.lab.simplify", *given]))
    except SamExportError as error:
        print(f"simplify: error: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt as end:
        word, status = describe_end(end)
        print(f"simplify: {word}; the finished rows are kept", file=sys.stderr)
        return status
    report(f"{len(work.pending())} of {len(work.wanted)} rows are to be measured")
    if arguments.write:
        RESULTS.mkdir(parents=True, exist_ok=True)
        (RESULTS / "onnxsim.md").write_text(render(results), encoding="utf-8")
        data = json.dumps(results, indent=1) + "\n"
        (RESULTS / "onnxsim.json").write_text(data, encoding="utf-8")
    return 0


def plan(only: Sequence[str] = (), precision: Sequence[str] = ()) -> list[MatrixJob]:
    """List float32 of the variants in the matrix's order, then float16 of the first per family."""
    wanted = jobs.plan(only, ("onnx",), precision)
    families = {variant.family: variant.name for variant in reversed(list(variants().values()))}
    plain = [job for job in wanted if job.precision == TIMED]
    return plain + [job for job in wanted if job not in plain and job.variant in families.values()]


def version() -> str:
    """Look up onnxsim's version. RequestError if it is not installed."""
    try:
        return importlib.metadata.version("onnxsim")
    except importlib.metadata.PackageNotFoundError:
        raise RequestError("onnxsim is not installed: pip install 'sam-export[lab]'") from None


class SimplifyRun:
    """The rows asked for, and those already measured."""

    def __init__(self, arguments: argparse.Namespace, report: Progress) -> None:
        self.arguments, self.report = arguments, report
        self.version = version()
        self.wanted = plan(arguments.only, arguments.precision)
        self.state = State(arguments.folder / "rows", RESULTS / "onnxsim.json")
        self.limit_gb = arguments.memory or memory_limit()
        self._keys = {job: sources.key(job, f"onnxsim {self.version}") for job in plan()}

    def pending(self) -> list[MatrixJob]:
        """List rows that are not measured, or were before the sources or tools last changed."""
        return [job for job in self.wanted if not self.state.is_current(job, self._keys[job])]

    def run(self, clock: Callable[[], float]) -> None:
        """Measure until everything is done or the time is up."""
        start, minutes = clock(), self.arguments.minutes
        waiting = self.pending()
        for number, job in enumerate(waiting, start=1):
            if minutes and clock() - start > 60 * minutes:
                self.report(f"{minutes:g} minutes are up; the same command continues here")
                return
            self.report(f"{number} of {len(waiting)}: {job.name}")
            self.state.save(job, self._keys[job], self.measure(job))

    def measure(self, job: MatrixJob) -> dict[str, Any]:
        """Measure one row and delete its bundle."""
        folder = self.arguments.folder / "bundles" / job.name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        row: dict[str, Any] = {"name": job.name, "variant": job.variant}
        row |= {"family": load_variant(job.variant).family, "precision": job.precision}
        try:
            exported = self._child("export", job, folder)
            if "weights" not in exported:
                return row | exported
            graphs = [self._graph(job, folder, name) for name in exported["graphs"]]
            return row | {"weights": exported["weights"], "graphs": graphs}
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _graph(self, job: MatrixJob, folder: Path, name: str) -> dict[str, Any]:
        """Simplify and compare one graph, each in a process of its own: its memory returns."""
        found: dict[str, Any] = {"name": name}
        for step in STEPS[1:]:
            found |= self._child(step, job, folder, name)
            if "error" in found or "skipped" in found:
                break
        return found

    def _child(self, step: str, job: MatrixJob, folder: Path, graph: str = "") -> dict[str, Any]:
        """Run a step. Returns its answer, or `error` or `skipped` with the step and the reason."""
        command = [sys.executable, "-m", "profiles.lab.simplify", "--step", step]
        command += ["--folder", str(folder), "--only", job.variant, "--precision", job.precision]
        command += ["--graph", graph, "--seconds", str(self.arguments.seconds)]
        ended = run_within(command, folder / f"{step}.log", self.limit_gb)
        if ended.stopped_gb is not None:
            held = f"{ended.stopped_gb:.1f} GB were held when it was stopped"
            return {"skipped": f"{step}: {ended.reason}: {held}"}
        if ended.reason:
            return {"error": f"{step}: {ended.reason}"}
        answer: dict[str, Any] = json.loads((folder / f"{step}.json").read_text(encoding="utf-8"))
        return answer

    def results(self, command: str) -> dict[str, Any]:
        """Collect every known row, not of this run alone."""
        rows = []
        for job in (everything := plan()):
            row = self.state.row(job)
            if row is not None:
                stale = not self.state.is_current(job, self._keys[job])
                rows.append({**row, "stale": stale})
        found = circumstances(command)
        found["versions"]["onnxsim"] = self.version
        return found | {
            "limit_gb": round(self.limit_gb, 1),
            "planned": len(everything),
            "rows": rows,
        }


def _step(arguments: argparse.Namespace, report: Progress) -> None:
    """Do a child's step."""
    (job,) = jobs.plan(arguments.only, ("onnx",), arguments.precision)
    folder = arguments.folder
    if arguments.step == "export":
        made = export_job(job, folder, None, report)
        names = [graph["spec"]["name"] for graph in made["graphs"]]
        answer = {"weights": made["weights"], "graphs": names}
    else:
        files = files_of(folder / job.name, arguments.graph)
        seconds = arguments.seconds if job.precision == TIMED else 0.0
        answer = (
            simplify(files) if arguments.step == "simplify" else compare(files, seconds, report)
        )
    (folder / f"{arguments.step}.json").write_text(json.dumps(answer), encoding="utf-8")


def _positive(text: str) -> float:
    value = float(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"must be more than 0, not {text}")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m profiles.lab.simplify",
        description="Compare every variant's ONNX graphs with the same after onnxsim.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--only", nargs="+", default=[], metavar="VARIANT", help="these variants (default: all)")
    add("--precision", nargs="+", default=[], choices=PRECISIONS, help="these (default: all)")
    add("--minutes", type=_positive, metavar="N", help="start no row after N minutes")
    add(
        "--seconds",
        type=_positive,
        default=8.0,
        metavar="N",
        help="time a graph for about N seconds (default: %(default)g)",
    )
    add(
        "--memory",
        type=_positive,
        metavar="GB",
        help="stop a step above this (default: 3/4 of all)",
    )
    add(
        "--write",
        action="store_true",
        help=f"also write {RESULTS.name}/onnxsim.md and onnxsim.json",
    )
    add("--folder", type=Path, default=WORK, help="files kept between runs (default: %(default)s)")
    add("--step", choices=STEPS, help=argparse.SUPPRESS)
    add("--graph", default="", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
