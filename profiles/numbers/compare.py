"""What changed between two profiles, beyond what chance does.

A change is beyond noise where the 95 % interval of the ratio of medians leaves out 1 and the effect
is not negligible. Times of different classes or devices are refused: no arithmetic makes a host's
time a phone's.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from exporter.errors import RequestError
from exporter.printable import printable
from profiles.numbers.statistics import Difference, difference
from profiles.numbers.summary import FILE_MB, device_name, quantities, summarise
from profiles.schema import Profile

NEGLIGIBLE = 0.147
"""Cliff's delta below which an effect is called negligible (Romano et al. 2006)."""
LEAST_REPEATS = 2
WORSE, BETTER, NOISE, SAME = "worse", "better", "within noise", "same"
# What decides how fast a call is; the rest of a method only says how well it was measured.
DECISIVE = ("threads", "cores", "way", "delegate", "modes")


@dataclass(frozen=True)
class Change:
    """One quantity of both. Lower is better in all of them.

    Attributes:
        what: a graph's name, `first mask`, `click`, `peak memory` or `bundle size`.
        unit: `ms` or `MB`.
        before: median of A, `after`: median of B.
        ratio: after over before, with its 95 % interval `low` to `high`.
        delta: Cliff's; None for a size, which has no samples.
        repeats: the fewer of A's and B's.
        verdict: `worse`, `better`, `within noise` or `same`.
    """

    what: str
    unit: str
    before: float
    after: float
    ratio: float
    low: float
    high: float
    delta: float | None
    repeats: int
    verdict: str


@dataclass(frozen=True)
class Comparison:
    """B against A.

    Attributes:
        flags: what else differs, or makes a number doubtful.
    """

    a: Profile
    b: Profile
    flags: tuple[str, ...]
    changes: tuple[Change, ...]

    def regressions(self, limit: float) -> list[Change]:
        """List the figures that got worse beyond noise by more than `limit` (0.05 is 5 %)."""
        return [c for c in self.changes if c.verdict == WORSE and c.ratio > 1 + limit]

    def data(self) -> dict[str, Any]:
        """For `--json`."""
        sides = {
            side: {
                "id": p.id,
                "bundle": p.bundle.name,
                "device": p.device.device,
                "device_class": p.device.device_class,
                "created": p.created,
                "label": p.label,
            }
            for side, p in (("a", self.a), ("b", self.b))
        }
        return {**sides, "flags": self.flags, "changes": [asdict(c) for c in self.changes]}


def compare(a: Profile, b: Profile, *, judging: bool = False) -> Comparison:
    """B against A.

    Args:
        a: before.
        b: after.
        judging: a regression will fail something, so nothing may be doubtful.

    Raises:
        RequestError: different classes or devices; when judging also different methods and fewer
            than two repeats.
    """
    _demand_same_device(a, b)
    differing = _method_differences(a, b)
    if judging and differing:
        raise RequestError(
            f"{a.id} and {b.id} were not measured the same way ({', '.join(differing)}): "
            "a regression is only judged between equal methods"
        )
    if judging:
        _demand_repeats(a, b)
    return Comparison(a, b, tuple(differing + _flags(a, b)), tuple(_changes(a, b)))


def _demand_same_device(a: Profile, b: Profile) -> None:
    if a.device.device_class != b.device.device_class:
        raise RequestError(
            f"{a.id} was measured on class {a.device.device_class}, {b.id} on class "
            f"{b.device.device_class}: different classes are never compared"
        )
    for name in ("model", "soc", "abi"):
        before, after = getattr(a.device, name), getattr(b.device, name)
        if before != after:
            raise RequestError(
                f"{a.id} was measured on {device_name(a)} and {b.id} on {device_name(b)} "
                f"({name} {printable(before) or 'unknown'} and {printable(after) or 'unknown'}): "
                "a change of the bundle cannot be told from a change of the device; sam-bench "
                "report shows both"
            )


def _demand_repeats(a: Profile, b: Profile) -> None:
    for profile in (a, b):
        if any(len(samples) < LEAST_REPEATS for samples in quantities(profile).values()):
            raise RequestError(
                f"{profile.id} has one repeat, so what differs between processes is not known: "
                f"--fail-on needs --repeats {LEAST_REPEATS} or more on both sides"
            )


def _method_differences(a: Profile, b: Profile) -> list[str]:
    before, after = asdict(a.method), asdict(b.method)
    return [
        f"{n} {_shown(before[n])} -> {_shown(after[n])}" for n in DECISIVE if before[n] != after[n]
    ]


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(value) or "none"
    return str(value)


def _flags(a: Profile, b: Profile) -> list[str]:
    found = []
    if a.device.device != b.device.device:
        found.append(
            f"two devices of one model: {printable(a.device.device)}, {printable(b.device.device)}"
        )
    if a.device.build != b.device.build:
        found.append(
            f"the system changed: {printable(a.device.build)} -> {printable(b.device.build)}"
        )
    if _runtimes(a) != _runtimes(b):
        found.append(f"the runtime changed: {_runtimes(a)} -> {_runtimes(b)}")
    strangers = sorted({g.name for g in a.bundle.graphs} ^ {g.name for g in b.bundle.graphs})
    if strangers:
        found.append(f"only one side has {', '.join(strangers)}")
    for side, profile in (("A", a), ("B", b)):
        found += [f"{side}: {mark}" for mark in summarise(profile).marks]
    return found


def _runtimes(profile: Profile) -> str:
    return ", ".join(sorted({r.runtime for repeat in profile.repeats for r in repeat.runs}))


def _changes(a: Profile, b: Profile) -> list[Change]:
    before, after = quantities(a), quantities(b)
    found = [
        _measured(name, difference(before[name], after[name]), before[name], after[name])
        for name in before
        if name in after
    ]
    sizes = a.bundle.bytes / FILE_MB, b.bundle.bytes / FILE_MB
    return [*found, _exact("bundle size", *sizes)]


def _measured(name: str, d: Difference, a: list[list[float]], b: list[list[float]]) -> Change:
    before = median(value for samples in a for value in samples)
    unit = "MB" if name == "peak memory" else "ms"
    beyond = (d.low > 1 or d.high < 1) and abs(d.delta) >= NEGLIGIBLE
    verdict = (WORSE if d.ratio > 1 else BETTER) if beyond else NOISE
    fewer = min(len(a), len(b))
    return Change(
        name, unit, before, before * d.ratio, d.ratio, d.low, d.high, d.delta, fewer, verdict
    )


def _exact(name: str, before: float, after: float) -> Change:
    ratio = after / before if before else 1.0
    verdict = SAME if ratio == 1 else WORSE if ratio > 1 else BETTER
    return Change(name, "MB", before, after, ratio, ratio, ratio, None, 0, verdict)
