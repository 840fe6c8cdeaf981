"""`make matrix`: export and check everything, each in a process; this one imports no toolkit."""

from __future__ import annotations

import argparse
import hashlib
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from exporter import targets
from exporter.bundle.folder import hash_file
from exporter.progress import Progress
from exporter.variants import load_variant
from profiles.lab import resumable
from profiles.lab.matrix import jobs, sources, table
from profiles.lab.matrix.jobs import MatrixJob
from profiles.lab.matrix.measure import checkpoint_of, export_job, inspect_bundle
from profiles.lab.resumable import Resumable, failure
from profiles.lab.steps import read_answer

EMBEDDED = Path(__file__).resolve().parents[3] / "exporter" / "demo"
EXAMPLES = """examples:
  python -m profiles.lab.matrix --write                   everything not measured yet; hours
  python -m profiles.lab.matrix --minutes 60 --write      one hour's worth; run again to continue
  python -m profiles.lab.matrix --only mobile_sam --target tflite --precision fp16
  python -m profiles.lab.matrix --video --only edgetam --write
  python -m profiles.lab.matrix --checkpoints ~/weights   published files there replace filled ones
  python -m profiles.lab.matrix --status                  exports still to be made

Host timings, not phone timings. A figure under its floor and a failed export are rows, not errors.
exit status: 0 done or out of time, 2 a wrong request, 130 interrupted (Ctrl-C), 143 terminated
"""


class MatrixRun(Resumable):
    """The exports asked for, and their known rows."""

    module, page = "profiles.lab.matrix", "matrix"
    rows, made = "exports", "made"

    def plan_wanted(self) -> list[MatrixJob]:
        """See `Resumable`."""
        asked = self.arguments
        return jobs.plan(asked.only, asked.target, asked.precision, video=asked.video)

    def plan_all(self) -> list[MatrixJob]:
        """See `Resumable`."""
        return jobs.plan() + jobs.plan(video=True)

    def key(self, job: MatrixJob) -> str:
        """See `Resumable`; other weights make a row stale too."""
        variant = load_variant(job.variant)
        files = checkpoint_of(variant, self.arguments.checkpoints)
        stamps = [f"{f.name} {f.stat().st_size} {f.stat().st_mtime_ns}" for f in files]
        if not variant.published.url:
            stamps.append(hash_file(EMBEDDED / variant.published.file))
        return sources.key(job, " ".join(stamps))

    def is_settled(self, job: MatrixJob) -> bool:
        """See `Resumable`; what failed is tried again on request."""
        row = self.state.row(job) or {}
        failed = self.arguments.retry and ("error" in row or "skipped" in row)
        return super().is_settled(job) and not failed

    def fill(self, job: MatrixJob, folder: Path) -> dict[str, Any]:
        """See `Resumable`."""
        more = ["--target", job.target, *(["--video"] if job.video else [])]
        if self.arguments.checkpoints:
            more += ["--checkpoints", str(self.arguments.checkpoints)]
        recordings = ["--recordings", str(self._recordings(job))]
        ended = self.child("export", job, folder, [*more, *recordings])
        spent = {"cpu_s": round(ended.usage.cpu_s, 1), "peak_gb": round(ended.usage.peak_gb, 2)}
        if failed := failure(ended):
            return spent | failed
        answer = read_answer(folder, "export")
        spent["cpu_s"] = round(ended.usage.cpu_s + answer.pop("reused_cpu_s"), 1)
        row: dict[str, Any] = answer | spent
        ended = self.child("inspect", job, folder, more)
        if ended.reason:
            return row | {"error": f"exported, but not inspected: {ended.reason}"}
        found = read_answer(folder, "inspect")
        for graph in row["graphs"]:
            graph |= {"facts": found[graph["spec"]["name"]]}
        return row

    def _recordings(self, row: MatrixJob) -> Path:
        """Choose the folder of what torch gave for this network; those of others go."""
        network = row.variant, row.video
        same = (job for job in self.plan_all() if (job.variant, job.video) == network)
        keys = "".join(self._keys[job] for job in same)
        folder: Path = self.arguments.folder / "recordings"
        own = folder / f"{row.variant}-{hashlib.sha256(keys.encode()).hexdigest()[:16]}"
        for other in folder.glob("*"):
            if other != own:
                shutil.rmtree(other)
        return own

    @staticmethod
    def step(arguments: argparse.Namespace, report: Progress) -> Any:
        """See `Resumable`."""
        asked = arguments.only, arguments.target, arguments.precision
        (job,) = jobs.plan(*asked, video=arguments.video)
        if arguments.step == "export":
            given = (arguments.checkpoints, report, arguments.recordings)
            return export_job(job, arguments.folder, *given)
        return inspect_bundle(arguments.folder / job.name)

    @staticmethod
    def render(results: Mapping[str, Any]) -> str:
        """See `Resumable`."""
        return table.render(results)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the requested exports that are not measured yet."""
    given = list(sys.argv[1:] if argv is None else argv)
    return resumable.main(MatrixRun, given, _parser().parse_args(given))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m profiles.lab.matrix",
        description="Export every variant in every format and precision, and check each.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    resumable.add_arguments(parser, MatrixRun)
    add = parser.add_argument
    add("--target", nargs="+", default=[], choices=targets.names(), help="these (default: all)")
    add("--checkpoints", type=Path, help="folder with published files; missing ones are filled")
    add("--video", action="store_true", help="bundles that follow objects, not those of pictures")
    add("--retry", action="store_true", help="retry exports that failed or needed too much memory")
    add("--step", choices=("export", "inspect"), help=argparse.SUPPRESS)
    add("--recordings", type=Path, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
