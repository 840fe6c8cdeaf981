"""What the workshop's commands share: numbers as arguments, answers of child processes, pages."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[1] / "results"


def positive(text: str) -> float:
    """Read a number above 0."""
    value = float(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"must be more than 0, not {text}")
    return value


def count(text: str) -> int:
    """Read a whole number from 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, not {number}")
    return number


def write_answer(folder: Path, step: str, answer: Any) -> None:
    """Leave a step's answer for the process that started it."""
    (folder / f"{step}.json").write_text(json.dumps(answer), encoding="utf-8")


def read_answer(folder: Path, step: str) -> Any:
    """Read the answer of a step that has ended well."""
    return json.loads((folder / f"{step}.json").read_text(encoding="utf-8"))


def write_page(name: str, text: str, results: Mapping[str, Any]) -> None:
    """Write a page and its data into RESULTS: `NAME.md` and `NAME.json`."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{name}.md").write_text(text, encoding="utf-8")
    data = json.dumps(results, indent=1) + "\n"
    (RESULTS / f"{name}.json").write_text(data, encoding="utf-8")
