"""Limits that a bundle must keep on a class of devices.

A budget is a TOML file: `device_class`, a table `[limits]` (see MEASURES), for single graphs
`[limits.GRAPH]` (see GRAPH_MEASURES), and `systems` if it is for some of the class alone. A name
without a folder and suffix is one of ours, in `profiles/budgets/`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exporter.closest import suggest, unknown
from exporter.errors import RequestError
from exporter.printable import printable
from profiles.numbers.statistics import Spread
from profiles.numbers.summary import GraphSummary, Summary
from runtimes.device import CLASSES

OURS = Path(__file__).parents[1] / "budgets"
_KEYS = ("device_class", "systems", "limits")


def _of(name: str, part: str) -> Callable[[Any], float | None]:
    """Take a quantile of one of the spreads."""

    def read(owner: Any) -> float | None:
        found: Spread | None = getattr(owner, name)
        return None if found is None else float(getattr(found, part))

    return read


MEASURES: dict[str, Callable[[Summary], float | None]] = {
    "first_mask_p50_ms": _of("first_mask_ms", "p50"),
    "click_p50_ms": _of("click_ms", "p50"),
    "click_p90_ms": _of("click_ms", "p90"),
    "click_p99_ms": _of("click_ms", "p99"),
    "load_ms": lambda summary: summary.load_ms,
    "peak_memory_mb": lambda summary: summary.peak_mb,
    "bundle_mb": lambda summary: summary.bundle_mb,
}
GRAPH_MEASURES: dict[str, Callable[[GraphSummary], float | None]] = {
    "p50_ms": _of("ms", "p50"),
    "p90_ms": _of("ms", "p90"),
    "p99_ms": _of("ms", "p99"),
    "first_ms": lambda graph: graph.first_ms,
    "load_ms": lambda graph: graph.load_ms,
    "peak_memory_mb": lambda graph: graph.peak_mb,
}


@dataclass(frozen=True)
class BudgetLimit:
    """`graph` is empty for a measure of the whole bundle."""

    graph: str
    measure: str
    at_most: float


@dataclass(frozen=True)
class Budget:
    """The limits of one class of devices.

    Attributes:
        systems: names of the systems that it is for, as `iOS`; empty for every one.
    """

    name: str
    device_class: str
    limits: tuple[BudgetLimit, ...]
    systems: tuple[str, ...] = ()

    def is_for(self, system: str) -> bool:
        """Tell whether it is for devices with a system of that name and version."""
        return not self.systems or system.partition(" ")[0] in self.systems


@dataclass(frozen=True)
class Judged:
    """One limit and one profile.

    Attributes:
        value: what was measured; None where nothing was, which is no pass.
    """

    bundle: str
    delegate: str
    device: str
    device_class: str
    measure: str
    value: float | None
    at_most: float

    @property
    def kept(self) -> bool:
        """Whether the limit is kept."""
        return self.value is not None and self.value <= self.at_most

    @property
    def verdict(self) -> str:
        """In a word or two."""
        if self.value is None:
            return "NOT MEASURED"
        return "kept" if self.kept else "OVER"


def check(budget: Budget, summaries: list[Summary]) -> list[Judged]:
    """Check every limit against every profile.

    Raises:
        RequestError: no profile, or one of another class or system than the budget's.
    """
    if not summaries:
        raise RequestError(
            f"there is no profile of class {budget.device_class} for budget {budget.name}: "
            f"measure on one first (sam-bench BUNDLE --device ...)"
        )
    strangers = [s for s in summaries if s.device_class != budget.device_class]
    if strangers:
        raise RequestError(
            f"{strangers[0].id} was measured on class {strangers[0].device_class}; budget "
            f"{budget.name} is for class {budget.device_class}"
        )
    others = [s for s in summaries if not budget.is_for(s.system)]
    if others:
        raise RequestError(
            f"{others[0].id} was measured on {printable(others[0].system)}; budget {budget.name} "
            f"is for {' and '.join(budget.systems)}"
        )
    return [row for summary in summaries for row in _rows(budget, summary)]


def read_budget(name: str) -> Budget:
    """Read a TOML file, or one of our budgets by name. RequestError says what is wrong with it."""
    path = Path(name)
    if not path.is_file() and path.name == name and not path.suffix:
        path = OURS / f"{name}.toml"
    if not path.is_file():
        known = sorted(p.stem for p in OURS.glob("*.toml"))
        raise RequestError(f"no file is called so, and there is no budget {suggest(name, known)}")
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise RequestError(f"{path} is no budget: {error}") from None
    return _parsed(data, path)


def _parsed(data: Mapping[str, Any], path: Path) -> Budget:
    strange = sorted(set(data) - set(_KEYS))
    if strange:
        raise unknown("key", strange[0], _KEYS, where=str(path))
    device_class = data.get("device_class")
    if device_class not in CLASSES:
        raise unknown("device_class", str(device_class), CLASSES, where=str(path))
    table = data.get("limits")
    limits = tuple(_limits(table, path)) if isinstance(table, dict) else ()
    if not limits:
        raise RequestError(f"{path}: a budget needs a table [limits] with at least one limit")
    systems = data.get("systems", [])
    if not isinstance(systems, list) or not all(isinstance(name, str) for name in systems):
        raise RequestError(f'{path}: systems should be a list of names, as ["iOS"]')
    return Budget(path.stem, str(device_class), limits, tuple(systems))


def _limits(table: Mapping[str, Any], path: Path) -> Iterator[BudgetLimit]:
    for name, value in table.items():
        if isinstance(value, dict):
            for measure, limit in value.items():
                yield _limit(name, measure, limit, GRAPH_MEASURES, path)
        else:
            yield _limit("", name, value, MEASURES, path)


def _limit(
    graph: str, measure: str, value: Any, known: Mapping[str, object], path: Path
) -> BudgetLimit:
    if measure not in known:
        raise unknown("limit", measure, known, where=str(path))
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise RequestError(f"{path}: {measure} should be a number above 0, not {value!r}")
    return BudgetLimit(graph, measure, float(value))


def _rows(budget: Budget, summary: Summary) -> Iterator[Judged]:
    graphs = {graph.graph: graph for graph in summary.graphs}
    for limit in budget.limits:
        if limit.graph:
            graph = graphs.get(limit.graph)
            value = GRAPH_MEASURES[limit.measure](graph) if graph else None
        else:
            value = MEASURES[limit.measure](summary)
        name = f"{limit.graph} {limit.measure}".strip()
        yield Judged(
            summary.bundle,
            summary.delegate,
            summary.device,
            summary.device_class,
            name,
            value,
            limit.at_most,
        )
