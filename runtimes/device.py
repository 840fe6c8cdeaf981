"""What it means to measure a bundle on something: the words that every kind of device shares.

A kind of device (this host, a phone on adb, an emulator) implements `Device`; `sam-bench` knows
nothing else of it. Standard library only, so that a profile can be read without any runtime.

How to add a kind: a file in its harness's `devices/` folder with `KIND`, a `DeviceKind`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Protocol

from exporter.bundle.folder import Bundle
from exporter.bundle.manifest import Figure
from exporter.bundle.ranges import Count, NotNegative, OneOrMore

PHONE, EMULATOR, SIMULATOR, SIMULATED, HOST, UNKNOWN = CLASSES = (
    *("phone", "emulator", "simulator", "simulated", "host"),
    "unknown",
)
"""The class of a device. Numbers of different classes are never compared.

`phone` is what proved to be one (or a tablet), `emulator` whatever runs Android on a computer:
virtual devices, containers, PCs. `simulator` is Xcode's, which runs Core ML on the Mac. `unknown`
is the rest: televisions, watches, cars, boards.
"""

AUTO, CPU = "auto", "cpu"
"""The way and the delegate of a method that asks for no other."""

RESIDENT = "of the peak"
"""Prefix of the note that says how much of the peak was not the graph's."""

THROTTLED = "throttled:"
"""Prefix of the note for a run in which the device throttled or overheated."""


@dataclass(frozen=True)
class Cluster:
    """Cores that share a top frequency; `max_khz` is None if the system does not tell."""

    cores: tuple[Count, ...]
    max_khz: Count | None


def core_numbers(text: str) -> tuple[int, ...]:
    """`0-3,5` -> (0, 1, 2, 3, 5), as Linux and `--cores` write it. ValueError for all else."""
    if not re.fullmatch(r"\d{1,4}(-\d{1,4})?(,\d{1,4}(-\d{1,4})?)*", text):
        raise ValueError(f"no core numbers: {text!r}")
    numbers: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        if last and int(last) < int(first):
            raise ValueError(f"the range {part} goes down")
        numbers |= set(range(int(first), int(last or first) + 1))
    return tuple(sorted(numbers))


@dataclass(frozen=True)
class DeviceFacts:
    """What a device is: the same in every run on it.

    Attributes:
        device: as a user names it: `host`, `android:SERIAL`, `emulator:AVD`.
        device_class: one of CLASSES.
        manufacturer: empty if unknown, as are the next four.
        soc: manufacturer and model of the chip.
        system: name, release and API level, e.g. `Android 14 (API 34)`.
        build: fingerprint of the system's build, or the kernel's version.
        abi: `arm64-v8a` or `x86_64`.
        clusters: from the slowest to the fastest.
        memory_mb: of the whole device; 0 if unknown.
        page_size: of memory, in bytes; 0 if unknown.
        evidence: the facts that the class was decided by; None in rows of earlier releases.
        class_reason: why it is of this class, in a few words.
    """

    device: str
    device_class: str
    manufacturer: str
    model: str
    soc: str
    system: str
    build: str
    abi: str
    clusters: tuple[Cluster, ...]
    memory_mb: Count = 0
    page_size: Count = 0
    evidence: dict[str, str] | None = field(default=None, compare=False)
    class_reason: str = field(default="", compare=False)


@dataclass(frozen=True)
class Temperature:
    """One sensor. `kind` is the system's word for it: `cpu`, `skin`, `battery` ..."""

    name: str
    kind: str
    celsius: float


@dataclass(frozen=True)
class ThermalStatus:
    """How far a system says that heat holds it back.

    Attributes:
        level: 0 for not at all; how far the levels go is up to the system.
        word: the system's own for it: Android's `severe`, Apple's `serious`.
    """

    level: int
    word: str


