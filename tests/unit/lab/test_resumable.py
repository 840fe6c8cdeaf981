"""Runs that go on where they were: the matrix, onnxsim's rows and the precisions' are one kind."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import pytest

from exporter import targets
from profiles.lab import resumable, steps
from profiles.lab.matrix import __main__ as matrix
from profiles.lab.matrix import sources
from profiles.lab.matrix.jobs import PRECISIONS
from profiles.lab.precision import __main__ as precision
from profiles.lab.resumable import Resumable
from profiles.lab.simplify import __main__ as simplify
from tests.unit.lab import matrix_rows, precision_rows, simplify_rows

ROOT = Path(__file__).parents[3]


@dataclass
class Work:
    """One of the commands, whose rows are measured at once.

    Attributes:
        done: names of the rows that were measured, in order.
        names: of the rows for the variant demo.
    """

    command: ModuleType
    kind: type[Resumable]
    names: list[str]
    row: Callable[[str], dict]
    folder: Path
    done: list[str] = field(default_factory=list)

    def __call__(self, *argv):
        """argv -> the run."""
        given = [*argv, "--folder", str(self.folder / "work")]
        return self.kind(self.command._parser().parse_args(given), lambda line: None)


DEMOS = [
    f"demo-{target}-{precision}"
    for target in targets.groups()["all"]
    for precision in PRECISIONS
    if precision in targets.load_target(target).lowers
]


@pytest.fixture(params=["matrix", "precision", "simplify"])
def work(request, tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "key", lambda job, weights, more=(): f"now {weights}")
    monkeypatch.setattr(simplify, "version", lambda: "9")
    monkeypatch.setattr(steps, "RESULTS", tmp_path / "results")
    if request.param == "matrix":
        graph = matrix_rows.graph(fp32_constants={"coordinates": 2, "others": 0})
        made = Work(
            matrix,
            matrix.MatrixRun,
            DEMOS,
            lambda name: matrix_rows.row(name, graphs=[graph]),
            tmp_path,
        )
    elif request.param == "precision":
        made = Work(precision, precision.PrecisionRun, DEMOS, precision_rows.row, tmp_path)
    else:
        names = ["demo-onnx-fp32", "demo-onnx-fp16"]
        made = Work(
            simplify,
            simplify.SimplifyRun,
            names,
            lambda name: simplify_rows.row(name.split("-")[0], name.split("-")[2]),
            tmp_path,
        )

    def measured(self, job):
        made.done.append(job.name)
        return made.row(job.name)

    monkeypatch.setattr(made.kind, "measure", measured)
    return made


def test_an_interrupted_run_goes_on_where_it_was(work, monkeypatch):
    one, measured = work("--only", "demo"), work.kind.measure
    names = [job.name for job in one.wanted]
    assert sorted(names) == sorted(work.names)

    def interrupted(self, job):
        if job.name == names[-1]:
            raise KeyboardInterrupt
        return measured(self, job)

    monkeypatch.setattr(work.kind, "measure", interrupted)
    with pytest.raises(KeyboardInterrupt):
        one.run(lambda: 0.0)
    assert work.done == names[:-1]
    monkeypatch.setattr(work.kind, "measure", measured)
    again = work("--only", "demo")
    again.run(lambda: 0.0)
    assert work.done == names
    assert again.pending() == []
    work("--only", "demo").run(lambda: 0.0)
    assert work.done == names


def test_minutes_end_a_run_cleanly(work):
    clock = iter([0.0, 10.0, 61.0])
    one = work("--only", "demo", "--minutes", "1")
    one.run(lambda: next(clock))
    assert work.done == [one.wanted[0].name]
    assert one.pending() == one.wanted[1:]


def test_a_stale_row_is_made_again_and_shown_as_stale_until_then(work, monkeypatch):
    work("--only", "demo").run(lambda: 0.0)
    monkeypatch.setattr(sources, "key", lambda job, weights, more=(): "later")
    later = work("--only", "demo")
    assert later.pending() == later.wanted
    assert [row["stale"] for row in later.results("x")["rows"]] == [True] * len(work.names)
    later.run(lambda: 0.0)
    assert [row["stale"] for row in later.results("x")["rows"]] == [False] * len(work.names)


def test_the_command_writes_the_page_and_its_data(work, capfd):
    argv = ["--only", "demo", "--write", "--folder", str(work.folder / "w")]
    assert work.command.main(argv) == 0
    data = json.loads((work.folder / "results" / f"{work.kind.page}.json").read_text())
    assert sorted(row["name"] for row in data["rows"]) == sorted(work.names)
    assert data["command"] == " ".join([f"python -m {work.kind.module}", *argv])
    text = (work.folder / "results" / f"{work.kind.page}.md").read_text()
    assert text == work.kind.render(data)
    total = len(work.names)
    assert (
        f"0 of {total} {work.kind.rows} are to be {work.kind.made}: none" in capfd.readouterr().err
    )


def test_the_status_measures_nothing(work, capfd):
    argv = ["--only", "demo", "--status", "--folder", str(work.folder / "w")]
    assert work.command.main(argv) == 0
    said = capfd.readouterr().err
    assert f"{len(work.names)} of {len(work.names)} {work.kind.rows} are to be" in said
    assert work.done == []


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--only", "nosam"], "unknown variant 'nosam'"),
        (["--only", "a\nb"], r"'a\nb'"),
    ],
)
def test_an_unknown_variant_is_refused_by_name(work, capfd, argv, words):
    assert work.command.main(argv) == 2
    said = capfd.readouterr().err
    assert words in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("option", ["--minutes", "--memory"])
def test_limits_are_above_nothing(work, capfd, option):
    with pytest.raises(SystemExit):
        work(option, "0")
    assert f"argument {option}: must be more than 0, not 0" in capfd.readouterr().err


def test_a_precision_without_rows_is_no_choice(capfd):
    with pytest.raises(SystemExit):
        simplify._parser().parse_args(["--precision", "int8"])
    assert "int8" in capfd.readouterr().err
    assert matrix._parser().parse_args(["--precision", "int8"]).precision == ["int8"]


def test_what_a_step_left_is_told_in_the_row():
    usage = resumable.ProcessEnd
    broken = usage(None, "it broke")
    greedy = usage(None, "needed more than 8.0 GB", 8.3)
    assert resumable.failure(usage(None, "")) == {}
    assert resumable.failure(broken, "export: ") == {"error": "export: it broke"}
    held = "needed more than 8.0 GB: 8.3 GB were held when it was stopped"
    assert resumable.failure(greedy) == {"skipped": held}


@pytest.mark.parametrize("name", ["bench", "matrix", "precision", "simplify"])
def test_a_command_imports_no_toolkit(name):
    code = (
        f"import sys, profiles.lab.{name}.__main__\n"
        "heavy = {'torch', 'onnxruntime', 'onnx', 'onnxsim', 'coremltools', 'ai_edge_litert'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "[]"
