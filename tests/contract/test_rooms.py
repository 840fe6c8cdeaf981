"""The unit tests stand in the rooms of the code: a module's tests are found by its path."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "tests" / "unit"
NEARER = {"mil": "runtimes/engines/mil", "lab": "profiles/lab"}
"""Rooms that stand nearer to the door than in the code."""


def _home(room: Path) -> Path:
    """The folder of the code that a room of the tests belongs to."""
    first, *rest = room.relative_to(UNIT).parts
    if first in NEARER:
        return ROOT.joinpath(NEARER[first], *rest)
    top = ROOT if (ROOT / first / "__init__.py").exists() else ROOT / "exporter"
    return top.joinpath(first, *rest)


def test_every_room_of_the_unit_tests_is_one_of_the_code() -> None:
    rooms = {file.parent for file in UNIT.rglob("test_*.py")} - {UNIT}
    assert len(rooms) > 10
    assert [str(room) for room in sorted(rooms) if not _home(room).is_dir()] == []


def test_what_stands_outside_the_rooms_tests_a_module_outside_the_folders() -> None:
    outside = {file.stem.removeprefix("test_") for file in UNIT.glob("test_*.py")}
    modules = {file.stem for file in (ROOT / "exporter").glob("*.py")}
    assert outside <= modules
