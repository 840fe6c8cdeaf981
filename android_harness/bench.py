"""A bundle on an Android device: `runtimes.device.Bench` over adb."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from android_harness import runs
from android_harness.adb.connection import Connection, quoted
from android_harness.runtimes import runtime_of, targets
from android_harness.state import condition as conditions
from android_harness.state.facts import WORK
from android_harness.ways import Supplies, Wanted, Way, find_way
from android_harness.workspace import FILES, DeviceStore, Item
from exporter.bundle.folder import Bundle
from exporter.bundle.manifest import Figure
from exporter.bundle.preprocess import Bytes
from exporter.errors import RequestError, RunnerError
from runtimes.device import Condition, DeviceFacts, GraphRun, Method, SessionRun
from runtimes.frames import counts
from runtimes.parity import check_parity
from runtimes.remote import cooling
from runtimes.remote.everything import click_rule, everything_plan
from runtimes.remote.frames import frame_plan
from runtimes.remote.job import CHECK, EVERYTHING, FRAME, GRAPH, SESSION, Library
from runtimes.remote.plans import (
    DevicePlan,
    Setting,
    check_plan,
    graph_plan,
    replay,
    session_plan,
)
from runtimes.remote.report import EverythingRun, RunnerReport

LOG = logging.getLogger("sam_export.device")
FindWay = Callable[[str, Wanted, Supplies], Way]
"""Name of a way, what to run, and the user's supplies -> how the runner gets there."""


@dataclass(frozen=True)
class SentBundle:
    """A bundle on the device.

    Attributes:
        way: how the runner gets there.
        plans: by mode and graph; the graph is empty for all of them, and a number of objects for
            a tracked frame.
    """

    way: Way
    plans: dict[tuple[str, str], DevicePlan]


