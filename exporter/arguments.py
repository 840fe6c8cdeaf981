"""The parser of our commands: nothing given is dropped, and a wrong argument is one line.

Standard library only.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from exporter.closest import closest, suggest
from exporter.printable import LINE, printable

_LONGEST = 100
"""Digits of a number; Python itself refuses to read some thousands."""


def whole_number(least: int, most: int) -> Callable[[str], int]:
    """Make an argument's type: a whole number from `least` to `most`, in decimal digits."""

    def parse(text: str) -> int:
        plain = text.isascii() and text.isdecimal() and len(text) <= _LONGEST
        if not plain or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(
                f"should be a whole number from {least} to {most}, not '{printable(text, 40)}'"
            )
        return int(text)

    return parse


def unicode_path(text: str) -> Path:
    """Parse a path that runtimes can open: some take no name that is not UTF-8."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError(
            f"'{printable(text, 100)}' is not UTF-8, which some runtimes cannot open: rename it"
        ) from None
    return Path(text)


class Parser(argparse.ArgumentParser):
    """An argument parser. A wrong argument ends the process with status 2 and one line.

    An option that keeps one value, or is a flag, may be given once; argparse would keep the last
    and drop the others in silence. One of `action="append"` may be repeated. A word that starts
    with a minus and a digit is a value: `--point -5,3`. An empty value is an error: in a script it
    is a variable that was not set.
    """

    _given: frozenset[str] = frozenset()

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        for action in (None, "store"):
            self.register("action", action, _Once)
        self.register("action", "store_true", _Flag)
        # argparse takes a plain number for a value, and `-5,3` for an unknown option.
        self._negative_number_matcher = re.compile(r"-\.?\d")

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> argparse.Namespace:
        """Parse; `given` of the result names the options that were given, as `--output`.

        An option that there is not ends the process, with those that may be meant.
        """
        self._given = frozenset()
        given, others = self.parse_known_args(args, namespace)
        if others:
            options = [each for each in self._option_string_actions if each.startswith("--")]
            first = others[0].partition("=")[0]
            meant = closest(first, options) if first.startswith("-") else []
            hint = f"; did you mean {' or '.join(meant)}?" if meant else ""
            self.error(f"unrecognized arguments: {' '.join(others)}{hint}")
        given.given = self._given
        return given

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        """ArgumentError for an empty value, and for `--option=--`.

        Of the latter argparse takes the value away and gives a list.
        """
        if "" in arg_strings:
            raise argparse.ArgumentError(action, "is empty: give a value, or leave it out")
        if action.option_strings and arg_strings == ["--"]:
            raise argparse.ArgumentError(action, "should be a value, not '--'")
        self._given |= {*action.option_strings[-1:]}  # a positional argument has none
        return super()._get_values(action, arg_strings)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """ArgumentError for a value that is none of the choices, with those that may be meant."""
        if action.choices is not None and value not in action.choices:
            choices = [str(choice) for choice in action.choices]
            raise argparse.ArgumentError(action, f"unknown value {suggest(str(value), choices)}")

    def error(self, message: str) -> NoReturn:
        """Print one line, like every other error of ours."""
        if message.endswith("expected one argument"):
            name = message.removeprefix("argument ").partition(":")[0].rpartition("/")[2]
            message += f" (one that starts with a minus is joined: {name}=-VALUE)"
        self.exit(2, f"{self.prog}: error: {printable(message, LINE)} (see {self.prog} --help)\n")


class _Once(argparse.Action):
    """Stores one value, as argparse does. An error if it is given again."""

    _parsed: argparse.Namespace | None = None

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Keep the value. ArgumentError if this parse has one already."""
        del parser
        # Every parse has a namespace of its own; a positional argument has no option string.
        if option_string is not None and self._parsed is namespace:
            raise argparse.ArgumentError(self, "was given twice; give it once")
        self._parsed = namespace
        setattr(namespace, self.dest, values)


class _Flag(_Once):
    """Stores True."""

    def __init__(self, option_strings: Sequence[str], dest: str, **options: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, const=True, **{"default": False} | options)

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Set it. ArgumentError if this parse has set it already."""
        super().__call__(parser, namespace, values, option_string)
        setattr(namespace, self.dest, True)
