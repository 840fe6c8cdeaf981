"""Choose the pictures of a folder to calibrate on and to judge masks on; none is decoded here."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from exporter.bundle.manifest import MOST_PICTURES, PictureFile
from exporter.errors import RequestError
from exporter.printable import printable

PROMPTS = "prompts.json"
DEFAULT_PICTURES = 32
MOST_FILES = 10_000
MOST_BYTES = 2**29
"""Of one picture's file."""
ENOUGH_TO_JUDGE = 8
"""With fewer pictures, ranges need them all. Otherwise masks are judged on every second one."""
GATE_PICTURES = 16
"""Pictures that masks are judged on; scenes stand in for those that are missing."""
_LITTER = frozenset({"thumbs.db", "desktop.ini", "ehthumbs.db"})
"""Files that systems leave in folders of pictures, in lower case."""


@dataclass(frozen=True)
class ChosenPictures:
    """Pictures of a folder.

    Attributes:
        folder: that holds them.
        files: sorted by name.
        prompts_sha256: of `prompts.json`; empty if there is none.
        found: pictures in the folder, chosen or not.
    """

    folder: Path
    files: tuple[PictureFile, ...]
    prompts_sha256: str
    found: int

    def paths(self, use: str) -> tuple[Path, ...]:
        """List the pictures for `ranges`, or those for the `gate`."""
        return tuple(self.folder / each.name for each in self.files if each.use == use)

    def __str__(self) -> str:
        """Say in one line which they are."""
        ranges, gate = (len(self.paths(use)) for use in ("ranges", "gate"))
        taken = (
            f"{len(self.files)} of {self.found} pictures" if self.found > len(self.files) else ""
        )
        start = taken or f"{self.found} picture{'s' if self.found > 1 else ''}"
        said = f"calibrating on {start} of {printable(str(self.folder))}"
        return f"{said}: {ranges} to calibrate, {gate} to judge masks" if gate else said


def choose_pictures(folder: Path, count: int | None = None) -> ChosenPictures:
    """Choose pictures evenly over the sorted names of a folder.

    Args:
        folder: its own files are pictures, but `prompts.json` and hidden ones; not those of folders
            inside.
        count: of pictures; None for all, 32 at most.

    Raises:
        RequestError: no folder, no or fewer pictures in it, or one that is no plain file.
    """
    names = sorted(list_files(folder, "--calibration"))
    has_prompts = PROMPTS in names
    pictures = [name for name in names if name != PROMPTS]
    if not pictures:
        inside = "only prompts.json" if has_prompts else "no picture"
        raise RequestError(
            f"--calibration {printable(str(folder))} holds {inside}: give a folder of pictures "
            "like those that the app will see (folders inside it are not read)"
        )
    if count is not None and count > len(pictures):
        raise RequestError(
            f"--calibration-pictures {count}: {printable(str(folder))} holds {len(pictures)}"
        )
    taken = spread(pictures, count or min(DEFAULT_PICTURES, len(pictures)))
    judged = frozenset(_judged(taken))
    files = tuple(
        PictureFile(name, hash_file(folder / name), "gate" if name in judged else "ranges")
        for name in taken
    )
    prompts = hash_file(folder / PROMPTS) if has_prompts else ""
    return ChosenPictures(folder, files, prompts, len(pictures))


def spread(names: Sequence[str], count: int) -> list[str]:
    """Take `count` names, evenly spaced."""
    return [names[at * len(names) // count] for at in range(count)]


def _judged(taken: Sequence[str]) -> list[str]:
    return list(taken[1::2][:GATE_PICTURES]) if len(taken) >= ENOUGH_TO_JUDGE else []


def list_files(folder: Path, option: str) -> Iterator[str]:
    """Names of the files that count, in no order.

    Args:
        folder: whose own files they are.
        option: that names it, for messages.

    Raises:
        RequestError: no folder, too many files in it, or one that is no plain file.
    """
    shown = printable(str(folder))
    if not folder.is_dir():
        fault = "is a file: give the folder that holds it" if folder.exists() else "is missing"
        raise RequestError(f"{option} {shown} {fault}")
    try:
        with os.scandir(folder) as entries:
            listed = list(islice(entries, MOST_FILES + 1))
    except OSError as error:
        raise RequestError(f"{option} {shown} cannot be read: {error.strerror}") from None
    if len(listed) > MOST_FILES:
        raise RequestError(
            f"{option} {shown} holds more than {MOST_FILES} files: give a folder of some of them "
            f"({MOST_PICTURES} pictures are taken at most)"
        )
    for entry in listed:
        if entry.name.startswith(".") or entry.name.lower() in _LITTER or _is_folder(entry):
            continue
        _require_plain(Path(entry.path), entry.name)
        yield entry.name


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # links that lead in a circle
        return False


def _require_plain(path: Path, name: str) -> None:
    shown = printable(str(path))
    if not name.isprintable():
        raise RequestError(f"{shown}: a picture's name goes into the manifest: rename it")
    try:
        found = path.stat()
    except OSError as error:
        raise RequestError(f"{shown} cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(found.st_mode):
        raise RequestError(f"{shown} is no plain file: keep pictures alone in the folder")
    if found.st_size > MOST_BYTES:
        raise RequestError(f"{shown} has more than {MOST_BYTES >> 20} MB: take a smaller picture")


def hash_file(path: Path) -> str:
    """Hash a file: sha256 in hex. RequestError if it cannot be read."""
    import hashlib  # `--list` needs none of it

    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise RequestError(f"{printable(str(path))} cannot be read: {error.strerror}") from None
