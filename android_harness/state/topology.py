"""Cores and clusters as Linux shows them, and which cores a run is held to."""

from __future__ import annotations

import re
from dataclasses import dataclass

from exporter.errors import RequestError
from runtimes.device import Cluster, core_numbers

_CPU = "/sys/devices/system/cpu"
# `read` is part of the shell: no process is started for each file.
SCRIPT = (
    f"cd {_CPU}; read possible < possible; read online < online\n"
    'echo "possible=$possible"; echo "online=$online"\n'
    "for c in cpu[0-9]*; do max=-; top=-; now=-\n"
    "read max < $c/cpufreq/cpuinfo_max_freq; read top < $c/cpufreq/scaling_max_freq\n"
    "read now < $c/cpufreq/scaling_cur_freq\n"
    "echo ${c#cpu} ${max:--} ${top:--} ${now:--}; done"
)
"""Prints `possible=`, `online=`, then a line a core: number, top, allowed and present kHz."""


@dataclass(frozen=True)
class Core:
    """One core. Frequencies in kHz; None is what the system does not tell.

    Attributes:
        top: the most it can do.
        allowed: the most it may do now: less than `top` when it is held back.
        now: the present one.
    """

    number: int
    online: bool
    top: int | None = None
    allowed: int | None = None
    now: int | None = None


@dataclass(frozen=True)
class Topology:
    """The cores, by number."""

    cores: tuple[Core, ...]

    @property
    def clusters(self) -> tuple[Cluster, ...]:
        """Cores that share a top frequency, from the slowest; one cluster if none is told."""
        groups: dict[int | None, list[int]] = {}
        for core in self.cores:
            groups.setdefault(core.top, []).append(core.number)
        ordered = sorted(groups.items(), key=lambda item: item[0] or 0)
        return tuple(Cluster(tuple(numbers), khz) for khz, numbers in ordered)

    @property
    def frequencies(self) -> dict[str, int]:
        """Core number -> its present frequency in kHz, if the system tells."""
        return {str(c.number): c.now for c in self.cores if c.online and c.now}

    @property
    def held(self) -> dict[int, int]:
        """Core number -> the kHz it is held to, for cores that may not do what they can."""
        return {
            c.number: c.allowed
            for c in self.cores
            if c.online and c.allowed and c.top and c.allowed < c.top
        }

    def choose(self, wanted: str, threads: int) -> tuple[int, ...]:
        """Choose the cores for `--cores`; empty for all.

        `fast` is the fastest cluster and, if that has fewer cores than `threads` (many phones
        have a single one at the top), the next: threads that share a core would time that instead.

        Args:
            wanted: `fast`, `all`, or numbers as `4,5` or `4-7`.
            threads: of the runtime.

        Raises:
            RequestError: not such a word; a core that does not exist or is offline.
        """
        if wanted == "all":
            return ()
        online = {core.number for core in self.cores if core.online}
        if wanted == "fast":
            chosen: set[int] = set()
            for cluster in reversed(self.clusters):
                if len(chosen) < threads:
                    chosen |= online & set(cluster.cores)
            return tuple(sorted(chosen))
        known = {core.number for core in self.cores}
        numbers = _numbers(wanted)
        for number in numbers:
            if number not in known:
                raise RequestError(
                    f"core {number} does not exist: this device has {_ranges(sorted(known))}"
                )
            if number not in online:
                raise RequestError(f"core {number} is offline; online: {_ranges(sorted(online))}")
        return numbers


def parse(text: str) -> Topology:
    """Read the text that SCRIPT printed, without the cores that the system cannot use."""
    lists = dict(re.findall(r"^(possible|online)=(\S+)$", text, re.MULTILINE))
    rows: dict[int, list[int | None]] = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) == 4 and words[0].isdigit():
            rows[int(words[0])] = [int(w) if w.isdigit() and int(w) else None for w in words[1:]]
    possible = core_numbers(lists["possible"]) if "possible" in lists else tuple(sorted(rows))
    online = set(core_numbers(lists["online"])) if "online" in lists else set(possible)
    return Topology(tuple(Core(n, n in online, *rows.get(n, (None, None, None))) for n in possible))


def _numbers(wanted: str) -> tuple[int, ...]:
    try:
        return core_numbers(wanted)
    except ValueError:
        raise RequestError(
            f"cores are `fast`, `all` or numbers as 4,5,7 or 4-7; not {wanted!r}"
        ) from None


def _ranges(numbers: list[int]) -> str:
    """[0, 1, 2, 5] -> `0-2, 5`."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(f"{p[0]}-{p[-1]}" if len(p) > 1 else str(p[0]) for p in parts)
