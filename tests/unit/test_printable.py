"""Text from outside reaches a reader as one printable line of a bounded length."""

from __future__ import annotations

import pytest

from exporter.errors import RequestError
from exporter.printable import LINE, one_line, plain, printable, quote


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("image_encoder.neck.0.weight", "image_encoder.neck.0.weight"),
        ("a\x1b]0;title\x07\nsam-export: done", r"a\x1b]0;title\x07\nsam-export: done"),
        ("über 图像 модель", "über 图像 модель"),
        ("evil\u202egnp.exe", r"evil\u202egnp.exe"),
        ("lone \udc80 half", r"lone \udc80 half"),
        ("two\u2028lines\x85", r"two\u2028lines\x85"),
    ],
)
def test_only_printable_characters_are_shown(text, shown):
    assert printable(text) == shown
    assert printable(text).isprintable()


def test_a_long_text_is_cut_and_its_length_told():
    assert printable("w" * 5_000_000, 10) == "wwwwwwwwww... (5000000 characters)"


@pytest.mark.parametrize("message", ["\n" * 5000, "w" * 5000, "short"])
def test_a_message_is_one_bounded_line(message):
    line = one_line(RequestError(message))
    assert len(line) <= LINE
    assert line.isprintable()


class Silent:
    def __repr__(self):
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("\x1b[31m", r"'\x1b[31m'"),
        (8.0, "8.0"),
        (10**5000, "a int that cannot be shown"),
        (Silent(), "a Silent that cannot be shown"),
    ],
    ids=["text", "number", "giant", "silent"],
)
def test_any_value_is_quoted(value, shown):
    assert quote(value) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("two\nlines\tof ours 图\n", "two\nlines\tof ours 图\n"),
        ("two\nlines\x1b[2J\r\n", "two\nlines\\x1b[2J\\r\n"),
        ("", ""),
    ],
)
def test_our_own_line_ends_stay(text, shown):
    assert plain(text) == shown


def test_a_message_may_be_text_already():
    assert one_line("a\nb") == one_line(RequestError("a\nb")) == r"a\nb"
