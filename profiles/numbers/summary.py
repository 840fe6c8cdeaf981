"""A profile's samples -> the numbers people ask for. Computed when asked, never stored."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from exporter.bundle.video import MEMORY_ATTENTION
from exporter.printable import printable
from profiles.numbers.statistics import Spread, measure_slowdown, spread
from profiles.schema import GraphFacts, Profile
from runtimes.device import RESIDENT, THROTTLED, GraphRun, SessionRun
from runtimes.frames import graph_in_frame, is_frame

NS_IN_MS = 1e6
MB = 2**20
"""Of memory. A file's size is in millions of bytes, as sam-export prints it: `FILE_MB`."""
FILE_MB = 10**6
SLOWED = 1.1
"""A repeat whose last third took this much longer than its first is marked."""
ONE_CORE = 0.9
"""A process that got less of its time on a processor was waiting for one."""


@dataclass(frozen=True)
class GraphSummary:
    """One graph, or a tracked frame, or a graph's part of one (`runtimes.frames.frame_title`).

    Times in ms; None is what was not measured.

    Attributes:
        timed: false for an interpreter, which has no times.
        ms: of every call that counts.
        first_ms: the first call after loading, the median over repeats; the same for `load_ms`.
        cold_load_ms: loading it on a device that never did, the median over repeats.
        peak_mb: the most of all repeats.
        gmacs_per_s: multiply-accumulates at the median time, in thousand millions a second.
        cores_used: CPU time over wall time: how many cores worked on average.
    """

    graph: str
    runtime: str
    way: str
    bytes: int
    timed: bool
    ms: Spread | None
    first_ms: float | None
    load_ms: float | None
    cold_load_ms: float | None
    peak_mb: float | None
    gmacs_per_s: float | None
    cores_used: float | None


@dataclass(frozen=True)
class Summary:
    """One profile.

    Attributes:
        first_mask_ms: load every graph, encode, decode: from nothing to the first mask.
        click_ms: each further decode.
        load_ms: every graph, one after the other; the median over repeats.
        peak_mb: the most, with every graph resident.
        marks: what a reader should know before believing a number.
    """

    id: str
    created: str
    label: str
    bundle: str
    variant: str
    target: str
    precision: str
    device: str
    device_name: str
    device_class: str
    system: str
    delegate: str
    bundle_mb: float
    graphs: tuple[GraphSummary, ...]
    first_mask_ms: Spread | None
    click_ms: Spread | None
    load_ms: float | None
    peak_mb: float | None
    marks: tuple[str, ...]

    @property
    def called(self) -> str:
        """The bundle and what computed it: one bundle may be measured with several delegates."""
        return f"{self.bundle}, {self.delegate}"


def summarise(profile: Profile) -> Summary:
    """Compute every number of a profile."""
    sessions = _sessions(profile)
    bundle, device = profile.bundle, profile.device
    every = (*bundle.graphs, *_frames(profile))
    graphs = tuple(_graph(facts, _runs(profile, facts.name)) for facts in every)
    return Summary(
        id=profile.id,
        created=profile.created,
        label=profile.label,
        bundle=bundle.name,
        variant=bundle.variant,
        target=bundle.target,
        precision=bundle.precision,
        device=printable(device.device),
        device_name=device_name(profile),
        device_class=device.device_class,
        system=device.system,
        delegate=profile.method.delegate,
        bundle_mb=bundle.bytes / FILE_MB,
        graphs=graphs,
        first_mask_ms=_spread([[session.first_mask_ns] for session in sessions]),
        click_ms=_spread([session.click_ns for session in sessions]),
        load_ms=_median(session.load_ns for session in sessions),
        peak_mb=_peak(session.peak_bytes for session in sessions),
        marks=_marks(profile, graphs),
    )


def device_name(profile: Profile) -> str:
    """Manufacturer and model, or the chip where these are not known, or the device's own name."""
    device = profile.device
    named = f"{device.manufacturer} {device.model}".strip()
    return printable(named or device.soc or device.device)


def quantities(profile: Profile) -> dict[str, list[list[float]]]:
    """Collect the figures that two profiles share: name -> samples by repeat, in ms and MB.

    `GRAPH`, those of tracked frames, `first mask`, `click` and `peak memory`; what was not measured
    is not there.
    """
    sessions = _sessions(profile)
    found = {
        graph.name: [_ms(run.samples_ns) for run in _runs(profile, graph.name)]
        for graph in (*profile.bundle.graphs, *_frames(profile))
    }
    found["first mask"] = [_ms([session.first_mask_ns]) for session in sessions]
    found["click"] = [_ms(session.click_ns) for session in sessions]
    found["peak memory"] = [[s.peak_bytes / MB] for s in sessions if s.peak_bytes]
    kept = {name: [samples for samples in of if samples] for name, of in found.items()}
    return {name: samples for name, samples in kept.items() if samples}


