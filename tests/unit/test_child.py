"""A module in a process of its own: what it gives back, and every way to fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter import child
from exporter.errors import (
    BundleError,
    CheckpointMismatch,
    ExportError,
    ParityError,
    RequestError,
    RunnerError,
)

SERVING = """\
import os, sys
from exporter import child, errors
def work(given):
    print("a toolkit that talks")
    {line}
sys.exit(child.serve(work))
"""


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """Call a module whose work is one line of Python."""
    monkeypatch.syspath_prepend(tmp_path)

    def call(line, given=None, **more):
        (tmp_path / "served.py").write_text(SERVING.format(line=line))
        return child.call(["served", "an argument"], given, what="the work", **more)

    return call


def test_what_goes_in_and_comes_out(serve) -> None:
    assert serve("return [given, sys.argv[1]]", {"a": [1, None]}) == [
        {"a": [1, None]},
        "an argument",
    ]


def test_the_child_imports_what_we_do_and_sends_no_telemetry(serve) -> None:
    assert serve("return os.environ['ORT_DISABLE_TELEMETRY']") == "1"


@pytest.mark.parametrize("kind", [BundleError, ParityError, RequestError])
def test_an_error_of_ours_keeps_its_class_and_words(serve, kind) -> None:
    with pytest.raises(kind) as caught:
        serve(f"raise errors.{kind.__name__}('line 3 is odd')")
    assert type(caught.value) is kind
    assert str(caught.value) == "line 3 is odd"


def test_an_error_that_takes_more_than_words(serve) -> None:
    with pytest.raises(CheckpointMismatch, match=r"is not one of sam: 1 missing \(a\)"):
        serve("raise errors.CheckpointMismatch('sam', ['a'], [], [])")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("1 / 0", "the work failed: ZeroDivisionError: division by zero"),
        ("os.kill(os.getpid(), 9)", "the work was ended by SIGKILL: not enough memory?"),
        ("os.kill(os.getpid(), 15)", "the work was ended by SIGTERM"),
        (
            "import sys; sys.stderr.buffer.write(b'caf\\xe9\\n'); sys.stderr.flush(); os._exit(3)",
            "the work failed: caf\ufffd",
        ),
        ("os._exit(3)", "the work failed: it ended with exit status 3 and no answer"),
        ("os._exit(0)", "the work failed: it ended with exit status 0 and no answer"),
        ("raise type('OddError', (errors.ExportError,), {})('x')", "the work failed: OddError: x"),
    ],
)
def test_a_child_without_an_answer_is_the_failure_that_was_asked_for(serve, line, said) -> None:
    with pytest.raises(RunnerError) as caught:
        serve(line, failure=RunnerError)
    assert str(caught.value) == said
    with pytest.raises(ExportError, match="the work"):
        serve(line)


def test_a_child_that_hangs_is_ended(serve) -> None:
    with pytest.raises(RunnerError) as caught:
        serve(
            "import time; time.sleep(60)", deadline=0.5, advice="wait longer", failure=RunnerError
        )
    assert str(caught.value) == "the work was not done after 0.5 s: wait longer"


def test_no_child_is_started_in_a_folder_that_was_removed(tmp_path, monkeypatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(RequestError, match="the current folder was removed"):
        child.call(["no_such_module"], what="it")


def test_a_module_that_is_not_there() -> None:
    with pytest.raises(ExportError, match=r"it failed: .*No module named no_such_module"):
        child.call(["no_such_module"], what="it")


def test_what_an_ended_child_leaves_for_a_while_is_cleared(serve, tmp_path) -> None:
    told = tmp_path / "told"
    line = f"import tempfile; open({str(told)!r}, 'w').write(tempfile.mkdtemp()); os._exit(3)"
    with pytest.raises(ExportError):
        serve(line)
    assert "sam-export-" in told.read_text()
    assert not Path(told.read_text()).exists()
