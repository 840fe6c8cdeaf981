"""What is fuzzed, and how much of the machine one input may take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from exporter import catalog

CORPUS = Path(__file__).parent / "corpus"
FOLDER = "tests.fuzz.targets"


@dataclass(frozen=True)
class Target:
    """One reader. Its file imports what reading needs, so that no input has to pay for that.

    Attributes:
        read: reads an input, given as bytes and a folder to write them to if the reader wants a
            file; the folder is emptied by nobody, so write to the same names. It raises a
            SamExportError for an input it refuses; anything else that it raises is a finding.
        words: pieces that the format is made of; mutations insert them.
        places: where an input may be cut without tearing a piece of its format apart; most of the
            mutations that cut or insert do it there. None: anywhere.
        repair: makes a changed input consistent again (lengths, checksums), so that mutations
            reach what lies behind those checks; applied to every other input. None: no repair.
        seconds: of processor time that an input may take.
        megabytes: by which memory may grow while an input is read.
        largest: bytes; mutations do not grow an input beyond.
    """

    read: Callable[[bytes, Path], object]
    words: tuple[bytes, ...] = ()
    places: Callable[[bytes], Sequence[int]] | None = None
    repair: Callable[[bytes], bytes] | None = None
    seconds: float = 1.0
    megabytes: int = 200
    largest: int = 1 << 20


def names() -> tuple[str, ...]:
    """Every target's name."""
    return catalog.names(FOLDER)


def load(name: str) -> Target:
    """The target of that name."""
    target: Target = catalog.load(FOLDER, name, "TARGET")
    return target


def seeds(name: str) -> dict[str, bytes]:
    """A target's corpus: its files by name."""
    files = sorted((CORPUS / name).iterdir())
    return {file.name: file.read_bytes() for file in files}
