"""Make text from outside safe to show: one line, without control characters, cut to a length.

Names of tensors, shards, archives and devices, and texts in a store, are whatever somebody wrote
into a file. Every printer of ours passes them through here first. Standard library only.
"""

from __future__ import annotations

from collections.abc import Iterable

NAME = 200
"""Characters that a name keeps."""
LINE = 1900
"""Characters that a whole message keeps; with a command's name before it, it stays under 2,000."""


def printable(text: str, most: int = NAME) -> str:
    r"""Escape what is not printable, and cut.

    Args:
        text: anything; only its first `most` characters are looked at.
        most: characters kept, before they are escaped.

    Returns:
        One line. A control character, a line end, a lone surrogate or a mark that turns the
        direction of writing is spelt as Python does (`\n`, `\x1b`, `\u202e`). A cut text ends with
        its length: `abc... (5000000 characters)`.
    """
    kept = "".join(map(_spelt, text[:most]))
    return kept if len(text) <= most else f"{kept}... ({len(text)} characters)"


def some(names: Iterable[str], most: int = 6, characters: int = 100) -> str:
    """List the first names, each escaped and cut, and say how many more there are."""
    every = list(names)
    shown = ", ".join(printable(name, characters) for name in every[:most])
    return shown if len(every) <= most else f"{shown} and {len(every) - most} more"


def one_line(error: BaseException | str) -> str:
    """Spell an error, or a message, as one line of at most LINE characters."""
    message = printable(str(error), LINE)
    return message if len(message) <= LINE else f"{message[: LINE - 3]}..."


def quote(value: object) -> str:
    """Spell any value as code, in one short line; one without a spelling by its type."""
    try:
        return printable(repr(value))
    except Exception:  # noqa: BLE001 - `repr` is anybody's code, and refuses a giant integer
        return f"a {type(value).__name__} that cannot be shown"


def plain(text: str) -> str:
    """Escape what is not printable in text of several lines, whose line ends are ours."""
    if text.replace("\n", "").replace("\t", "").isprintable():  # nearly always; and quick
        return text
    return "".join(c if c in "\n\t" else _spelt(c) for c in text)


def _spelt(character: str) -> str:
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode("ascii")
