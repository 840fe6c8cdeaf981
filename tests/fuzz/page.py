"""The page of results: a row a target, replaced by that target's next run."""

from __future__ import annotations

import datetime
from pathlib import Path

from tests.fuzz.campaign import Count

PAGE = Path(__file__).parents[2] / "profiles" / "results" / "fuzz.md"
_HEAD = """# Fuzzing the readers

Written by `make fuzz ARGS='--minutes N --only TARGET --write'`; a row is replaced by that
target's next run. An input is *accepted* if it is read to its end and *refused* if it ends with one
of the project's own errors; anything else is a *finding*: another exception, an end of the process,
more processor time or memory than the target ([`tests/fuzz/targets/`](../../tests/fuzz/targets))
allows, a message that cannot be shown.

| target | inputs | accepted | refused | findings | minutes | seed | day |
| --- | --- | --- | --- | --- | --- | --- | --- |
"""


def write(count: Count, seed: int, page: Path = PAGE) -> None:
    """Put a run's row into the page, in the order of names."""
    rows = _rows(page)
    day = datetime.datetime.now(datetime.UTC).date().isoformat()
    cells = (
        f"`{count.target}`",
        f"{count.tried:,}",
        f"{count.accepted:,}",
        f"{count.refused:,}",
        len(count.findings),
        f"{count.seconds / 60:.1f}",
        seed,
        day,
    )
    rows[count.target] = f"| {' | '.join(map(str, cells))} |\n"
    page.write_text(_HEAD + "".join(rows[name] for name in sorted(rows)), encoding="utf-8")


def _rows(page: Path) -> dict[str, str]:
    lines = page.read_text("utf-8").splitlines(keepends=True) if page.exists() else []
    rows = (line for line in lines if line.startswith("| `"))
    return {row.split("`")[1]: row for row in rows}
