"""stdout and stderr as pipes nobody reads, full disks, closed, or without Unicode."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FULL = Path("/dev/full")
WORK = """
import sys
from argparse import Namespace
from exporter.command import run

def work(given):
    {body}
    return {status}

sys.exit(run("tool", Namespace, work))
"""
MANY = "print('a line of some length\\n' * 20_000)"


def script(body: str, status: int = 0) -> list[str]:
    return [sys.executable, "-c", WORK.format(body=body, status=status)]


def environment(**more: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONIOENCODING", "PYTHONUTF8")}
    return kept | {"PYTHONPATH": str(ROOT)} | more


def shell(redirected: str, body: str, status: int = 0, **more: str) -> tuple[int, str]:
    """Status and stderr of the script run in `sh` with a redirection."""
    ran = subprocess.run(
        ["/bin/sh", "-c", f'"$0" "$@" {redirected}', *script(body, status)],
        env=environment(**more),
        capture_output=True,
        text=True,
        check=False,
    )
    return ran.returncode, ran.stderr


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("status", [0, 1])
@pytest.mark.parametrize("body", ["print('one line')", MANY], ids=["short", "long"])
def test_a_reader_that_stops_changes_no_status_and_is_not_told(body, status, unbuffered):
    reading, writing = os.pipe()
    os.close(reading)
    ran = subprocess.run(
        script(body, status),
        env=environment(PYTHONUNBUFFERED=unbuffered),
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    assert (ran.returncode, ran.stderr) == (status, "")


def test_work_after_a_lost_reader_is_done(tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    done = tmp_path / "done"
    body = f"{MANY}; print('x', file=sys.stderr); open({str(done)!r}, 'w').close()"
    subprocess.run(script(body), env=environment(), stdout=writing, stderr=writing, check=True)
    os.close(writing)
    assert done.exists()


def test_a_progress_line_that_nobody_reads_stops_nothing(tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    body = (
        "from exporter.progress import on_stderr, quiet; from pathlib import Path; "
        f"say = on_stderr(); say('a'); log = Path({str(tmp_path / 'log')!r})\n"
        "    with quiet(log): say('b'); print('c')"
    )
    subprocess.run(script(body), env=environment(), stderr=writing, check=True)
    os.close(writing)
    assert (tmp_path / "log").read_text() == "c\n"


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
@pytest.mark.parametrize("body", ["print('one line')", MANY], ids=["short", "long"])
def test_stdout_on_a_full_disk_is_an_error_that_names_it(body):
    status, said = shell(f">{FULL}", body)
    line = "tool: error: cannot write to stdout (/dev/full): No space left on device\n"
    assert (status, said) == (1, line)


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
def test_stderr_on_a_full_disk_is_no_error():
    assert shell(f"2>{FULL}", "print('x', file=sys.stderr)") == (0, "")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_one_that_nobody_reads(closed, tmp_path):
    path = tmp_path / "data"
    body = (
        f"stream = open({str(path)!r}, 'w')\n"
        "    print('out'); print('err', file=sys.stderr)\n"
        "    sys.stdout.flush(); stream.write('whole'); stream.close()"
    )
    said = "" if "2>&-" in closed else "err\n"
    assert shell(closed, body) == (0, said)
    assert path.read_text() == "whole"  # its descriptor was not taken for stdout


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "cp437", "latin-1", "utf-8"])
def test_a_letter_that_the_console_does_not_have_is_escaped(encoding):
    body = r"print('\u00b1 \u4e2d \udcff'); print('\u4e2d', file=sys.stderr)"
    ran = subprocess.run(
        script(body), env=environment(PYTHONIOENCODING=encoding), capture_output=True, check=True
    )
    shown = "\u00b1 \u4e2d \udcff".encode(encoding, "backslashreplace")
    assert ran.stdout.split() == shown.split()
    assert ran.stderr.split() == ["\u4e2d".encode(encoding, "backslashreplace")]


def test_the_handling_of_letters_that_a_user_chose_stays():
    ran = subprocess.run(
        script(r"print('\u4e2d')"),
        env=environment(PYTHONIOENCODING="ascii:replace"),
        capture_output=True,
        check=True,
    )
    assert ran.stdout.split() == [b"?"]


def test_the_plain_locale_is_no_error():
    plain = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    assert shell(">/dev/null", r"print('\u4e2d')", **plain) == (0, "")
