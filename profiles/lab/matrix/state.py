"""Rows on disk, one file each: an interrupted run loses only its current export."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from exporter.errors import RequestError
from profiles.lab.matrix.jobs import MatrixJob

Row = Mapping[str, Any]


class State:
    """The rows of a work folder, with committed rows as the fallback.

    Attributes:
        folder: `NAME.json` for each export.
    """

    def __init__(self, folder: Path, committed: Path) -> None:
        self.folder = folder
        self._committed: dict[str, Row] = {}
        if committed.is_file():
            rows = _read(committed).get("rows", [])
            self._committed = {row["name"]: row for row in rows}

    def row(self, job: MatrixJob) -> Row | None:
        """Look up an export's row, stale or not."""
        path = self._path(job)
        return _read(path) if path.is_file() else self._committed.get(job.name)

    def is_current(self, job: MatrixJob, key: str) -> bool:
        """Tell whether the row matches these very sources, toolkits and weights."""
        row = self.row(job)
        return row is not None and row.get("key") == key

    def save(self, job: MatrixJob, key: str, row: Row) -> None:
        """Save a row, whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self._path(job).with_suffix(".partial")
        partial.write_text(json.dumps({"key": key, **row}, indent=1) + "\n", encoding="utf-8")
        partial.replace(self._path(job))

    def _path(self, job: MatrixJob) -> Path:
        return self.folder / f"{job.name}.json"


def _read(path: Path) -> dict[str, Any]:
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RequestError(f"{path} is not a row of the matrix ({error}): delete it") from None
    return data
