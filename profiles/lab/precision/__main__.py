"""`make bench-precision`: export, ask and time each precision; this process imports no toolkit."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from exporter import targets
from exporter.bundle.folder import hash_file
from exporter.errors import ExportError, RequestError
from exporter.progress import Progress
from exporter.variants import DEFAULT, load_variant
from profiles.lab import resumable, steps
from profiles.lab.matrix import jobs, sources
from profiles.lab.matrix.__main__ import EMBEDDED
from profiles.lab.matrix.jobs import MatrixJob
from profiles.lab.matrix.measure import export_job
from profiles.lab.precision import table
from profiles.lab.resumable import Resumable, failure
from profiles.lab.steps import count, positive, read_answer

REFERENCE = MatrixJob(DEFAULT, "onnx", "fp32")
STEPS = ("export", "reference", "measure")
SCENES, SECONDS = 200, 6.0
DECIDE = tuple(f"profiles.accuracy.{name}" for name in ("answers", "cases", "latency", "rows"))
DECIDE += ("exporter.scenes.prompts", "exporter.scenes.scene", "profiles.lab.precision.measure")
"""Modules that decide about a row, beside those of its export."""
EXAMPLES = """examples:
  python -m profiles.lab.precision --write                  all not measured yet; half an hour
  python -m profiles.lab.precision --minutes 20 --write     a part; run again to continue
  python -m profiles.lab.precision --target onnx --precision int8 --scenes 20

Host timings, not phone timings. A missed goal is a row, not an error.
exit status: 0 done or out of time, 2 a wrong request, 130 interrupted (Ctrl-C), 143 terminated
"""


class PrecisionRun(Resumable):
    """The rows asked for, and those already measured."""

    module, page = "profiles.lab.precision", "precision"

    def plan_wanted(self) -> list[MatrixJob]:
        """See `Resumable`. RequestError for a variant whose weights are not here."""
        asked = self.arguments
        wanted = jobs.plan(asked.only or [DEFAULT], asked.target, asked.precision)
        others = [job.variant for job in wanted if job.variant != DEFAULT]
        if others:
            raise RequestError(
                f"{others[0]} has no trained weights here, and others say nothing of masks: leave "
                "out --only"
            )
        return wanted

    def plan_all(self) -> list[MatrixJob]:
        """See `Resumable`."""
        return jobs.plan([DEFAULT])

    def key(self, job: MatrixJob) -> str:
        """See `Resumable`; other weights or another number of scenes make a row stale too."""
        weights = hash_file(EMBEDDED / load_variant(DEFAULT).published.file)
        return sources.key(job, f"{weights} {self.arguments.scenes} scenes", DECIDE)

    def fill(self, job: MatrixJob, folder: Path) -> dict[str, Any]:
        """See `Resumable`."""
        try:
            plain = self._plain(MatrixJob(DEFAULT, job.target, "fp32"))
            expected = self._reference()
        except ExportError as error:
            return {"error": str(error)}
        if failed := failure(self.child("export", job, folder, ["--target", job.target])):
            return failed
        exported = read_answer(folder, "export")
        more = ["--plain", str(plain), "--expected", str(expected)]
        ended = self.child("measure", job, folder, [*more, *self._how(job)])
        if failed := failure(ended, "exported, but not measured: "):
            return failed
        row = {"weights": exported["weights"], "missed": exported["missed"]}
        measured: dict[str, Any] = read_answer(folder, "measure")
        return row | measured | {"scenes": self.arguments.scenes}

    def _how(self, job: MatrixJob) -> list[str]:
        asked = self.arguments
        how = ["--scenes", str(asked.scenes), "--seconds", str(asked.seconds)]
        return ["--target", job.target, *how]

    def _plain(self, job: MatrixJob) -> Path:
        """Export a target's fp32 bundle, once; its folder. ExportError if that fails."""
        folder: Path = self.arguments.folder / "plain" / f"{job.name}-{self._keys[job]}"
        if not (folder / job.name).is_dir():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            self._must("export", job, folder)
        return folder / job.name

    def _reference(self) -> Path:
        """Ask the float reference, once; the file of its answers. ExportError if that fails."""
        folder = self._plain(REFERENCE).parent
        path = folder / "answers.npz"
        if not path.is_file():
            self._must("reference", REFERENCE, folder)
        return path

    def _must(self, step: str, job: MatrixJob, folder: Path) -> None:
        self.report(f"{step}: {job.name}")
        failed = failure(self.child(step, job, folder, self._how(job)), f"{job.name}: ")
        if failed:
            raise ExportError(next(iter(failed.values())))

    @staticmethod
    def step(arguments: argparse.Namespace, report: Progress) -> Any:
        """See `Resumable`."""
        (job,) = jobs.plan(arguments.only, arguments.target, arguments.precision)
        if arguments.step == "export":
            return export_job(job, arguments.folder, None, report)
        from profiles.accuracy.cases import scene_shots
        from profiles.lab.precision.measure import THREADS, measure, save

        shots, bundle = scene_shots(arguments.scenes), arguments.folder / job.name
        if arguments.step == "reference":
            from exporter.bundle.folder import open_bundle
            from profiles.accuracy.answers import answer
            from profiles.accuracy.cases import KINDS

            answers = answer(open_bundle(bundle), shots, KINDS, max(THREADS), report)
            save(arguments.folder / "answers.npz", answers)
            return {}
        given = (bundle, arguments.plain, arguments.expected)
        return measure(*given, shots, arguments.seconds, report)

    @staticmethod
    def render(results: Mapping[str, Any]) -> str:
        """See `Resumable`."""
        return table.render(results)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the requested rows that are not measured yet."""
    given = list(sys.argv[1:] if argv is None else argv)
    arguments = _parser().parse_args(given)
    status = resumable.main(PrecisionRun, given, arguments)
    if status == 0 and arguments.write and not arguments.step:
        results = json.loads((steps.RESULTS / "precision.json").read_text(encoding="utf-8"))
        for name, svg in table.drawings(results).items():
            (steps.RESULTS / name).write_text(svg, encoding="utf-8")
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m profiles.lab.precision",
        description="Measure what each precision keeps of the demo model's masks, and saves.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    resumable.add_arguments(parser, PrecisionRun)
    add = parser.add_argument
    add("--target", nargs="+", default=[], choices=targets.names(), help="these (default: all)")
    add("--scenes", type=count, default=SCENES, metavar="N", help="(default: %(default)s)")
    add(
        "--seconds",
        type=positive,
        default=SECONDS,
        metavar="N",
        help="time a graph for about N seconds (default: %(default)g)",
    )
    add("--step", choices=STEPS, help=argparse.SUPPRESS)
    for hidden in ("--plain", "--expected"):
        add(hidden, type=Path, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