@dataclass
class AndroidBench:
    """A device made ready for a method. See `Bench`.

    Attributes:
        connection: to the device.
        facts: of it.
        method: how to measure.
        cores: numbers to hold the runner to; empty for all.
        supplies: the user's own files for the ways.
        find_way: chooses one of them for a bundle.
        folder: this run's on the device.
    """

    connection: Connection
    facts: DeviceFacts
    method: Method
    cores: tuple[int, ...]
    supplies: Supplies = field(default_factory=Supplies)
    find_way: FindWay = find_way
    folder: str = field(default_factory=lambda: f"{WORK}/run-{secrets.token_hex(4)}")
    _loaded: dict[Path, SentBundle] = field(default_factory=dict)
    _known: set[str] = field(default_factory=set)

    def prepare(self, bundle: Bundle) -> None:
        """Push the files that the bundle needs and the device does not have; prove that it starts.

        Raises:
            RequestError: Android does not run such a bundle, or no way leads there.
            DeviceError: the device is full, lost, or cannot start the runner.
        """
        if bundle.path in self._loaded:
            return
        target = bundle.manifest.target
        if runtime_of(target) is None:
            raise RequestError(
                f"{bundle.path} is a {target} bundle, and Android runs {' and '.join(targets())}: "
                "export it again for one of them"
            )
        wanted = Wanted(self.facts.abi, target, self.method.delegate)
        way = self.find_way(self.method.way, wanted, self.supplies)
        plans = self._plans(bundle, way, way.library(wanted))
        items = [Item(f.remote, f.local, f.sha256, f.executable) for f in way.files(wanted)]
        contents = {
            name: content for plan in plans.values() for name, content in plan.files.items()
        }
        items += [Item.of(*pair) for pair in contents.items() if pair[0] not in self._known]
        pushed = self._send(items)
        LOG.info("%s: %s: %.1f MB pushed", self.facts.device, bundle.path.name, pushed / 2**20)
        self._link()
        self._self_test(way, wanted)
        self._loaded[bundle.path] = SentBundle(way, plans)

    def check(self, bundle: Bundle) -> tuple[Figure, ...]:
        """Parity figures of the bundle's goldens as this device computes them: one process.

        Raises:
            RequestError: the way cannot give outputs.
            ParityError: an output is not finite.
            DeviceError: see `runs.run`.
        """
        loaded, plan = self._plan(bundle, CHECK)
        self._run(loaded, plan)
        pulled = runs.fetch(self.connection, self.folder, plan.outputs)
        load = replay(plan, pulled)
        return check_parity(bundle.path, bundle.manifest, load=load)

    def run_graph(self, bundle: Bundle, graph: str) -> GraphRun:
        """Time one graph in a process of its own. Errors as of `check`."""
        loaded, plan = self._plan(bundle, GRAPH, graph)
        report, notes = self._run(loaded, plan)
        timed = report.graph_run(graph)
        return replace(timed, notes=(*timed.notes, *notes), way=loaded.way.name)

    def run_session(self, bundle: Bundle) -> SessionRun:
        """Time every graph in one process, as an app uses them. Errors as of `check`."""
        report, notes = self._run(*self._plan(bundle, SESSION))
        timed = report.session_run()
        return replace(timed, notes=(*timed.notes, *notes))

    def run_frame(self, bundle: Bundle, objects: int) -> tuple[GraphRun, ...]:
        """Time tracked frames in one process; see `TracksFrames`. Errors as of `check`."""
        loaded, plan = self._plan(bundle, FRAME, str(objects))
        report, notes = self._run(loaded, plan)
        whole, *parts = (replace(r, way=loaded.way.name) for r in report.frame_runs(objects))
        return (replace(whole, notes=(*whole.notes, *notes)), *parts)

    def run_everything(self, bundle: Bundle, rgb: Bytes, side: int) -> EverythingRun:
        """Encode a picture and ask for every point of a grid, in one process.

        Args:
            bundle: with an encoder and a decoder with prompt slots.
            rgb: (H, W, 3) uint8.
            side: points a side of the grid.

        Errors as of `check`.
        """
        click_rule(bundle)
        self.prepare(bundle)
        way = self._loaded[bundle.path].way
        self._demand(way, EVERYTHING)
        library = way.library(Wanted(self.facts.abi, bundle.manifest.target, self.method.delegate))
        setting = Setting.of(self.method, self.cores)
        plan = everything_plan(bundle, library, setting, rgb, side)
        self._send(Item.of(*pair) for pair in plan.files.items())
        self._link()
        report, notes = self._run(self._loaded[bundle.path], plan)
        timed = report.everything_run()
        return replace(timed, notes=(*timed.notes, *notes))

    def condition(self) -> Condition:
        """Read the device's state now."""
        return conditions.parse(self.connection.ask(conditions.PARTS))

    def cool(self, start: Condition) -> Condition:
        """Wait until the device is about as cool as at `start`.

        Raises:
            TooHotError: not within the method's limit.
            UnusableError: someone overrode the thermal status.
        """

        def look() -> Condition:
            now = self.condition()
            conditions.refuse_override(now, self.facts.device)
            return now

        limit = self.method.cool_seconds
        return cooling.cool(look, start, limit, device=self.facts.device)

    def _send(self, items: Iterable[Item]) -> int:
        """Push what is not there; returns the bytes."""
        new = [item for item in items if item.name not in self._known]
        store = DeviceStore(self.connection, self.facts.device)
        pushed = store.ensure(new, keep=self._known)
        self._known |= {item.name for item in new}
        return pushed

    @staticmethod
    def _demand(way: Way, mode: str) -> None:
        """RequestError if the way has no such mode."""
        if mode not in way.modes():
            raise RequestError(f"{way.name} cannot do {mode!r}; it can: {', '.join(way.modes())}")

    def _plans(
        self, bundle: Bundle, way: Way, library: Library
    ) -> dict[tuple[str, str], DevicePlan]:
        """List the plans that the way can do."""
        how = (library, Setting.of(self.method, self.cores))
        names = [graph.spec.name for graph in bundle.manifest.graphs]
        plans = {(GRAPH, name): graph_plan(bundle, name, *how) for name in names}
        if SESSION in way.modes():
            plans[SESSION, ""] = session_plan(bundle, *how)
        if CHECK in way.modes() and self.method.check:
            plans[CHECK, ""] = check_plan(bundle, *how)
        if self.method.objects and counts(bundle, self.method) and FRAME not in way.modes():
            raise RequestError(
                f"{way.name} times no tracked frame: take another --way, or leave --objects out"
            )
        if FRAME in way.modes():
            for objects in counts(bundle, self.method):
                plans[FRAME, str(objects)] = frame_plan(bundle, *how, objects)
        return plans

    def _plan(self, bundle: Bundle, mode: str, graph: str = "") -> tuple[SentBundle, DevicePlan]:
        self.prepare(bundle)
        loaded = self._loaded[bundle.path]
        name, modes = loaded.way.name, loaded.way.modes()
        if mode == CHECK and CHECK not in modes:
            raise RequestError(
                f"{name} gives no outputs, so parity cannot be checked: take another --way, or "
                "give --no-check, and the results say so"
            )
        self._demand(loaded.way, mode)
        if mode == CHECK and not self.method.check:
            raise RequestError("the method says that parity is not checked")
        if (mode, graph) not in loaded.plans:
            known = ", ".join(one for which, one in loaded.plans if which == mode)
            raise RequestError(f"{bundle.path} has no graph {graph!r}; choose from {known}")
        return loaded, loaded.plans[mode, graph]

    def _run(self, loaded: SentBundle, plan: DevicePlan) -> tuple[RunnerReport, tuple[str, ...]]:
        command = loaded.way.command(self.folder, plan.job, runs.JOB)
        ended = runs.run(
            self.connection, self.folder, command, plan.job.text(), self.method.deadline_seconds
        )
        files = runs.fetch(self.connection, self.folder, loaded.way.pulls(plan.job))
        return loaded.way.read(plan.job, replace(ended.answer, files=files)), ended.notes

    def _link(self) -> None:
        """Link every file that a run needs into its folder."""
        tops = sorted({name.split("/")[0] for name in self._known})
        lines = (f"ln -sfn {FILES}/{quoted([top])} {self.folder}/{quoted([top])}" for top in tops)
        self.connection.check(f"mkdir -p {self.folder} && " + " && ".join(lines))

    def _self_test(self, way: Way, wanted: Wanted) -> None:
        command = way.self_test(self.folder, wanted)
        if command is None:
            return
        answer = self.connection.shell(command)
        LOG.debug("self test: %d %s", answer.code, answer.out.strip())
        if answer.code:
            raise RunnerError(
                f"{way.name} does not start on {self.facts.device} (exit code {answer.code}): "
                f"{answer.last}"
            )
