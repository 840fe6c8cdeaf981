"""`make onnxsim`: export, simplify and compare, each in a process; this one imports no toolkit."""

from __future__ import annotations

import argparse
import importlib.metadata
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from exporter.errors import RequestError
from exporter.progress import Progress
from exporter.variants import variants
from profiles.lab import resumable
from profiles.lab.matrix import jobs, sources
from profiles.lab.matrix.jobs import MatrixJob
from profiles.lab.matrix.measure import export_job
from profiles.lab.resumable import Resumable, failure
from profiles.lab.simplify import table
from profiles.lab.simplify.measure import compare, files_of, simplify
from profiles.lab.steps import positive, read_answer

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


def plan(only: Sequence[str] = (), precision: Sequence[str] = ()) -> list[MatrixJob]:
    """List float32 of the variants in the matrix's order, then float16 of the first per family."""
    wanted = jobs.plan(only, ("onnx",), precision or jobs.PLAIN)
    families = {variant.family: variant.name for variant in reversed(list(variants().values()))}
    plain = [job for job in wanted if job.precision == TIMED]
    return plain + [job for job in wanted if job not in plain and job.variant in families.values()]


def version() -> str:
    """Look up onnxsim's version. RequestError if it is not installed."""
    try:
        return importlib.metadata.version("onnxsim")
    except importlib.metadata.PackageNotFoundError:
        raise RequestError("onnxsim is not installed: pip install 'sam-export[lab]'") from None


class SimplifyRun(Resumable):
    """The rows asked for, and those already measured."""

    module, page = "profiles.lab.simplify", "onnxsim"
    precisions = jobs.PLAIN

    def __init__(self, arguments: argparse.Namespace, report: Progress) -> None:
        self.version = version()
        super().__init__(arguments, report)

    def plan_wanted(self) -> list[MatrixJob]:
        """See `Resumable`."""
        return plan(self.arguments.only, self.arguments.precision)

    def plan_all(self) -> list[MatrixJob]:
        """See `Resumable`."""
        return plan()

    def key(self, job: MatrixJob) -> str:
        """See `Resumable`; another onnxsim makes a row stale too."""
        return sources.key(job, f"onnxsim {self.version}")

    def fill(self, job: MatrixJob, folder: Path) -> dict[str, Any]:
        """See `Resumable`."""
        exported = self._answer("export", job, folder)
        if "weights" not in exported:
            return exported
        graphs = [self._graph(job, folder, name) for name in exported["graphs"]]
        return {"weights": exported["weights"], "graphs": graphs}

    def _graph(self, job: MatrixJob, folder: Path, name: str) -> dict[str, Any]:
        """Simplify and compare one graph, each in a process of its own: its memory returns."""
        found: dict[str, Any] = {"name": name}
        for step in STEPS[1:]:
            found |= self._answer(step, job, folder, name)
            if "error" in found or "skipped" in found:
                break
        return found

    def _answer(self, step: str, job: MatrixJob, folder: Path, graph: str = "") -> dict[str, Any]:
        """Run a step. Returns its answer, or `error` or `skipped` with the step and the reason."""
        more = ["--graph", graph, "--seconds", str(self.arguments.seconds)]
        failed = failure(self.child(step, job, folder, more), f"{step}: ")
        answer: dict[str, Any] = failed or read_answer(folder, step)
        return answer

    def results(self, command: str) -> dict[str, Any]:
        """See `Resumable`."""
        found = super().results(command)
        found["versions"]["onnxsim"] = self.version
        return found

    @staticmethod
    def step(arguments: argparse.Namespace, report: Progress) -> Any:
        """See `Resumable`."""
        (job,) = jobs.plan(arguments.only, ("onnx",), arguments.precision)
        if arguments.step == "export":
            made = export_job(job, arguments.folder, None, report)
            names = [graph["spec"]["name"] for graph in made["graphs"]]
            return {"weights": made["weights"], "graphs": names}
        files = files_of(arguments.folder / job.name, arguments.graph)
        if arguments.step == "simplify":
            return simplify(files)
        return compare(files, arguments.seconds if job.precision == TIMED else 0.0, report)

    @staticmethod
    def render(results: Mapping[str, Any]) -> str:
        """See `Resumable`."""
        return table.render(results)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the requested rows that are not measured yet."""
    given = list(sys.argv[1:] if argv is None else argv)
    return resumable.main(SimplifyRun, given, _parser().parse_args(given))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m profiles.lab.simplify",
        description="Compare every variant's ONNX graphs with the same after onnxsim.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    resumable.add_arguments(parser, SimplifyRun)
    add = parser.add_argument
    add(
        "--seconds",
        type=positive,
        default=8.0,
        metavar="N",
        help="time a graph for about N seconds (default: %(default)g)",
    )
    add("--step", choices=STEPS, help=argparse.SUPPRESS)
    add("--graph", default="", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
