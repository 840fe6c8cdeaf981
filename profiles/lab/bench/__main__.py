"""`make bench`: measure, print Markdown; `--write` keeps it. This process imports no toolkit."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from exporter.errors import SamExportError
from exporter.printable import one_line
from exporter.progress import Progress, on_stderr
from profiles.lab import steps
from profiles.lab.bench.cost import export_cost, run, startup_cost
from profiles.lab.bench.machine import circumstances
from profiles.lab.bench.rows import (
    COUNTED,
    LIMITS,
    LOWERINGS,
    NEXT,
    PLAIN,
    ROWS,
    BenchRow,
    parse_row,
)
from profiles.lab.bench.table import render

SECTIONS = ("speed", "operations", "breakdown", "memory", "export")
EXAMPLES = """examples:
  python -m profiles.lab.bench --write                          everything; about half an hour
  python -m profiles.lab.bench --only speed --row mobile_sam:image_encoder --rounds 3
  python -m profiles.lab.bench --only operations --json         counts alone, as JSON
  python -m profiles.lab.bench --only breakdown --row mobile_sam:mask_decoder
  python -m profiles.lab.bench --only export --row mobile_sam:image_encoder
  python -m profiles.lab.bench --only speed memory --row edgetam:memory_attention --busy

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
        print(f"bench: error: {one_line(error)}", file=sys.stderr)
        return error.exit_status
    text = render(results)
    if arguments.write:
        steps.write_page(arguments.name, text, results)
    print(json.dumps(results, indent=1) + "\n" if arguments.json else text, end="")
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
        for row in rows if set(wanted) - {"export"} else ():
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
        results.setdefault("speed", []).append(_child("time", row, folder, _turns(arguments)))
    if "memory" in wanted:
        report(f"{row.name}: memory")
        peaks = [_child("peak", row, folder, ["--contender", name]) for name in LOWERINGS]
        results.setdefault("memory", []).extend(peaks)
    if "breakdown" in wanted:
        report(f"{row.name}: timing single operations")
        results.setdefault("breakdown", []).append(_child("breakdown", row, folder, []))


def _turns(arguments: argparse.Namespace) -> list[str]:
    """Collect a plan's options for the child that times."""
    asked = {name: getattr(arguments, name) for name in ("rounds", "calls", "pause")}
    given = ((f"--{name}", str(value)) for name, value in asked.items() if value is not None)
    return [*(word for pair in given for word in pair), *["--busy"] * arguments.busy]


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
    return steps.read_answer(folder, step)


def _step(arguments: argparse.Namespace) -> None:
    """Do a child's step; heavy imports stay in it."""
    row, folder = parse_row(arguments.row[0]), arguments.folder
    answer: Any = None
    if arguments.step == "checkpoint":
        from profiles.lab.bench.subjects import write_checkpoint

        write_checkpoint(row, folder / f"{row.variant}.pt")
    elif arguments.step == "lower":
        from profiles.lab.bench.lowering import lower_row

        answer = lower_row(row, folder, _keys(arguments.only, plain=row.plain))
    else:
        answer = _measure_step(arguments, row, steps.read_answer(folder, "lower"))
    steps.write_answer(folder, arguments.step, answer)


def _measure_step(arguments: argparse.Namespace, row: BenchRow, lowered: Any) -> Any:
    """Do a child's step on what another child has lowered."""
    folder = arguments.folder
    if arguments.step == "time":
        from profiles.lab.bench.speed import TurnPlan
        from profiles.lab.bench.speed import measure as time_row

        plan = TurnPlan(arguments.rounds or row.rounds, arguments.calls or row.calls)
        plan = dataclasses.replace(plan, busy=arguments.busy)
        if arguments.pause is not None:
            plan = dataclasses.replace(plan, pause_s=arguments.pause / 1e3)
        return time_row(row, folder, lowered, plan)
    if arguments.step == "breakdown":
        from profiles.lab.bench.breakdown import break_down_row

        return break_down_row(row, folder, lowered)
    if arguments.step == "peak":
        from profiles.lab.bench.peak import measure_peak

        return measure_peak(row, folder, lowered, arguments.contender)
    from profiles.lab.bench.operations import count_row

    return count_row(row, folder, lowered)


def _keys(wanted: Sequence[str], *, plain: bool = True) -> list[str]:
    """List the files that the sections need."""
    if set(wanted) <= {"breakdown", "export"}:
        return ["tflite"]
    own = [*(COUNTED if "operations" in wanted else LOWERINGS)]
    if not {"speed", "operations"} & set(wanted):
        return own
    return [*own, *NEXT.values(), *(PLAIN.values() if plain else ())]


def _milliseconds(text: str) -> float:
    pause = float(text)
    if not 0 <= pause < math.inf:
        raise argparse.ArgumentTypeError(f"must be 0 or more, not {text}")
    return pause


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
    add("--rounds", type=steps.count, help="instead of each row's own (10, 4 and 20)")
    add("--calls", type=steps.count, help="in a turn, instead of each row's own (1, 1 and 3)")
    add("--pause", type=_milliseconds, metavar="MS", help="before a turn (default: 50)")
    add(
        "--write",
        action="store_true",
        help=f"also write {steps.RESULTS.name}/NAME.md and NAME.json",
    )
    add("--name", default="bench", help="of the files --write makes (default: bench)")
    add("--json", action="store_true", help="print JSON instead of Markdown")
    add(
        "--busy",
        action="store_true",
        help="time one thread's processor time: for a machine that other work has too",
    )
    parts = ("checkpoint", "lower", "time", "count", "breakdown", "peak")
    add("--step", choices=parts, help=argparse.SUPPRESS)
    add("--folder", type=Path, help=argparse.SUPPRESS)
    add("--contender", choices=tuple(LOWERINGS), help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
