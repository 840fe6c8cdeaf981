"""Times of a call on this host, the bundles taking turns: other work slows all of them alike.

A host's times compare bundles here; they are no phone's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from exporter.bundle.folder import Bundle
from exporter.progress import Progress
from profiles.numbers.statistics import Spread, spread
from runtimes.engines import choose_engine
from runtimes.host_run import golden_inputs
from runtimes.process import clock_ns

WARMUP = 3
LEAST = 5
"""Counted calls at least."""


def untimed(bundle: Bundle) -> str:
    """Say why a bundle's times would mean nothing; empty if they mean something."""
    kind = choose_engine(bundle.manifest.target)
    return f"{kind.name} is an interpreter, which no app uses" if kind.interprets else ""


def time_bundles(
    bundles: Mapping[str, Bundle], threads: int, seconds: float, report: Progress
) -> dict[str, dict[str, Spread]]:
    """Time every graph of the bundles, on their first golden case.

    Args:
        bundles: by name.
        threads: for engines that take a number.
        seconds: for a graph of a bundle, about.
        report: called for each graph.

    Returns:
        Name -> graph -> milliseconds a call.
    """
    graphs = dict.fromkeys(g.spec.name for b in bundles.values() for g in b.manifest.graphs)
    found: dict[str, dict[str, Spread]] = {name: {} for name in bundles}
    for graph in graphs:
        report(f"timing {graph}")
        calls = {
            name: prepare(bundle, graph, threads)
            for name, bundle in bundles.items()
            if any(each.spec.name == graph for each in bundle.manifest.graphs)
        }
        for name, times in take_turns(calls, seconds).items():
            found[name][graph] = spread([times])
    return found


def prepare(bundle: Bundle, graph: str, threads: int) -> Callable[[], object]:
    """Load a graph; returns a call on its first golden case."""
    entry = bundle.manifest.graph(graph)
    loaded = choose_engine(bundle.manifest.target).open(bundle.file(graph), entry, threads)
    inputs = golden_inputs(bundle, entry)
    return lambda: loaded.run(inputs)


def take_turns(
    calls: Mapping[str, Callable[[], object]],
    seconds: float,
    clock: Callable[[], int] = clock_ns,
) -> dict[str, list[float]]:
    """Time calls in turns; whoever began a round ends the next.

    Args:
        calls: by name.
        seconds: for each of them, about; a call is counted `LEAST` times at least.
        clock: in nanoseconds.

    Returns:
        Name -> milliseconds of each counted call, round by round.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        for _ in range(WARMUP):
            call()
    order, end = list(calls), clock() + round(seconds * 1e9 * len(calls))
    while order and (len(times[order[0]]) < LEAST or clock() < end):
        for name in order:
            start = clock()
            calls[name]()
            times[name].append((clock() - start) / 1e6)
        order = _rotate(order)
    return times


def _rotate(order: Sequence[str]) -> list[str]:
    return [*order[1:], order[0]]
