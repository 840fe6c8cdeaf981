"""Whatever a command is given, it ends with status 0 or 2 and one printable line.

The words are made from each parser's own options, so a new option is walked too. No walk reaches
real work: `sam-export` is given a checkpoint that is not there, `sam-bench` a bundle that is not.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from exporter import cli as export_cli
from exporter.export_arguments import parser as export_parser
from exporter.printable import LINE
from profiles import cli as bench_cli
from profiles.accuracy import cli as compare_cli
from runtimes import cli as run_cli
from runtimes.arguments import parser as run_parser
from tests.unit.small_pictures import RGB
from tests.unit.tiny_bundle import build

NONSENSE = [
    "", " ", "-", "--", "-1", "0", "1", "2", "3.5", "nan", "inf", "-inf", "1e999", "0x10",
    "9" * 5000, "a" * 5000, "a\nb", "\x1b]0;t\x07", "\u202e", "\udcff", "\ud800", "Ω≈ç", ",",
    ",,,", "1,2", "1,2,3", "1,2,1", "-5,3", "1,2,3,4", "9" * 400 + ",1", "nan,nan", "1,2@a",
    "1,2,1@", "@", "5%", "-5%", "%s", "{}", "$HOME", "~", "*", ".", "..", "./x", "x/y", "con",
    "dog.png", "dog.png/x", "x.png", "x.jpg", "x.npy", "loop", "loop/x", "folder", "folder/x.png",
    "MobileSAM", "fp16", "half", "onnx,ios", "all,all", "onnx", "host", "host:x", "android:a b",
    "fast", "4-7", "7-4", "0-9999", "2026-11-22", "0001-01-01T00:00+23:59", "auto", "0,0", "1,0",
    "ort", "litert", "stability", "phone", "true",
]  # fmt: skip


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A working folder with a picture, a tiny bundle and odd things."""
    folder = tmp_path_factory.mktemp("here")
    Image.fromarray(RGB).save(folder / "dog.png")
    build(folder / "bundle")
    (folder / "folder").mkdir()
    (folder / "loop").symlink_to("loop")
    before = os.getcwd()  # noqa: PTH109 - pytest's own chdir is for one test
    os.chdir(folder)
    yield folder
    os.chdir(before)


def options(parser):
    """Every option of a parser, and whether it takes a value."""
    acts = [action for action in parser._actions if action.option_strings]
    stop = (argparse._HelpAction, argparse._VersionAction)
    return [
        (name, action.nargs != 0)
        for action in acts
        for name in action.option_strings
        if not isinstance(action, stop)
    ]


def words(parser):
    """Strategy of words on a command line: options of the parser with values of any kind."""
    value = st.sampled_from(NONSENSE) | st.text(
        st.characters(exclude_characters="/\0"), max_size=30
    )
    known = options(parser)

    def spell(option, value, joined):
        name, takes = option
        if not takes:
            return [name]
        return [f"{name}={value}"] if joined else [name, value]

    one = st.builds(spell, st.sampled_from(known), value, st.booleans()) | st.lists(
        value, min_size=1, max_size=1
    )
    return st.lists(one, max_size=5).map(lambda parts: [word for part in parts for word in part])


def refuses_or_works(main, argv):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main(argv)
        except SystemExit as stop:
            status = stop.code
    said = err.getvalue()
    assert status in (0, 2), said
    if status == 2 and "--debug" not in argv:
        *notes, line = said.rstrip("\n").split("\n")
        assert ": error: " in line, said
        assert all(each.startswith(("sam-run: ", "[")) for each in notes), said
        assert said.rstrip("\n").replace("\n", "").isprintable(), said
        assert len(line) <= LINE + 100
    assert "Traceback" not in said or "--debug" in argv


WALK = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@WALK
@given(words=words(export_parser()), name=st.sampled_from(["missing.pt", *NONSENSE]))
def test_sam_export(here, words, name):
    refuses_or_works(export_cli.main, [*words, f"--checkpoint={name}"])


@settings(WALK, max_examples=60)
@given(words=words(compare_cli._parser()))
def test_sam_export_compare(here, words):
    refuses_or_works(export_cli.main, ["compare", "missing", *words])


@WALK
@given(words=words(run_parser()), place=st.sampled_from(["", "bundle", "bundle dog.png"]))
def test_sam_run(here, words, place):
    refuses_or_works(run_cli.main, [*place.split(), *words])


@WALK
@given(words=words(bench_cli.WORDS[""][0]()))
def test_sam_bench(here, words):
    refuses_or_works(bench_cli.main, ["missing", *words])


@pytest.mark.parametrize("word", ["compare", "check", "report", "list"])
def test_sam_bench_word(here, word):
    @settings(WALK, max_examples=60)
    @given(words=words(bench_cli.WORDS[word][0]()))
    def walk(words):
        refuses_or_works(bench_cli.main, [word, *words])

    walk()
