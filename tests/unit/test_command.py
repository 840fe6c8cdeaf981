"""The border of the commands: which line and which status an error becomes."""

from __future__ import annotations

import errno
import os
import tempfile
from argparse import Namespace
from pathlib import Path

import pytest

from exporter.command import explain, run
from exporter.errors import ExportError, RequestError


def raised(error):
    try:
        raise error
    except type(error) as caught:
        return explain(caught)


@pytest.mark.parametrize(
    ("error", "line", "status"),
    [
        (RequestError("no such thing"), "no such thing", 2),
        (ExportError("it failed\n\x1b]0;x"), r"it failed\n\x1b]0;x", 1),
        (PermissionError(errno.EACCES, "Permission denied", "a\nb"), r"cannot use a\nb: Perm", 2),
        (OSError(errno.ENAMETOOLONG, "File name too long", "a" * 5000), "(5000 characters)", 2),
        (OSError(errno.ELOOP, "Too many levels", "x", None, "y"), "x and y: Too many levels", 2),
        (OSError(errno.ENOSPC, "No space left on device", "/d/x"), "no space left for /d/x", 1),
        (OSError(errno.EMFILE, "Too many open files", "/d/x"), "/d/x: Too many open files", 1),
        (MemoryError(), "out of memory", 1),
        (RecursionError("maximum recursion depth"), "nested too deeply", 2),
        (UnicodeEncodeError("utf-8", "\udc80", 0, 1, "surrogates"), "not Unicode", 2),
        (KeyError("a" * 9000), "(a bug; run again with --debug and report it)", 1),
        (ZeroDivisionError("x\ny"), r"ZeroDivisionError: x\ny (a bug", 1),
    ],
)
def test_an_error_is_one_printable_line_and_a_status(error, line, status):
    said, got = raised(error)
    assert got == status
    assert line in said
    assert said.isprintable()
    assert len(said) < 2100


def test_a_folder_that_was_removed_is_named_as_that(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(FileNotFoundError) as caught:
        Path.cwd()
    assert explain(caught.value) == ("the current folder was removed: change to another one", 2)


def test_no_temporary_folder_is_said(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/nowhere"])
    with pytest.raises(FileNotFoundError) as caught:
        tempfile.gettempdir()
    said, status = explain(caught.value)
    assert status == 2
    assert "No usable temporary directory" in said


@pytest.mark.parametrize(("debug", "lines"), [(False, 1), (True, 2)])
def test_debug_shows_where(capsys, debug, lines):
    def work(given):
        raise RequestError("no")

    assert run("tool", lambda: Namespace(debug=debug), work) == 2
    said = capsys.readouterr().err
    assert said.endswith("tool: error: no\n")
    assert ("Traceback" in said) is debug
    assert said.count("\n") >= lines


def test_an_interrupted_command_says_what_is_left(capsys):
    def work(given):
        raise KeyboardInterrupt

    def stopped(word, given):
        return f"{word}; {given.name} is left"

    asked = Namespace(name="x")
    assert run("tool", lambda: asked, work, stopped=stopped) == 130
    assert capsys.readouterr().err == "tool: interrupted; x is left\n"


def test_a_parser_that_ends_the_process_ends_it():
    def parse():
        raise SystemExit(2)

    with pytest.raises(SystemExit, match="2"):
        run("tool", parse, lambda given: os.abort())