def _frames(profile: Profile) -> list[GraphFacts]:
    """List the tracked frames that were measured, and the graphs' parts of them, as if graphs."""
    known = {graph.name: graph for graph in profile.bundle.graphs}
    runs = (run.graph for repeat in profile.repeats for run in repeat.runs)
    found = []
    for title in dict.fromkeys(name for name in runs if is_frame(name)):
        graph = known.get(graph_in_frame(title))
        found.append(GraphFacts(title, graph.bytes if graph else profile.bundle.bytes))
    return found


def _runs(profile: Profile, graph: str) -> list[GraphRun]:
    return [run for repeat in profile.repeats for run in repeat.runs if run.graph == graph]


def _sessions(profile: Profile) -> list[SessionRun]:
    found = [repeat.session for repeat in profile.repeats if repeat.session is not None]
    return [session for session in found if session.timed]


def _graph(facts: GraphFacts, runs: Sequence[GraphRun]) -> GraphSummary:
    timed = [run for run in runs if run.timed]
    ms = _spread([run.samples_ns for run in timed])
    macs = facts.multiply_accumulates
    return GraphSummary(
        graph=facts.name,
        runtime=" and ".join(sorted({run.runtime for run in runs})),
        way=" and ".join(sorted({run.way for run in runs if run.way})),
        bytes=facts.bytes,
        timed=bool(timed),
        ms=ms,
        first_ms=_median(run.first_ns for run in timed),
        load_ms=_median(run.load_ns for run in timed),
        cold_load_ms=_median(r.cold_load_ns for r in timed if r.cold_load_ns is not None),
        peak_mb=_peak(run.peak_bytes for run in timed),
        gmacs_per_s=macs / ms.p50 / 1e6 if ms and macs else None,
        cores_used=_cores_used(timed),
    )


def _cores_used(runs: Sequence[GraphRun]) -> float | None:
    told = [run for run in runs if run.cpu_ns is not None and run.samples_ns]
    wall = sum(sum(run.samples_ns) for run in told)
    return sum(run.cpu_ns or 0 for run in told) / wall if wall else None


def _marks(profile: Profile, graphs: Sequence[GraphSummary]) -> tuple[str, ...]:
    """List the remarks on a measurement, each once, the most important first."""
    found = ["degraded: its masks are under their floors"] if profile.bundle.degraded else []
    found += [f"refused: {profile.refused}"] if profile.refused else []
    found += [] if profile.parity or profile.refused else ["parity was not checked"]
    found += [repeat.throttled for repeat in profile.repeats]
    for repeat in profile.repeats:
        found += [*repeat.before.notes, *repeat.after.notes]
        notes = [note for run in repeat.runs for note in run.notes]
        notes += repeat.session.notes if repeat.session else ()
        found += [note for note in notes if not _is_plain(note)]
    # A graph's part of a frame is as doubtful as the frame, which says so.
    for graph in (each for each in graphs if not graph_in_frame(each.graph)):
        found += _doubts(graph, _runs(profile, graph.graph))
    videos = MEMORY_ATTENTION in (graph.name for graph in profile.bundle.graphs)
    if videos and profile.repeats and not _frames(profile):
        found.append("no tracked frame was measured: graphs alone say little of a video")
    if any(repeat.session is None for repeat in profile.repeats):
        found.append("no session was run: first mask and click were not measured")
    if len(profile.repeats) == 1 and any(graph.timed for graph in graphs):
        found.append("one repeat: what differs between processes is not known")
    return tuple(dict.fromkeys(mark for mark in found if mark))


def _is_plain(note: str) -> bool:
    """Tell whether a note only explains a number, or repeats `Repeat.throttled`."""
    return note.startswith((RESIDENT, THROTTLED))


def _doubts(graph: GraphSummary, runs: Sequence[GraphRun]) -> list[str]:
    found = []
    factor = max((measure_slowdown(run.samples_ns) for run in runs), default=1.0)
    if factor > SLOWED:
        found.append(f"{graph.graph} slowed down by up to {factor - 1:.0%} within a repeat")
    if graph.cores_used is not None and graph.cores_used < ONE_CORE:
        found.append(
            f"{graph.graph} had {graph.cores_used:.1f} cores on average: other work took the "
            "rest, or the runtime waited"
        )
    return found


def _spread(repeats: Iterable[Sequence[int]]) -> Spread | None:
    kept = [_ms(samples) for samples in repeats if samples]
    return spread(kept) if kept else None


def _ms(samples: Sequence[int]) -> list[float]:
    # A clock can be too coarse for a tiny graph; a ratio needs more than nothing.
    return [max(value, 1) / NS_IN_MS for value in samples]


def _median(values: Iterable[int]) -> float | None:
    found = list(values)
    return median(found) / NS_IN_MS if found else None


def _peak(values: Iterable[int | None]) -> float | None:
    found = [value for value in values if value is not None]
    return max(found) / MB if found else None
