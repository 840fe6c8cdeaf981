"""Measure bundles on devices and keep what came out.

    facts -> open -> prepare every bundle -> parity of every bundle -> repeats -> store

A repeat is: cool down, one process a graph, one session, and of a video one process of tracked
frames for each number of objects; for each bundle in turn (A B A B), so that a device that slowly
warms up is as unkind to every bundle. What is done is in a journal at once; an interrupted
measurement goes on where it was.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial

from exporter.bundle.folder import Bundle
from exporter.bundle.manifest import Figure
from exporter.errors import (
    BundleError,
    ParityError,
    RequestError,
    RunnerError,
    SamExportError,
)
from exporter.printable import printable
from exporter.progress import Progress
from profiles.journal import Journal, Work, open_journal
from profiles.schema import SCHEMA_VERSION, Profile, Repeat, bundle_facts, throttled, tools
from profiles.store import Store
from runtimes.device import (
    PHONE,
    Bench,
    Condition,
    Device,
    DeviceFacts,
    GraphRun,
    Method,
    SessionRun,
)
from runtimes.frames import TracksFrames, counts, frame_title
from runtimes.measures import degraded, describe, new_misses


@dataclass(frozen=True)
class BenchPlan:
    """What is to be measured, whatever the device.

    Attributes:
        bundles: opened, so their hashes are right; they take turns.
        label: the user's word for it, or empty.
        stop: set when everything should end after the step that runs now.
        keep_refused: whether a bundle that is wrong or fails on a device is a profile with the
            reason, not a failure.
    """

    bundles: tuple[Bundle, ...]
    method: Method
    store: Store
    label: str = ""
    stop: threading.Event = field(default_factory=threading.Event)
    keep_refused: bool = False


@dataclass
class Outcome:
    """What was stored, and why some devices gave nothing."""

    profiles: list[Profile] = field(default_factory=list)
    failures: list[tuple[str, SamExportError]] = field(default_factory=list)


def collect(plan: BenchPlan, devices: Sequence[Device], report: Progress) -> Outcome:
    """Measure on every device; one that fails costs the others nothing.

    Phones work side by side. What runs on this machine's own cores - the host, an emulator, a
    simulated phone - or may do so runs alone, before them.

    Raises:
        RequestError: a bundle or a device was given twice.
        KeyboardInterrupt: after every device was left as it was found.
    """
    known = [(device.facts(), device) for device in devices]
    _check_once("bundle", [bundle_facts(bundle).sha256 for bundle in plan.bundles])
    _check_once("device", [facts.device for facts, _ in known])
    outcome = Outcome()
    for facts, device in known:
        if facts.device_class != PHONE:
            _take(outcome, facts, partial(measure, plan, facts, device, report))
    phones = [(facts, device) for facts, device in known if facts.device_class == PHONE]
    if phones:
        _side_by_side(plan, phones, outcome, report)
    return outcome


def _take(outcome: Outcome, facts: DeviceFacts, work: partial[list[Profile]]) -> None:
    try:
        outcome.profiles += work()
    except SamExportError as error:
        outcome.failures.append((facts.device, error))


def _side_by_side(
    plan: BenchPlan,
    phones: Sequence[tuple[DeviceFacts, Device]],
    outcome: Outcome,
    report: Progress,
) -> None:
    """Measure each phone in its thread. Ctrl-C reaches only this one, so it stops the others."""
    with ThreadPoolExecutor(max_workers=len(phones)) as pool:
        running: list[tuple[DeviceFacts, Future[list[Profile]]]] = [
            (facts, pool.submit(measure, plan, facts, device, report)) for facts, device in phones
        ]
        try:
            for facts, future in running:
                _take(outcome, facts, partial(future.result))
        except KeyboardInterrupt:
            plan.stop.set()
            report("stopping: every device ends its step and is put back as it was")
            raise


class _MissedError(ParityError):
    """Floors were missed."""

    def __init__(self, line: str, figures: tuple[Figure, ...]) -> None:
        super().__init__(line)
        self.figures = figures


def measure(plan: BenchPlan, facts: DeviceFacts, device: Device, report: Progress) -> list[Profile]:
    """Everything on one device: a stored profile for each bundle."""
    say: Progress = lambda line: report(f"{printable(facts.device)}: {line}")  # noqa: E731
    try:
        return _measured(plan, facts, device, say)
    except (ParityError, RunnerError) as error:
        if not plan.keep_refused:
            raise
        (bundle,) = plan.bundles
        return [_refused(plan, facts, bundle, error, say)]


def _refused(
    plan: BenchPlan, facts: DeviceFacts, bundle: Bundle, error: SamExportError, say: Progress
) -> Profile:
    """Store why nothing counts; what was timed before it failed is forgotten."""
    work = Work(bundle_facts(bundle), facts, plan.method, plan.label)
    with open_journal(plan.store.path, work, plan.store.ids(), say) as journal:
        figures = error.figures if isinstance(error, _MissedError) else journal.parity or ()
        journal.repeats.clear()
        profile = _profile(plan, facts, bundle, journal)
        why = str(error).removeprefix(f"{bundle.path.name}: ")
        profile = replace(profile, parity=figures, refused=printable(why, 500))
        plan.store.append(profile, say)
        journal.finish()
    say(f"{bundle.path.name}: {plan.method.delegate} is refused: {profile.refused}")
    return profile


def _measured(plan: BenchPlan, facts: DeviceFacts, device: Device, say: Progress) -> list[Profile]:
    taken = plan.store.ids()
    with ExitStack() as stack:
        journals = [
            stack.enter_context(
                open_journal(
                    plan.store.path,
                    Work(bundle_facts(bundle), facts, plan.method, plan.label),
                    taken,
                    say,
                )
            )
            for bundle in plan.bundles
        ]
        bench = stack.enter_context(device.open(plan.method))
        run = _Run(plan, bench, list(zip(plan.bundles, journals, strict=True)), say)
        start = bench.condition()
        run.demand_frames()
        run.prepare()
        run.check()
        for number in range(plan.method.repeats):
            run.repeat(number, start)
        return [_stored(plan, facts, bundle, journal, say) for bundle, journal in run.turns]


UNTRACKED = "the runner on this device calls graphs alone, and times no tracked frame"
"""Of a device that is no `TracksFrames`."""


@dataclass(frozen=True)
class _Run:
    plan: BenchPlan
    bench: Bench
    turns: list[tuple[Bundle, Journal]]
    say: Progress

    def prepare(self) -> None:
        for bundle, _ in self.turns:
            self._step(f"{bundle.path.name}: preparing")
            self.bench.prepare(bundle)

    def check(self) -> None:
        """Parity of every bundle, before a time of any counts."""
        for bundle, journal in self.turns:
            if not self.plan.method.check or journal.parity is not None:
                continue
            self._step(f"{bundle.path.name}: checking parity")
            if bundle.manifest.degraded:
                self.say(f"{bundle.path.name} is {degraded(bundle.manifest)}")
            figures = self.bench.check(bundle)
            demand_reached(bundle, figures)
            journal.checked(figures)

    def repeat(self, number: int, start: Condition) -> None:
        """Take one turn of every bundle that has not had it."""
        for bundle, journal in self.turns:
            if number < len(journal.repeats):
                self.say(f"{bundle.path.name}: repeat {number + 1} was done before")
            elif not _untimed(journal):
                journal.add(self._turn(bundle, number, start))

    def _turn(self, bundle: Bundle, number: int, start: Condition) -> Repeat:
        title = f"{bundle.path.name}: repeat {number + 1} of {self.plan.method.repeats}"
        self._step(f"{title}: waiting for a cool device")
        before = self.bench.cool(start)
        runs = []
        for graph in bundle.manifest.graphs:
            self._step(f"{title}: {graph.spec.name}")
            runs.append(self.bench.run_graph(bundle, graph.spec.name))
        self._step(f"{title}: session")
        session = self._session(bundle)
        for objects in counts(bundle, self.plan.method):
            self._step(f"{title}: {frame_title(objects)}")
            runs += self._frame(bundle, objects)
        after = self.bench.condition()
        heat = throttled(before, after, (*runs, session))
        return Repeat(before, after, tuple(runs), session, heat)

    def _session(self, bundle: Bundle) -> SessionRun | None:
        """None where this way to the device has none."""
        try:
            return self.bench.run_session(bundle)
        except BundleError:
            raise
        except RequestError as error:
            self.say(f"{bundle.path.name}: no session: {error}")
            return None

    def demand_frames(self) -> None:
        """RequestError, before any time, if objects were asked for where none are tracked."""
        if not self.plan.method.objects:
            return
        for bundle, _ in self.turns:
            demand_memory(bundle, "--objects")
        if not isinstance(self.bench, TracksFrames):
            raise RequestError(f"{UNTRACKED}: leave --objects out")

    def _frame(self, bundle: Bundle, objects: int) -> tuple[GraphRun, ...]:
        """None where this way to the device has none, and nobody asked for them."""
        try:
            if not isinstance(self.bench, TracksFrames):
                raise RequestError(UNTRACKED)
            return self.bench.run_frame(bundle, objects)
        except BundleError:
            raise
        except RequestError as error:
            if self.plan.method.objects:
                raise
            self.say(f"{bundle.path.name}: no {frame_title(objects)}: {error}")
            return ()

    def _step(self, line: str) -> None:
        if self.plan.stop.is_set():
            raise KeyboardInterrupt
        self.say(line)


def demand_memory(bundle: Bundle, option: str) -> None:
    """RequestError if a bundle that `option` was given for has none, so that it tracks nothing."""
    if bundle.manifest.video is None:
        raise RequestError(
            f"{bundle.path.name} has no memory of earlier frames, so it tracks no objects: leave "
            f"{option} out, or measure a bundle exported with --video"
        )


def _untimed(journal: Journal) -> bool:
    """Tell whether there are no times to repeat: an interpreter ran it."""
    return any(not run.timed for repeat in journal.repeats for run in repeat.runs)


def demand_reached(bundle: Bundle, figures: tuple[Figure, ...]) -> None:
    """ParityError if a device missed a floor that the export reached: no time of it counts."""
    under = new_misses(bundle.manifest, figures)
    if under:
        more = f", and {len(under) - 1} more" if len(under) > 1 else ""
        line = describe(under[0], bundle.manifest.precision)
        raise _MissedError(f"{bundle.path.name}: {line}{more}; nothing was timed", figures)


def _stored(
    plan: BenchPlan, facts: DeviceFacts, bundle: Bundle, journal: Journal, say: Progress
) -> Profile:
    profile = _profile(plan, facts, bundle, journal)
    plan.store.append(profile, say)
    journal.finish()
    say(f"{bundle.path.name}: stored as {profile.id} in {plan.store.path}")
    return profile


def _profile(plan: BenchPlan, facts: DeviceFacts, bundle: Bundle, journal: Journal) -> Profile:
    return Profile(
        schema_version=SCHEMA_VERSION,
        id=journal.head.id,
        created=journal.head.created,
        label=plan.label,
        bundle=bundle_facts(bundle),
        device=facts,
        method=plan.method,
        parity=journal.parity or (),
        repeats=tuple(journal.repeats),
        tools=tools(),
    )


def _check_once(kind: str, keys: Sequence[str]) -> None:
    twice = [key for key in keys if keys.count(key) > 1]
    if twice:
        name = "" if kind == "bundle" else f" {twice[0]}"
        raise RequestError(f"the same {kind}{name} was given twice: give each once")
