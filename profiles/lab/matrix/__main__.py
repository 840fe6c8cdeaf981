"""`make matrix`: export and check everything, each in a process; this one imports no toolkit."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from exporter import targets
from exporter.bundle.folder import hash_file
from exporter.errors import SamExportError
from exporter.progress import Progress, on_stderr
from exporter.signals import describe_end, terminable
from exporter.variants import load_variant
from profiles.lab.bench.machine import circumstances
from profiles.lab.matrix import jobs, sources
from profiles.lab.matrix.jobs import PRECISIONS, MatrixJob
from profiles.lab.matrix.measure import checkpoint_of, export_job, inspect_bundle
from profiles.lab.matrix.processes import memory_limit, run_within
from profiles.lab.matrix.state import State
from profiles.lab.matrix.table import render

ROOT = Path(__file__).resolve().parents[3]
RESULTS = ROOT / "profiles" / "results"
WORK = ROOT / "build" / "matrix"
EMBEDDED = ROOT / "exporter" / "demo"
EXAMPLES = """examples:
  python -m profiles.lab.matrix --write                   everything not measured yet; hours
  python -m profiles.lab.matrix --minutes 60 --write      one hour's worth; run again to continue
  python -m profiles.lab.matrix --only mobile_sam --target tflite --precision fp16
  python -m profiles.lab.matrix --checkpoints ~/weights   published files there replace filled ones
  python -m profiles.lab.matrix --status                  exports still to be made

