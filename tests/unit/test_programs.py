"""A program's output is read to its end, or to a bound."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from exporter import programs
from exporter.programs import FloodError, Said

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")


def run(script, data="", **options):
    return programs.run(["/bin/sh", "-c", script], data, **options)


def test_what_was_said_comes_back_with_the_status():
    assert run("cat; echo no >&2; exit 3", "yes\r\n") == Said(3, "yes\n", "no\n")


def test_input_that_nobody_reads_is_no_error():
    assert run("exit 0", "x" * 1_000_000).code == 0


@pytest.mark.parametrize("script", ["yes", "yes >&2", "exec yes", "yes & wait"])
def test_a_program_that_writes_without_end_is_ended(script):
    start = time.monotonic()
    with pytest.raises(FloodError, match="/bin/sh writes without end, so it was ended"):
        run(script, most=100_000)
    assert time.monotonic() - start < 10


def test_a_bound_that_is_just_reached_is_kept():
    assert run("head -c 1000 /dev/zero", most=1000).out == "\0" * 1000


def test_a_deadline_ends_it_and_keeps_what_was_said():
    with pytest.raises(subprocess.TimeoutExpired) as error:
        run("echo half; exec sleep 60", deadline=0.3)
    assert programs.text(error.value.stdout) == "half\n"


def test_a_deadline_holds_if_a_child_of_it_keeps_the_pipe():
    start = time.monotonic()
    with pytest.raises(subprocess.TimeoutExpired):
        run("sleep 20 & exit 0", deadline=0.3)
    assert time.monotonic() - start < 10


def test_a_program_that_is_none_is_an_oserror():
    with pytest.raises(OSError, match="No such file"):
        programs.run(["/no/such/program"])
