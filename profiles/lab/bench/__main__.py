"""`make bench`: measure, print Markdown; `--write` keeps it. This process imports no toolkit."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from exporter.errors import SamExportError
from exporter.progress import Progress, on_stderr
from profiles.lab.bench.cost import export_cost, run, startup_cost
from profiles.lab.bench.machine import circumstances
from profiles.lab.bench.rows import COUNTED, LIMITS, LOWERINGS, PLAIN, ROWS, BenchRow, parse_row
from profiles.lab.bench.table import render

RESULTS = Path(__file__).resolve().parents[3] / "profiles" / "results"
SECTIONS = ("speed", "operations", "export")
EXAMPLES = """examples:
  python -m profiles.lab.bench --write                          everything; about half an hour
  python -m profiles.lab.bench --only speed --row mobile_sam:image_encoder --rounds 3
  python -m profiles.lab.bench --only operations --json         counts alone, as JSON
  python -m profiles.lab.bench --only export --row mobile_sam:image_encoder

Host timings, not phone timings. Nothing is judged: the table says which goals are met.
exit status: 0 measured, 1 a contender could not be built or gives other numbers, 2 a wrong request
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns the exit status."""
    given = list(sys.argv[1:] if argv is None else argv)
    arguments = _parser().parse_args(given)
    try:
        if arguments.step:
            _step(arguments)
            return 0
        results = measure(
            arguments, " ".join(["python -m profiles.lab.bench", *given]), on_stderr()
        )
    except SamExportError as error:
        print(f"bench: error: {error}", file=sys.stderr)
        return error.exit_status
    text, data = render(results), json.dumps(results, indent=1) + "\n"
    if arguments.write:
        RESULTS.mkdir(parents=True, exist_ok=True)
        (RESULTS / f"{arguments.name}.md").write_text(text, encoding="utf-8")
        (RESULTS / f"{arguments.name}.json").write_text(data, encoding="utf-8")
    print(data if arguments.json else text, end="")
    return 1 if "failed" in results else 0


def measure(arguments: argparse.Namespace, command: str, report: Progress) -> dict[str, Any]:
    """Measure everything asked for, one row at a time, each step in a process of its own.

    A row that fails is kept under `failed`, so that the others keep their figures.
    """
    rows = [parse_row(name) for name in arguments.row] or list(ROWS)
    results = circumstances(command)
    wanted = arguments.only or SECTIONS
    with tempfile.TemporaryDirectory(prefix="sam-bench-") as temporary:
        if "export" in wanted:
            results |= _costs(rows, Path(temporary), report)
        for row in rows if set(wanted) & {"speed", "operations"} else ():
            folder = Path(temporary) / row.name.replace(":", "-")
            folder.mkdir()
            try:
                _row(row, folder, arguments, results, report)
            except SamExportError as error:
                report(f"{row.name}: {error}")
                results.setdefault("failed", []).append(f"{row.name}: {error}")
    report("done")
    return results


def _row(
    row: BenchRow,
    folder: Path,
    arguments: argparse.Namespace,
    results: dict[str, Any],
    report: Progress,
) -> None:
    wanted = arguments.only or SECTIONS
    report(f"{row.name}: lowering")
    _child("lower", row, folder, ["--only", *wanted])
    if "operations" in wanted:
        report(f"{row.name}: counting operations")
        results.setdefault("operations", []).extend(_child("count", row, folder, []))
    if "speed" in wanted:
        report(f"{row.name}: timing")
        rounds = ["--rounds", str(arguments.rounds)] if arguments.rounds else []
        results.setdefault("speed", []).append(_child("time", row, folder, rounds))


def _costs(rows: Sequence[BenchRow], folder: Path, report: Progress) -> dict[str, Any]:
    report("start-up of sam-export")
    startup = startup_cost(folder)
    exports = []
    asked = {row.variant: row for row in rows}
    for limit in LIMITS:
        if limit.variant in asked:
            report(f"{limit.variant}: writing a checkpoint")
            _child("checkpoint", asked[limit.variant], folder, [])
            report(f"{limit.variant}: exporting to every target")
            exports.append(export_cost(limit, folder / f"{limit.variant}.pt", folder))
    return {"startup": startup, "export": exports}


def _child(step: str, row: BenchRow, folder: Path, extra: Sequence[str]) -> Any:
    """Run one step of one row in a process of its own; returns its JSON answer."""
    command = [sys.executable, "-m", "profiles.lab.bench", "--step", step, "--row", row.name]
    run([*command, "--folder", str(folder), *extra], folder / f"{step}.log")
    return json.loads((folder / f"{step}.json").read_text(encoding="utf-8"))


def _step(arguments: argparse.Namespace) -> None:
    """Do a child's step; heavy imports stay in it."""
    row, folder = parse_row(arguments.row[0]), arguments.folder
    answer: Any = None
    if arguments.step == "checkpoint":
        from profiles.lab.bench.subjects import write_checkpoint

        write_checkpoint(row, folder / f"{row.variant}.pt")
    elif arguments.step == "lower":
        from profiles.lab.bench.lowering import lower_row

        answer = lower_row(row, folder, _keys(arguments.only))
    elif arguments.step == "time":
        from profiles.lab.bench.speed import measure as time_row

        answer = time_row(row, folder, _read_lowered(folder), arguments.rounds)
    else:
        from profiles.lab.bench.operations import count_row

        answer = count_row(row, folder, _read_lowered(folder))
    (folder / f"{arguments.step}.json").write_text(json.dumps(answer), encoding="utf-8")


def _keys(wanted: Sequence[str]) -> list[str]:
    """List the files that the sections need."""
    return [*(COUNTED if "operations" in wanted else LOWERINGS), *PLAIN.values()]


def _read_lowered(folder: Path) -> Any:
    return json.loads((folder / "lower.json").read_text(encoding="utf-8"))


def _rounds(text: str) -> int:
    rounds = int(text)
    if rounds < 1:
        raise argparse.ArgumentTypeError(f"rounds must be 1 or more, not {rounds}")
    return rounds


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m profiles.lab.bench",
        description="Speed, operations and cost of exports, each against its goal.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    names = ", ".join(row.name for row in ROWS)
    add("--only", nargs="+", choices=SECTIONS, help="these sections (default: all)")
    add("--row", action="append", default=[], metavar="ROW", help=f"repeatable; of {names}")
    add("--rounds", type=_rounds, help="instead of each row's own (10, 4 and 20)")
    add("--write", action="store_true", help=f"also write {RESULTS.name}/NAME.md and NAME.json")
    add("--name", default="bench", help="of the files --write makes (default: bench)")
    add("--json", action="store_true", help="print JSON instead of Markdown")
    steps = ("checkpoint", "lower", "time", "count")
    add("--step", choices=steps, help=argparse.SUPPRESS)
    add("--folder", type=Path, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
