"""What `sam-bench report` can write: one file (or folder) each.

How to add one: write `profiles/pages/NAME.py` with `PAGE`, a `Page`. `sam-bench report` takes its
option; nothing else changes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from exporter import catalog
from profiles.schema import Profile


@dataclass(frozen=True)
class Page:
    """A page of the report; its file exports it as `PAGE`.

    Attributes:
        options: of the command line, e.g. `--markdown`; each takes the file to write.
        summary: of what it writes, for `--help`.
        render: profiles (at least one) and the time of writing -> the text.
    """

    options: tuple[str, ...]
    summary: str
    render: Callable[[Sequence[Profile], str], str]


def pages() -> dict[str, Page]:
    """Load every page, by name."""
    return {name: catalog.load(__name__, name, "PAGE") for name in catalog.names(__name__)}
