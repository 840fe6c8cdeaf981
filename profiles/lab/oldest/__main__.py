"""`make oldest`: run a bundle of each family in old releases of its runtimes."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from exporter.bundle.folder import Bundle, read_manifest, seal
from exporter.errors import BundleError, DownloadError, ParityError
from exporter.progress import Progress
from exporter.variants import variants
from profiles.lab import resumable
from profiles.lab.matrix import jobs, sources
from profiles.lab.matrix.jobs import MatrixJob
from profiles.lab.matrix.measure import export_job
from profiles.lab.oldest import table
from profiles.lab.oldest.wheels import WHEELS, ServedGraph, Wheel, install
from profiles.lab.resumable import Resumable, failure
from profiles.lab.steps import RESULTS, read_answer
from runtimes.engines import CheckedGraph
from runtimes.measures import describe, find_misses
from runtimes.parity import check_parity

STEPS = ("export", "run")
PRECISIONS = ("fp16", "fp32")
LOWEST, OLDER = "", "17"
"""Forms of an ONNX bundle: as it is exported, and with `--opset 17`. TFLite has the first."""
EXAMPLES = """examples:
  python -m profiles.lab.oldest --write                  everything not run yet; an hour or two
  python -m profiles.lab.oldest --minutes 20 --write     a part; run again to continue
  python -m profiles.lab.oldest --only mobile_sam --target onnx

