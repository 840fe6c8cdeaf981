"""The ways of running on an Android device, and the choice among them.

How to add a way: a class that keeps the contract of `process.Way`, and its line in `all_ways`.
"""

from __future__ import annotations

from android_harness.process import Supplies, Way
from android_harness.ways.benchmark_model import BenchmarkModel
from android_harness.ways.capsule import Capsule
from android_harness.ways.ndk import Ndk
from exporter.errors import RequestError
from runtimes.remote.job import DELEGATES

AUTO = "auto"


def all_ways(supplies: Supplies) -> tuple[Way, ...]:
    """Every way, with what the user brought; the closest to an app first."""
    return (Ndk(supplies), Capsule(supplies.cache), BenchmarkModel(supplies.benchmark_model))


def find_way(name: str, abi: str, target: str, delegate: str, supplies: Supplies) -> Way:
    """The named way, or for `auto` the first that can do every mode of a job.

    Raises:
        RequestError: no such way or delegate, or it cannot; every reason is named.
    """
    if delegate not in DELEGATES:
        raise RequestError(f"no delegate {delegate!r}; there are: {', '.join(DELEGATES)}")
    ways = {way.name: way for way in all_ways(supplies)}
    if name != AUTO and name not in ways:
        raise RequestError(f"no way is called {name!r}; there are: {AUTO}, {', '.join(ways)}")
    # benchmark_model is never taken unasked: it can show neither parity nor single calls.
    tried = [ways[name]] if name != AUTO else [w for w in ways.values() if len(w.modes()) > 1]
    reasons = []
    for way in tried:
        reason = way.missing(abi, target, delegate)
        if reason is None:
            return way
        reasons.append(f"{way.name}: {reason}")
    if name == AUTO:
        other = ways["benchmark_model"].missing(abi, target, delegate)
        reasons.append(
            "--way benchmark_model could" if other is None else f"benchmark_model: {other}"
        )
    raise RequestError(f"cannot run {target} with {delegate} on {abi} ({'; '.join(reasons)})")
