"""A measurement of many exports that goes on where it was.

Each row is a file, each step of a row a process of its own: what fails or is interrupted costs its
own row alone. This process imports no toolkit.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from exporter.errors import SamExportError
from exporter.printable import one_line
from exporter.progress import Progress, on_stderr
from exporter.signals import describe_end, terminable
from exporter.variants import load_variant
from profiles.lab import steps
from profiles.lab.bench.machine import circumstances
from profiles.lab.matrix.jobs import PRECISIONS, MatrixJob
from profiles.lab.matrix.processes import ProcessEnd, memory_limit, run_within
from profiles.lab.matrix.state import State

WORK = Path(__file__).resolve().parents[2] / "build"
_SHOWN = 6


class Resumable(ABC):
    """Rows to be measured, each once, whenever there is time. A subclass says what a row is.

    Attributes:
        module: of the command, as `python -m` takes it.
        page: name of the page and its data.
        rows, made: words for the messages: `exports`, `made`.
        precisions: that there are rows of.
        wanted: the rows asked for.
        state: the rows known.
        limit_gb: memory that a step may take.
    """

    module: ClassVar[str]
    page: ClassVar[str]
    rows: ClassVar[str] = "rows"
    made: ClassVar[str] = "measured"
    precisions: ClassVar[tuple[str, ...]] = PRECISIONS

    def __init__(self, arguments: argparse.Namespace, report: Progress) -> None:
        self.arguments, self.report = arguments, report
        self.wanted = self.plan_wanted()
        self.state = State(arguments.folder / "rows", steps.RESULTS / f"{self.page}.json")
        self.limit_gb = arguments.memory or memory_limit()
        self._keys = {job: self.key(job) for job in self.plan_all()}

    @abstractmethod
    def plan_wanted(self) -> list[MatrixJob]:
        """List the rows that the arguments ask for."""

    @abstractmethod
    def plan_all(self) -> list[MatrixJob]:
        """List every row there is."""

    @abstractmethod
    def key(self, job: MatrixJob) -> str:
        """Hash what the row depends on; a row with another key is stale."""

    @abstractmethod
    def fill(self, job: MatrixJob, folder: Path) -> dict[str, Any]:
        """Measure one row in a folder that is deleted afterwards."""

    @staticmethod
    @abstractmethod
    def step(arguments: argparse.Namespace, report: Progress) -> Any:
        """Do a child's step; its answer."""

    @staticmethod
    @abstractmethod
    def render(results: Mapping[str, Any]) -> str:
        """Write the page."""

    def pending(self) -> list[MatrixJob]:
        """List rows that are not measured, stale, or to be tried again."""
        return [job for job in self.wanted if not self.is_settled(job)]

    def is_settled(self, job: MatrixJob) -> bool:
        """Tell whether a row needs no more work."""
        return self.state.is_current(job, self._keys[job])

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
        row |= {"family": load_variant(job.variant).family, "target": job.target}
        row |= {"precision": job.precision} | ({"video": True} if job.video else {})
        try:
            return row | self.fill(job, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def child(self, step: str, job: MatrixJob, folder: Path, more: Sequence[str]) -> ProcessEnd:
        """Run a step of a row in a process of its own."""
        command = [sys.executable, "-m", self.module, "--step", step, "--folder", str(folder)]
        command += ["--only", job.variant, "--precision", job.precision, *more]
        return run_within(command, folder / f"{step}.log", self.limit_gb)

    def results(self, command: str) -> dict[str, Any]:
        """Collect every known row, not of this run alone."""
        rows = []
        for job in (everything := self.plan_all()):
            row = self.state.row(job)
            if row is not None:
                stale = not self.state.is_current(job, self._keys[job])
                rows.append({**row, "stale": stale})
        more = {"limit_gb": round(self.limit_gb, 1), "planned": len(everything), "rows": rows}
        return circumstances(command) | more

    def status(self) -> str:
        """Sum up pending work: `3 of 216 exports are to be made: ...`"""
        waiting = self.pending()
        names = ", ".join(job.name for job in waiting[:_SHOWN]) or "none"
        more = f", and {len(waiting) - _SHOWN} more" if len(waiting) > _SHOWN else ""
        what = f"{len(waiting)} of {len(self.wanted)} {self.rows} are to be {self.made}"
        return f"{what}: {names}{more}"


def failure(ended: ProcessEnd, before: str = "") -> dict[str, str]:
    """Say why a row's step gave no answer: `error` or `skipped`; empty if it gave one."""
    if ended.stopped_gb is not None:
        held = f"{ended.stopped_gb:.1f} GB were held when it was stopped"
        return {"skipped": f"{before}{ended.reason}: {held}"}
    return {"error": f"{before}{ended.reason}"} if ended.reason else {}


def main(kind: type[Resumable], given: Sequence[str], arguments: argparse.Namespace) -> int:
    """Run the command, or a child's step of it; returns the exit status."""
    report, name = on_stderr(), kind.module.rpartition(".")[2]
    try:
        if arguments.step:
            answer = kind.step(arguments, report)
            steps.write_answer(arguments.folder, arguments.step, answer)
            return 0
        work = kind(arguments, report)
        if not arguments.status:
            with terminable():
                work.run(time.monotonic)
        results = work.results(" ".join([f"python -m {kind.module}", *given]))
    except SamExportError as error:
        print(f"{name}: error: {one_line(error)}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt as end:
        word, status = describe_end(end)
        print(f"{name}: {word}; the finished {kind.rows} are kept", file=sys.stderr)
        return status
    report(work.status())
    if arguments.write:
        steps.write_page(kind.page, kind.render(results), results)
    return 0


def add_arguments(parser: argparse.ArgumentParser, kind: type[Resumable]) -> None:
    """Add what every such command takes."""
    add, folder = parser.add_argument, WORK / kind.module.rpartition(".")[2]
    add("--only", nargs="+", default=[], metavar="VARIANT", help="these variants (default: all)")
    add("--precision", nargs="+", default=[], choices=kind.precisions, help="these (default: all)")
    add("--minutes", type=steps.positive, metavar="N", help="start no row after N minutes")
    add(
        "--memory",
        type=steps.positive,
        metavar="GB",
        help="stop a step above this (default: 3/4 of all)",
    )
    files = f"{steps.RESULTS.name}/{kind.page}.md and {kind.page}.json"
    add("--write", action="store_true", help=f"also write {files}")
    add("--status", action="store_true", help="measure nothing")
    add("--folder", type=Path, default=folder, help="kept between runs (default: %(default)s)")