The demo and the first variant of each family. Of each runtime, releases are tried from the oldest
on until one passes every floor of the precision, encoder and decoder against the goldens.
exit status: 0 done or out of time, 2 a wrong request, 130 interrupted (Ctrl-C), 143 terminated
"""


def plan(
    only: Sequence[str] = (), target: Sequence[str] = (), precision: Sequence[str] = ()
) -> list[MatrixJob]:
    """List the first variant of each family, float16 first, in every format that runs here."""
    first = {variant.family: variant.name for variant in reversed(list(variants().values()))}
    chosen = target or tuple(WHEELS)
    everything = jobs.plan(only or sorted(first.values()), chosen, precision or PRECISIONS)
    order = {kept: place for place, kept in enumerate(PRECISIONS)}
    return sorted(everything, key=lambda job: order[job.precision])


class OldestRun(Resumable):
    """The bundles asked for, and those already run."""

    module, page = "profiles.lab.oldest", "oldest"
    rows, made = "bundles", "run"
    precisions = PRECISIONS

    def plan_wanted(self) -> list[MatrixJob]:
        """See `Resumable`."""
        return plan(self.arguments.only, self.arguments.target, self.arguments.precision)

    def plan_all(self) -> list[MatrixJob]:
        """See `Resumable`."""
        return plan()

    def key(self, job: MatrixJob) -> str:
        """See `Resumable`; another list of releases makes a row stale too."""
        return sources.key(job, " ".join(wheel.name for wheel in WHEELS[job.target]))

    def fill(self, job: MatrixJob, folder: Path) -> dict[str, Any]:
        """See `Resumable`."""
        failed = failure(self.child("export", job, folder, ["--target", job.target]), "export: ")
        if failed:
            return failed
        exported = read_answer(folder, "export")
        runs = []
        for form in exported["forms"]:
            passed: set[str] = set()
            for wheel in WHEELS[job.target]:
                if wheel.package not in passed:
                    run = self._run(job, folder, form, wheel)
                    runs.append(run)
                    passed |= {wheel.package} if run["passed"] else set()
        return {**exported, "runs": runs}

    def _run(self, job: MatrixJob, folder: Path, form: str, wheel: Wheel) -> dict[str, Any]:
        self.report(f"{job.name}{f' in opset {form}' if form else ''}: {wheel.name}")
        run = {"form": form, "package": wheel.package, "version": wheel.version, "passed": False}
        try:
            python = install(wheel, self.arguments.folder / "wheels")
        except DownloadError as error:
            return {**run, "reason": str(error)}
        more = ["--target", job.target, "--form", form, "--python", str(python)]
        failed = failure(self.child("run", job, folder, [*more, "--wheel", wheel.name]))
        return {**run, **({"reason": next(iter(failed.values()))} if failed else {})} | (
            {} if failed else read_answer(folder, "run")
        )

    @staticmethod
    def step(arguments: argparse.Namespace, report: Progress) -> Any:
        """See `Resumable`."""
        (job,) = jobs.plan(arguments.only, arguments.target, arguments.precision)
        if arguments.step == "export":
            return _export(job, arguments.folder, report)
        wheel = next(each for each in WHEELS[job.target] if each.name == arguments.wheel)
        folder = arguments.folder / f"{job.name}{arguments.form}"
        return run_in(folder, Path(arguments.python), wheel)

    @staticmethod
    def render(results: Mapping[str, Any]) -> str:
        """See `Resumable`."""
        return table.render(results)


def _export(job: MatrixJob, folder: Path, report: Progress) -> dict[str, Any]:
    """Export a bundle, and if it is ONNX its older form beside it."""
    made = export_job(job, folder, None, report)
    answer = {"weights": made["weights"], "forms": [LOWEST], "opsets": {}}
    if job.target == "onnx":
        answer["opsets"] = {LOWEST: _opsets(folder / job.name)}
        if set(answer["opsets"][LOWEST].values()) != {int(OLDER)}:
            _lower(folder / job.name, folder / f"{job.name}{OLDER}")
            answer["forms"] = [LOWEST, OLDER]
    return answer


def _opsets(folder: Path) -> dict[str, int]:
    """Graph -> opset of its file."""
    import onnx

    files = {graph.spec.name: graph.file for graph in read_manifest(folder).graphs}
    models = {
        name: onnx.load(folder / file, load_external_data=False) for name, file in files.items()
    }
    return {name: model.opset_import[0].version for name, model in models.items()}


def _lower(folder: Path, older: Path) -> None:
    """Write a bundle as `--opset 17` writes it: the same rewriting, of the same graphs."""
    import onnx

    from exporter.targets.onnx._opset import lower_opset

    shutil.copytree(folder, older)
    manifest, graphs = read_manifest(older), []
    for graph in manifest.graphs:
        model = lower_opset(onnx.load(older / graph.file), int(OLDER))
        size = (older / graph.file).write_bytes(model.SerializeToString(deterministic=True))
        graphs.append(dataclasses.replace(graph, bytes=size))
    seal(older, dataclasses.replace(manifest, graphs=tuple(graphs)))


def run_in(folder: Path, python: Path, wheel: Wheel) -> dict[str, Any]:
    """Check a bundle's parity in an old release.

    Returns:
        `passed`, and `reason` if it is not: what the release says, or the missed floors;
        `psnr_db`: the worst of each output.
    """
    bundle = Bundle(folder, read_manifest(folder))
    with contextlib.ExitStack() as stack:

        def load(name: str) -> CheckedGraph:
            graph = bundle.manifest.graph(name)
            served = ServedGraph(python, wheel, bundle.file(name), graph)
            return CheckedGraph(graph.spec, stack.enter_context(served))

        try:
            figures = check_parity(folder, bundle.manifest, load=load)
        except (BundleError, ParityError) as error:
            return {"passed": False, "reason": str(error)}
    missed = [describe(figure, bundle.manifest.precision) for figure in find_misses(figures)]
    worst = {f"{f.graph} {f.output}": f.value for f in figures if f.measure == "psnr_db"}
    reason = {"reason": "; ".join(missed)} if missed else {}
    return {"passed": not missed, "psnr_db": worst, **reason}


def write_oldest(results: Mapping[str, Any]) -> None:
    """Write what `exporter.targets` states in a manifest: the oldest releases by family."""
    text = json.dumps(table.oldest(results["rows"]), indent=1, sort_keys=True) + "\n"
    (RESULTS.parents[1] / "exporter" / "targets" / "oldest.json").write_text(text, encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the requested bundles that have not been run yet."""
    given = list(sys.argv[1:] if argv is None else argv)
    arguments = _parser().parse_args(given)
    status = resumable.main(OldestRun, given, arguments)
    if status == 0 and arguments.write and not arguments.step:
        write_oldest(json.loads((RESULTS / "oldest.json").read_text(encoding="utf-8")))
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m profiles.lab.oldest",
        description="Run bundles in old releases of ONNX Runtime and TensorFlow Lite.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    resumable.add_arguments(parser, OldestRun)
    add = parser.add_argument
    add("--target", nargs="+", default=[], choices=tuple(WHEELS), help="these (default: both)")
    add("--step", choices=STEPS, help=argparse.SUPPRESS)
    for hidden in ("--form", "--python", "--wheel"):
        add(hidden, default="", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