@dataclass(frozen=True)
class Condition:
    """How a device is at one moment. None is what it does not tell.

    Attributes:
        at: ISO 8601 time of the host, UTC.
        frequencies_khz: core number -> current frequency.
        load: processes that want to run, averaged over a minute.
        awake: whether the screen is on.
        notes: what a reader should know: `battery updates are stopped`, `airplane mode is off` ...
    """

    at: str
    thermal_status: ThermalStatus | None = None
    temperatures: tuple[Temperature, ...] = ()
    battery_percent: Count | None = None
    charging: bool | None = None
    frequencies_khz: dict[str, Count] = field(default_factory=dict)
    load: NotNegative | None = None
    awake: bool | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Method:
    """How a run is done; stored with it, so that two runs can be told to be comparable.

    Attributes:
        runs: timed calls of a graph in a repeat, at least.
        seconds: time for them, at least: a repeat goes on until it has both.
        warmup_seconds: the most that is spent on waiting for stable times.
        warmup_least_seconds: the least; a governor needs some tenths of a second to raise a clock.
        stable_calls: times are stable if the median of so many calls ...
        stable_within: ... differs by no more than this share from that of as many before.
        repeats: processes a graph; bundles take turns between them.
        threads: of the runtime.
        cores: `fast` (the fastest cluster), `all`, or core numbers as `4,5,6,7` or `4-7`.
        way: how the runner reaches the device: AUTO, or one of `DeviceKind.ways`.
        delegate: what computes: one of `DeviceKind.delegates`.
        modes: names of `DeviceKind.modes` that the device is put into.
        cool_seconds: the most that is spent on waiting for a device to cool.
        deadline_seconds: the most for one process on the device.
        check: parity on the device before any time counts.
        objects: how many are followed in the tracked frames of a video, each number apart; empty
            for what `runtimes.frames` says, where the device can.
    """

    runs: OneOrMore = 50
    seconds: NotNegative = 10.0
    warmup_seconds: NotNegative = 5.0
    warmup_least_seconds: NotNegative = 0.3
    stable_calls: OneOrMore = 5
    stable_within: NotNegative = 0.02
    repeats: OneOrMore = 3
    threads: OneOrMore = 2
    cores: str = "fast"
    way: str = AUTO
    delegate: str = CPU
    modes: tuple[str, ...] = ()
    cool_seconds: NotNegative = 300.0
    deadline_seconds: NotNegative = 600.0
    check: bool = True
    objects: tuple[OneOrMore, ...] = ()


@dataclass(frozen=True)
class Placed:
    """One operation of a graph, and where the system means to run it.

    Attributes:
        name: of its first output in our graph.
        operation: its kind, as the runtime calls it: `ios17.conv`.
        unit: `neural engine`, `gpu` or `cpu`.
        cost: its share of the graph's work as the system guesses it, 0..1; None if it does not.
    """

    name: str
    operation: str
    unit: str
    cost: NotNegative | None = None


@dataclass(frozen=True)
class GraphRun:
    """One process that loaded one graph and called it many times. Times in nanoseconds.

    Attributes:
        graph: its name; of a tracked frame, and of a graph's part of one, that of `frame_title`.
        runtime: name and version.
        first_ns: the first call after loading.
        warmup_ns: the calls before times were stable, the first among them.
        samples_ns: every call that counts, wall clock (monotonic, raw).
        cpu_ns: CPU time of the process over those calls, all threads together.
        peak_bytes: the most resident memory of the process; None if the system does not tell.
        affinity: core numbers the process was held to; empty for all.
        timed: false if the runtime is an interpreter: its times would say nothing of the bundle,
            so there are none (the nanoseconds are 0, the samples empty).
        way: how the runner reached the device, as `Method.way` names it; empty for a host.
        cold_load_ns: loading it for the first time on the device, which compiles it there; None if
            the runtime compiles nothing.
        placement: where each operation runs, in their order; empty if the runtime does not tell.
    """

    graph: str
    runtime: str
    load_ns: Count
    first_ns: Count
    warmup_ns: tuple[Count, ...]
    samples_ns: tuple[Count, ...]
    cpu_ns: Count | None
    peak_bytes: Count | None
    threads: OneOrMore
    affinity: tuple[Count, ...] = ()
    notes: tuple[str, ...] = ()
    timed: bool = True
    way: str = ""
    cold_load_ns: Count | None = None
    placement: tuple[Placed, ...] = ()

    @classmethod
    def untimed(cls, graph: str, runtime: str, why: str) -> GraphRun:
        """Make a run that gave no times, and why."""
        nothing = GraphRun(graph, runtime, 0, 0, (), (), None, None, 1)
        return replace(nothing, notes=(why,), timed=False)


