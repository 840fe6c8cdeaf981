"""The commands' parser: no option is dropped, a minus may start a value, errors are one line."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from exporter.arguments import Parser, unicode_path, whole_number


@pytest.fixture
def parser():
    made = Parser("tool")
    made.add_argument("image", type=Path, nargs="?")
    made.add_argument("--point", action="append", default=[])
    group = made.add_argument_group("files")
    group.add_argument("-o", "--output", type=Path)
    group.add_argument("--threads", type=int, default=2)
    made.add_argument("--json", action="store_true")
    return made


def refusal(parser, capsys, *words):
    with pytest.raises(SystemExit) as stop:
        parser.parse_args(words)
    said = capsys.readouterr().err
    assert stop.value.code == 2
    assert said.count("\n") == 1
    return said


def test_without_options_the_defaults_hold(parser):
    given = vars(parser.parse_args([]))
    assert given.pop("given") == set()
    assert given == {"image": None, "point": [], "output": None, "threads": 2, "json": False}


def test_options_are_stored(parser):
    words = ["a.png", "-o", "b.png", "--threads", "3", "--json", "--point", "1,2", "--point", "3,4"]
    given = parser.parse_args(words)
    assert (given.image, given.output, given.threads) == (Path("a.png"), Path("b.png"), 3)
    assert given.json is True
    assert given.point == ["1,2", "3,4"]


def test_what_was_given_is_told_from_what_is_a_default(parser):
    words = ["a.png", "-o", "b.png", "--thr", "2", "--point", "1,2"]
    assert parser.parse_args(words).given == {"--output", "--threads", "--point"}
    assert parser.parse_args(["--json"]).given == {"--json"}


@pytest.mark.parametrize(
    "words", [["--output="], ["-o", ""], ["--point", ""], ["--threads="], [""]]
)
def test_an_empty_value_is_refused(parser, capsys, words):
    assert ": is empty: give a value, or leave it out" in refusal(parser, capsys, *words)


def test_a_missing_value_that_starts_with_a_minus_is_told_how_to_give_it(parser, capsys):
    said = refusal(parser, capsys, "-o", "-s")
    assert "expected one argument (one that starts with a minus is joined: --output=-VALUE)" in said


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["-o", "a.png", "-o", "b.png"], "-o/--output"),
        (["-o", "a.png", "--output=b.png"], "-o/--output"),
        (["--threads", "2", "--threads", "2"], "--threads"),
        (["--thr", "2", "a.png", "--threads", "3"], "--threads"),
        (["--json", "--json"], "--json"),
    ],
)
def test_an_option_of_one_value_is_refused_the_second_time(parser, capsys, words, name):
    said = refusal(parser, capsys, *words)
    assert said.startswith(f"tool: error: argument {name}: was given twice; give it once")


def test_a_parser_can_parse_again(parser):
    for _ in range(2):
        assert parser.parse_args(["--json", "-o", "a.png"]).json


@pytest.mark.parametrize("value", ["-5,3", "-0.4,10", "-.5,3", "-1e3,2", "-7"])
@pytest.mark.parametrize("form", ["{option} {value}", "{option}={value}"])
def test_a_value_may_start_with_a_minus(parser, value, form):
    words = form.format(option="--point", value=value).split()
    assert parser.parse_args(words).point == [value]


def test_a_value_of_two_minuses_is_none(parser, capsys):
    assert "argument --threads: should be a value, not '--'" in refusal(
        parser, capsys, "--threads=--"
    )


def test_an_unknown_option_is_told_which_was_meant(parser, capsys):
    said = refusal(parser, capsys, "--thread-count", "3")
    assert "unrecognized arguments: --thread-count; did you mean --threads?" in said


@pytest.mark.parametrize("text", ["0", "-1", "33", "1.0", "", "x", "1e1", "9" * 5000, "٣", "1_0"])
def test_a_number_is_decimal_and_within_its_range(text):
    with pytest.raises(argparse.ArgumentTypeError, match="a whole number from 1 to 32, not '"):
        whole_number(1, 32)(text)
    assert whole_number(1, 32)("032") == 32


def test_a_path_that_is_not_utf8_is_refused():
    assert unicode_path("a\n é") == Path("a\n é")
    with pytest.raises(argparse.ArgumentTypeError, match="is not UTF-8"):
        unicode_path("a\udcff")


def test_an_unknown_option_stays_unknown(parser, capsys):
    assert "unrecognized arguments: --colour" in refusal(parser, capsys, "--colour")
    assert "unrecognized arguments: -x" in refusal(parser, capsys, "-x")


def test_an_error_is_one_printable_line_of_a_bounded_length(parser, capsys):
    said = refusal(parser, capsys, "a.png", "b\x1b]0;title\x07\nc" + "d" * 10_000)
    assert said.rstrip("\n").isprintable()
    assert len(said) < 2200