Host timings, not phone timings. A figure under its floor and a failed export are rows, not errors.
exit status: 0 done or out of time, 2 a wrong request, 130 interrupted (Ctrl-C), 143 terminated
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the requested exports that are not measured yet."""
    given = list(sys.argv[1:] if argv is None else argv)
    arguments = _parser().parse_args(given)
    report = on_stderr()
    try:
        if arguments.step:
            _step(arguments, report)
            return 0
        work = MatrixRun(arguments, report)
        if not arguments.status:
            with terminable():
                work.run(time.monotonic)
        results = work.results(" ".join(["python -m profiles.lab.matrix", *given]))
    except SamExportError as error:
        print(f"matrix: error: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt as end:
        word, status = describe_end(end)
        print(f"matrix: {word}; the finished exports are kept", file=sys.stderr)
        return status
    report(work.status())
    if arguments.write:
        RESULTS.mkdir(parents=True, exist_ok=True)
        (RESULTS / "matrix.md").write_text(render(results), encoding="utf-8")
        data = json.dumps(results, indent=1) + "\n"
        (RESULTS / "matrix.json").write_text(data, encoding="utf-8")
    return 0


class MatrixRun:
    """The exports asked for, and their known rows."""

    def __init__(self, arguments: argparse.Namespace, report: Progress) -> None:
        self.arguments, self.report = arguments, report
        self.wanted = jobs.plan(arguments.only, arguments.target, arguments.precision)
        self.state = State(arguments.folder / "rows", RESULTS / "matrix.json")
        self.limit_gb = arguments.memory or memory_limit()
        self._keys = {job: self._key(job) for job in jobs.plan()}

    def _key(self, job: MatrixJob) -> str:
        variant = load_variant(job.variant)
        files = checkpoint_of(variant, self.arguments.checkpoints)
        stamps = [f"{f.name} {f.stat().st_size} {f.stat().st_mtime_ns}" for f in files]
        if not variant.published.url:
            stamps.append(hash_file(EMBEDDED / variant.published.file))
        return sources.key(job, " ".join(stamps))

    def pending(self) -> list[MatrixJob]:
        """List exports that are not measured, stale, or failed and to be retried."""
        return [job for job in self.wanted if not self._is_settled(job)]

    def _is_settled(self, job: MatrixJob) -> bool:
        row = self.state.row(job) or {}
        failed = self.arguments.retry and ("error" in row or "skipped" in row)
        return self.state.is_current(job, self._keys[job]) and not failed

    def run(self, clock: Callable[[], float]) -> None:
        """Export until everything is done or the time is up."""
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
        variant = load_variant(job.variant)
        row: dict[str, Any] = {"name": job.name, "variant": job.variant, "family": variant.family}
        row |= {"target": job.target, "precision": job.precision}
        try:
            return row | self._export(job, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _export(self, job: MatrixJob, folder: Path) -> dict[str, Any]:
        ended = self._child("export", job, folder)
        spent = {"cpu_s": round(ended.usage.cpu_s, 1), "peak_gb": round(ended.usage.peak_gb, 2)}
        if ended.stopped_gb is not None:
            held = f"{ended.stopped_gb:.1f} GB were held when it was stopped"
            return spent | {"skipped": f"{ended.reason}: {held}"}
        if ended.reason:
            return spent | {"error": ended.reason}
        row = _answer(folder, "export") | spent
        ended = self._child("inspect", job, folder)
        if ended.reason:
            return row | {"error": f"exported, but not inspected: {ended.reason}"}
        found = _answer(folder, "inspect")
        for graph in row["graphs"]:
            graph |= {"facts": found[graph["spec"]["name"]]}
        return row

    def _child(self, step: str, job: MatrixJob, folder: Path) -> Any:
        command = [
            sys.executable,
            "-m",
            "profiles.lab.matrix",
            "--step",
            step,
            "--folder",
            str(folder),
        ]
        command += ["--only", job.variant, "--target", job.target, "--precision", job.precision]
        if self.arguments.checkpoints:
            command += ["--checkpoints", str(self.arguments.checkpoints)]
        return run_within(command, folder / f"{step}.log", self.limit_gb)

    def results(self, command: str) -> dict[str, Any]:
        """Collect every known row of the whole matrix, not of this run alone."""
        rows = []
        for job in (everything := jobs.plan()):
            row = self.state.row(job)
            if row is not None:
                stale = not self.state.is_current(job, self._keys[job])
                rows.append({**row, "stale": stale})
        more = {"limit_gb": round(self.limit_gb, 1), "planned": len(everything), "rows": rows}
        return circumstances(command) | more

    def status(self) -> str:
        """Sum up pending work: `3 of 216 exports are to be made: ...`"""
        waiting = self.pending()
        names = ", ".join(job.name for job in waiting[:6]) or "none"
        more = f", and {len(waiting) - 6} more" if len(waiting) > 6 else ""
        return f"{len(waiting)} of {len(self.wanted)} exports are to be made: {names}{more}"


def _answer(folder: Path, step: str) -> Any:
    return json.loads((folder / f"{step}.json").read_text(encoding="utf-8"))


def _step(arguments: argparse.Namespace, report: Progress) -> None:
    """Do a child's step."""
    (job,) = jobs.plan(arguments.only, arguments.target, arguments.precision)
    folder = arguments.folder
    if arguments.step == "export":
        answer = export_job(job, folder, arguments.checkpoints, report)
    else:
        answer = inspect_bundle(folder / job.name)
    (folder / f"{arguments.step}.json").write_text(json.dumps(answer), encoding="utf-8")


def _positive(text: str) -> float:
    value = float(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"must be more than 0, not {text}")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m profiles.lab.matrix",
        description="Export every variant in every format and precision, and check each.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--only", nargs="+", default=[], metavar="VARIANT", help="these variants (default: all)")
    add("--target", nargs="+", default=[], choices=targets.names(), help="these (default: all)")
    add("--precision", nargs="+", default=[], choices=PRECISIONS, help="these (default: all)")
    add("--checkpoints", type=Path, help="folder with published files; missing ones are filled")
    add("--minutes", type=_positive, metavar="N", help="start no export after N minutes")
    add(
        "--memory",
        type=_positive,
        metavar="GB",
        help="stop an export above this (default: 3/4 of all)",
    )
    add("--retry", action="store_true", help="retry exports that failed or needed too much memory")
    add("--write", action="store_true", help=f"also write {RESULTS.name}/matrix.md and matrix.json")
    add("--status", action="store_true", help="measure nothing")
    add("--folder", type=Path, default=WORK, help="files kept between runs (default: %(default)s)")
    add("--step", choices=("export", "inspect"), help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