@dataclass(frozen=True)
class SessionRun:
    """What a user of the app feels: one process, every graph loaded, as an app would do it.

    Attributes:
        load_ns: all graphs, one after the other.
        first_mask_ns: load all, encode, decode: from nothing to the first mask.
        click_ns: each further decode.
        peak_bytes: the most resident memory with all graphs loaded.
        timed: see `GraphRun`.
    """

    runtime: str
    load_ns: Count
    first_mask_ns: Count
    click_ns: tuple[Count, ...]
    peak_bytes: Count | None
    timed: bool = True
    notes: tuple[str, ...] = ()

    @classmethod
    def untimed(cls, runtime: str, why: str) -> SessionRun:
        """Make a session that gave no times, and why."""
        return cls(
            runtime=runtime,
            load_ns=0,
            first_mask_ns=0,
            click_ns=(),
            peak_bytes=None,
            timed=False,
            notes=(why,),
        )


class Bench(Protocol):
    """A device made ready for one method; leaving its context undoes everything it did."""

    def prepare(self, bundle: Bundle) -> None:
        """Push the files that the bundle needs and the device does not have, by hash."""
        ...

    def check(self, bundle: Bundle) -> tuple[Figure, ...]:
        """Parity figures of the bundle's goldens as this device computes them."""
        ...

    def run_graph(self, bundle: Bundle, graph: str) -> GraphRun:
        """Time one graph in a process of its own."""
        ...

    def run_session(self, bundle: Bundle) -> SessionRun:
        """Time every graph in one process, as an app uses them; RequestError if the way cannot."""
        ...

    def condition(self) -> Condition:
        """Read the device's state now."""
        ...

    def cool(self, start: Condition) -> Condition:
        """Wait until the device is about as cool as at `start`; TooHotError after the limit."""
        ...


class Device(Protocol):
    """Something a bundle can be measured on."""

    def facts(self) -> DeviceFacts:
        """Read what the device is."""
        ...

    def open(self, method: Method) -> AbstractContextManager[Bench]:
        """Make it ready for `method`; RequestError names what this device cannot do."""
        ...


@dataclass(frozen=True)
class Listed:
    """A row of `sam-bench devices`.

    Attributes:
        device: what `--device` takes.
        facts: None if the device cannot be asked.
        condition: the same.
        problem: why it cannot be used, and what to do; empty if it can.
    """

    device: str
    facts: DeviceFacts | None
    condition: Condition | None
    problem: str = ""


@dataclass(frozen=True)
class Mode:
    """What a device can be put into while it is measured: `--NAME` asks for it."""

    name: str
    summary: str


@dataclass(frozen=True)
class KindOption:
    """An option of the command line that a kind takes: `--NAME VALUE`.

    Attributes:
        name: without its dashes.
        metavar: of its value, for the help.
        summary: for the help.
        use: called with the value before any device is looked for.
    """

    name: str
    metavar: str
    summary: str
    use: Callable[[str], None]


@dataclass(frozen=True)
class DeviceKind:
    """What a file in a `devices/` folder exports as `KIND`.

    Attributes:
        name: before the colon in `--device NAME:ID`.
        find: ID, or an empty string for the only one -> the device. RequestError says why not.
        listed: every device of this kind that can be seen now.
        clean: ID -> removes what we keep on that device and says in one line what it was; None
            if nothing is kept.
        ways: for `--way`, besides AUTO.
        delegates: for `--delegate`.
        delegate: what computes if the user names none.
        delegates_of: target -> those of `delegates` that its bundles have; all if it is not here.
        modes: what its devices can be put into.
        options: what it takes from the command line.
        knows: whether NAME alone, without `KIND:`, is one of its devices now; None if none is.
        class_of: the facts in a stored row and the device's condition then -> what its class is
            by the rules of today, and why; None if what the row says stays.
    """

    name: str
    find: Callable[[str], Device]
    listed: Callable[[], tuple[Listed, ...]]
    clean: Callable[[str], str] | None = None
    ways: tuple[str, ...] = ()
    delegates: tuple[str, ...] = (CPU,)
    delegate: str = CPU
    delegates_of: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    modes: tuple[Mode, ...] = ()
    options: tuple[KindOption, ...] = ()
    knows: Callable[[str], bool] | None = None
    class_of: Callable[[DeviceFacts, Condition | None], tuple[str, str]] | None = None
